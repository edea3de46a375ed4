"""`init`, `check`, and what the docs and the written file say of the settings."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from tests.cli.making import feltwire, invoke

from feltwire import config, schema
from feltwire.cli import init
from feltwire.cli.common import parse_track
from feltwire.cli.reference import markdown, toml
from feltwire.errors import ConfigError
from feltwire.interfaces import Cursor, Directed
from feltwire.tracks import Track

ROOT = Path(__file__).parents[2]


def test_init_writes_what_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    invoke("init", "--yes", "--source", "simulator:?rate=5", "--track", "air=larkwing -bird", "--lake", "there")
    settings = config.load(None, {})
    assert settings.sources[0].uri == "simulator:?rate=5"
    assert (settings.tracks[0].name, settings.tracks[0].query) == ("air", "larkwing -bird")
    assert settings.lake.path == "there"
    with pytest.raises(ConfigError, match="is there already: --force"):
        invoke("init", "--yes")
    invoke("init", "--yes", "--force", "--source", "push:")
    assert config.load(None, {}).sources[0].uri == "push:"
    assert [path.name for path in tmp_path.iterdir()] == ["feltwire.toml"]


def test_init_refuses_what_could_not_be_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="track"):
        invoke("init", "--yes", "--track", "(open")
    assert list(tmp_path.iterdir()) == []


def test_every_commented_line_of_the_written_file_is_a_setting(tmp_path: Path) -> None:
    lines = toml({}).splitlines()
    bare = [line.removeprefix("# ") for line in lines if line.startswith(("# [", "[")) or " = " in line]
    kept = [
        line for line in bare if not line.startswith(("token_file", "read_token_file", "write_token_file", "file ="))
    ]
    (tmp_path / "all.toml").write_text("\n".join(kept), encoding="utf-8")
    named = dict.fromkeys(re.findall(r"\$\{(\w+)\}", "\n".join(kept)), "x")
    settings = config.load(tmp_path / "all.toml", named)
    assert settings.followers[0].name == "archive"


def test_the_reference_of_the_docs_is_that_of_the_fields() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    begin, end = "<!-- settings: begin -->\n", "<!-- settings: end -->"
    written = page[page.index(begin) + len(begin) : page.index(end)]
    assert written.strip() == markdown().strip(), "run: python -m feltwire.cli.reference docs/configuration.md"


def test_check_tries_everything(tmp_path: Path) -> None:
    (tmp_path / "posts.jsonl").write_text('{"text": "x"}\n', encoding="utf-8")
    (tmp_path / "feltwire.toml").write_text(
        '[[sources]]\nuri = "file:posts.jsonl"\n[[sources]]\nuri = "file:absent.jsonl"\n'
        '[[followers]]\nname = "a"\nuri = "csv:out.csv"\n[model]\nuri = "none:"\n',
        encoding="utf-8",
    )
    done = feltwire("check", "--json", cwd=tmp_path)
    found = {one["name"]: one["ok"] for one in json.loads(done.stdout)}
    assert done.returncode == 1
    assert found.pop("source file:absent.jsonl") is False
    assert all(found.values()), done.stdout
    assert not (tmp_path / "feltwire-data").exists()


class Asked:
    """A source that can be asked for the tracks alone."""

    name = "asked"
    tracks: Sequence[Track] = ()

    def listen_for(self, tracks: Sequence[Track]) -> None:
        self.tracks = tracks

    def read(self, cursor: Cursor | None) -> Iterator[tuple[pa.RecordBatch, Cursor]]:
        yield schema.records([{"kind": "post", "id": one.name} for one in self.tracks]), {}


def test_a_source_is_tried_with_the_tracks() -> None:
    asked: Directed = Asked()
    assert init._try_source(asked, [Track("a", "a"), Track("b", "b")]) == "2 records came"


def test_check_says_what_is_wrong_with_a_setting(tmp_path: Path) -> None:
    (tmp_path / "feltwire.toml").write_text("[serve]\nprot = 1\n", encoding="utf-8")
    done = feltwire("check", cwd=tmp_path)
    assert done.returncode == 2
    assert "serve.prot: unknown setting" in done.stderr


@pytest.mark.parametrize(
    ("text", "track"),
    [
        ("air=larkwing OR x", {"name": "air", "query": "larkwing OR x"}),
        ("delta OR united", {"name": "delta OR united", "query": "delta OR united"}),
        ('"a=b"', {"name": '"a=b"', "query": '"a=b"'}),
        ("=x", {"name": "=x", "query": "=x"}),
    ],
)
def test_a_track_has_a_name_or_is_its_own(text: str, track: dict[str, str]) -> None:
    assert parse_track(text) == track
