"""The pins are whole: every dependency is pinned with hashes, alike in both files, and no address stands in them."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FILES = ("uv", "base", "dev")


def blocks(name: str) -> list[str]:
    """The entries of requirements/NAME.txt, each with its hashes."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    return re.split(r"\n(?=\S)", "\n".join(lines))


def pins(name: str) -> set[Requirement]:
    """What requirements/NAME.txt pins, with the markers."""
    return {Requirement(block.partition("\\\n")[0].strip()) for block in blocks(name)}


def wanted(*, dev: bool) -> list[Requirement]:
    """What pyproject.toml asks for."""
    lines = list(PROJECT["project"]["dependencies"])
    if dev:
        lines += [line for extra in PROJECT["project"].get("optional-dependencies", {}).values() for line in extra]
        lines += PROJECT["dependency-groups"]["dev"]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("name", FILES)
def test_every_pin_has_a_version_and_hashes(name: str) -> None:
    for block in blocks(name):
        assert re.match(r"[\w.-]+==\S+", block), block
        assert "--hash=sha256:" in block, block


@pytest.mark.parametrize("name", FILES)
def test_no_address_stands_in_the_pins(name: str) -> None:
    text = "\n".join(blocks(name))
    assert "://" not in text
    assert not re.search(r"^\s*(-i|-f|--(?!hash=))", text, re.MULTILINE)


@pytest.mark.parametrize(("name", "dev"), [("base", False), ("dev", True)])
def test_every_dependency_is_pinned_within_its_bounds(name: str, dev: bool) -> None:
    pinned = {canonicalize_name(pin.name): pin for pin in pins(name)}
    for requirement in wanted(dev=dev):
        pin = pinned.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement} is not in requirements/{name}.txt: make pins"
        (version,) = pin.specifier
        assert requirement.specifier.contains(version.version), f"{pin} does not suit {requirement}: make pins"


def test_running_and_working_have_the_same_versions() -> None:
    assert pins("base") <= pins("dev")
