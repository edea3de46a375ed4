"""Times on the command line."""

from datetime import UTC, datetime, timedelta

import pytest

from feltwire.cli.when import parse_when
from feltwire.errors import ConfigError

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("now", NOW),
        ("90s", NOW - timedelta(seconds=90)),
        ("30min", NOW - timedelta(minutes=30)),
        ("2h", NOW - timedelta(hours=2)),
        ("2 hours ago", NOW - timedelta(hours=2)),
        ("1.5d", NOW - timedelta(hours=36)),
        ("1 week", NOW - timedelta(days=7)),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2026-11-20T08:00+02:00", datetime(2026, 11, 20, 6, tzinfo=UTC)),
    ],
)
def test_times_are_read(text: str, time: datetime) -> None:
    assert parse_when(text, "--since", now=NOW) == time


def test_none_stays_none() -> None:
    assert parse_when(None, "--since") is None


@pytest.mark.parametrize("text", ["", "soon", "2 fortnights", "-2h", "h", "99999999999999999d"])
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match="--until"):
        parse_when(text, "--until", now=NOW)
