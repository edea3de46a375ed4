"""What every test may use: hypothesis profiles, and fixtures for services and data that may be absent."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No deadline: the time of one example says more about the machine than about the code.
_COMMON = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("laptop", _COMMON)
settings.register_profile("ci", _COMMON, derandomize=True, print_blob=True)
settings.register_profile("prove", _COMMON, max_examples=10_000, print_blob=True)

IN_CI = os.environ.get("CI") == "true"
PROVING = bool(os.environ.get("FELTWIRE_PROVE"))

settings.load_profile("prove" if PROVING else "ci" if IN_CI else "laptop")


@pytest.fixture(scope="session")
def absent() -> Callable[[str], None]:
    """`absent(reason)`: call it when a service that the test needs is not there. Skips; in CI, fails."""

    def give_up(reason: str) -> None:
        if IN_CI:
            pytest.fail(f"absent in CI: {reason}")
        pytest.skip(reason)

    return give_up


@pytest.fixture(scope="session")
def program(absent: Callable[[str], None]) -> Callable[..., str]:
    """`program("promtool", package="prometheus")`: the path of an installed program, else as `absent`."""

    def find(name: str, *, package: str) -> str:
        path = shutil.which(name)
        if path is None:
            absent(f"no {name} on the PATH: apt-get install {package}")
        return str(path)

    return find


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of labelled data that FELTWIRE_TEST_DATA names. Unset: skips; set, but no folder: fails."""
    named = os.environ.get("FELTWIRE_TEST_DATA")
    if not named:
        pytest.skip("FELTWIRE_TEST_DATA names no folder of labelled data")
    folder = Path(named)
    if not folder.is_dir():
        pytest.fail(f"FELTWIRE_TEST_DATA = {named!r} is no folder")
    return folder
