"""Fixtures of the tests against services."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.services.kafka.broker import Broker, jars


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """A folder for a `file:` source; its files are read in the order of their names."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def own_broker(absent: Callable[[str], None], tmp_path: Path) -> Iterator[Broker]:
    """A Kafka broker for one test, which may stop it and start it again."""
    broker = Broker(tmp_path / "broker", jars(absent))
    broker.start()
    yield broker
    broker.kill()
