"""Settings: what wins, what is refused, and how it is said."""

from pathlib import Path
from typing import Any

import pytest

from feltwire import config
from feltwire.errors import ConfigError
from feltwire.planning import to_plan


def write(tmp_path: Path, text: str, name: str = "feltwire.toml", mode: int = 0o644) -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def refused(path: Path, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        to_plan(config.load(path, environ or {}))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_nothing_set_gives_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = config.load(None, {})
    assert settings.lake.path == "feltwire-data/lake"
    assert settings.log_uri == "sqlite:feltwire-data/lake-log.sqlite"
    assert settings.serve.port == 8050
    plan = to_plan(settings)
    assert (plan.pipeline, plan.model, plan.sources, plan.tracks) == ("main", "bundled:fast", (), ())


def test_a_file_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        [lake]
        path = "s3://mood/lake"
        [log]
        retention_hours = 12
        [[sources]]
        uri = "bluesky:?langs=en"
        [[sources]]
        uri = "file:posts.csv"
        name = "archive"
        text = "body"
        [[tracks]]
        name = "airlines"
        query = "delta OR united"
        [engine]
        partitions = [0, 1]
        """,
    )
    settings = config.load(path, {})
    plan = to_plan(settings)
    assert plan.lake == "s3://mood/lake"
    assert plan.log == "sqlite:feltwire-data/lake-log.sqlite"
    assert plan.log_options == {"retention_hours": 12}
    assert [source.key for source in plan.sources] == ["bluesky:", "archive"]
    assert plan.sources[1].options == {"text": "body"}
    assert plan.tracks[0].query == "delta OR united"
    assert plan.partitions == (0, 1)
    assert to_plan(settings, ingest=False).sources == ()
    assert to_plan(settings, process=False).lake is None


def test_the_environment_wins_and_the_command_line_over_it(tmp_path: Path) -> None:
    path = write(tmp_path, '[serve]\nport = 1\n[[sources]]\nuri = "tcp://a:1"\n')
    environ = {
        "FELTWIRE_SERVE__PORT": "8051",
        "FELTWIRE_ENGINE__MAINTAIN": "false",
        "FELTWIRE_SOURCES__0__URI": "tcp://b:2",
        "FELTWIRE_SOURCES__1__URI": "bluesky:",
        "FELTWIRE_TRACKS": '[{"name": "a", "query": "b"}]',
        "FELTWIRE_SOMETHING": "of somebody else's",
        "HOME": "/",
    }
    settings = config.load(path, environ, {"lake": {"path": "there"}, "sources": [{"uri": "push:"}]})
    assert settings.serve.port == 8051
    assert settings.engine.maintain is False
    assert [source.uri for source in settings.sources] == ["push:"]
    assert [source.uri for source in config.load(path, environ).sources] == ["tcp://b:2", "bluesky:"]
    assert settings.tracks[0].query == "b"
    assert settings.log_uri == "sqlite:there-log.sqlite"


def test_variables_are_filled_in(tmp_path: Path) -> None:
    secrets = write(tmp_path, "# keys\nKEY=of the file\nBOTH=file\n", "secrets", 0o600)
    path = write(
        tmp_path,
        f'[secrets]\nfile = "{secrets}"\n[lake]\npath = "/${{DIR}}/x"\n'
        '[[followers]]\nname = "a"\nuri = "webhook:x"\nheader = "${KEY} ${BOTH} $${KEY}"\n',
    )
    settings = config.load(path, {"DIR": "data", "BOTH": "environment"})
    assert settings.lake.path == "/data/x"
    assert settings.followers[0].options == {"header": "of the file environment ${KEY}"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[serv]\n", "serv: unknown setting; known are log, lake,"),
        ("[serve]\nprot = 1\n", "serve.prot: unknown setting; known are host, port,"),
        ("[serve]\nport = 'x'\n", "serve.port = 'x': input should be a valid integer"),
        ("[serve]\nport = 99999\n", "serve.port = 99999: input should be less than or equal to 65535"),
        ("[[tracks]]\nname = 'a'\n", "tracks.0.query: missing; What belongs to it"),
        ("[[tracks]]\nname = 'a'\nquery = '(b'\n", "tracks.0: "),
        ("[[tracks]]\nname='a'\nquery='b'\n[[tracks]]\nname='a'\nquery='c'\n", "tracks: the name 'a' came twice"),
        ("[[sources]]\nuri='push:'\n[[sources]]\nuri='push:'\n", "sources: the name 'push:' came twice"),
        ("[pipeline]\nname = 'a/b'\n", "pipeline.name = 'a/b': expected letters"),
        ("[lake]\npath = '${NO}'\n", "lake.path: ${NO}: the environment has no NO"),
        ("[serve]\nport = '${WORD}'\n", "serve.port = '${WORD}': input"),
        ("[serve]\ntoken = 'x'\n", "serve.token: a secret does not stand in the file"),
        ("[serve]\ntoken = '${WORD}'\ntoken_file = 'x'\n", "serve: token and token_file exclude each other"),
        ("serve = 3\n", "serve = 3: "),
        ("sources = 3\n", "sources = 3: "),
        ("[lake\n", "not TOML"),
    ],
)
def test_a_wrong_setting_is_told_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    told = refused(write(tmp_path, text), {"WORD": "secret"})
    assert message in told
    assert "secret'" not in told


def test_a_secret_never_stands_in_a_message(tmp_path: Path) -> None:
    told = refused(write(tmp_path, "[serve]\nport = '${WORD}'\n"), {"WORD": "hunter2"})
    assert "hunter2" not in told
    told = refused(write(tmp_path, "[serve]\n"), {"FELTWIRE_SERVE__TOKEN": '["hunter2"]'})
    assert "hunter2" not in told


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("FELTWIRE_SERVE__PROT", "serve.prot: unknown setting"),
        ("FELTWIRE_SERV__PORT", "serv: unknown setting"),
        ("FELTWIRE_SOURCES__7__URI", "expected a number from 0 to 0"),
        ("FELTWIRE_SOURCES__X__URI", "sources = "),
    ],
)
def test_a_wrong_variable_is_told(tmp_path: Path, name: str, message: str) -> None:
    assert message in refused(write(tmp_path, ""), {name: "1"})


def test_a_file_that_others_may_read_is_no_place_for_a_secret(tmp_path: Path) -> None:
    open_file = write(tmp_path, "KEY=1\n", "open", 0o644)
    assert "chmod 600" in refused(write(tmp_path, f'[secrets]\nfile = "{open_file}"\n'))
    settings = config.load(write(tmp_path, f'[serve]\ntoken_file = "{open_file}"\n'), {})
    with pytest.raises(ConfigError, match="mode 644"):
        config.token(settings)


def test_the_token_comes_from_the_environment_or_a_private_file(tmp_path: Path) -> None:
    private = write(tmp_path, "abc\n", "token", 0o600)
    assert config.token(config.load(write(tmp_path, f'[serve]\ntoken_file = "{private}"\n'), {})) == "abc"
    assert config.token(config.load(write(tmp_path, ""), {"FELTWIRE_SERVE__TOKEN": "t"})) == "t"
    assert config.token(config.load(write(tmp_path, ""), {})) is None


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "feltwire init" in refused(tmp_path / "no.toml")


def test_every_setting_says_what_it_is() -> None:
    for name, field in config.Settings.model_fields.items():
        section: Any = next(iter(getattr(field.annotation, "__args__", ())), field.annotation)
        assert section.__doc__, name
        for key, inner in section.model_fields.items():
            assert inner.description, f"{name}.{key}"
