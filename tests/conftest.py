"""What every test may use: hypothesis profiles, and fixtures for services and data that may be absent."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.services.kafka.broker import Broker

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
def broker(absent: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Broker]":
    """A Kafka broker that the tests of this session share; each makes topics of its own."""
    from tests.services.kafka.broker import Broker, jars

    broker = Broker(tmp_path_factory.mktemp("broker"), jars(absent))
    broker.start()
    yield broker
    broker.kill()


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
