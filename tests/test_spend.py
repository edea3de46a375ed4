"""What was spent, by a period and over processes."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from feltwire.errors import ConfigError
from feltwire.spend import Purse, Record, SpentError, period_of


def test_a_limit_holds_over_all_who_spend_at_one_place(tmp_path: Path) -> None:
    one, other = (Purse("a", limit=1.0, period="total", folder=tmp_path) for _ in range(2))
    one.spend(0.6)
    with pytest.raises(SpentError, match="the spend limit of 1 is reached"):
        other.spend(0.5)
    other.spend(-0.2)
    other.spend(0.5)
    assert one.spent() == pytest.approx(0.9)
    assert one.left() == pytest.approx(0.1)
    assert Purse("b", limit=1.0, period="total", folder=tmp_path).spent() == 0


def test_what_is_paid_is_noted_whatever_the_limit(tmp_path: Path) -> None:
    purse = Purse("a", limit=1.0, period="day", folder=tmp_path)
    purse.note(3.0)
    assert (purse.spent(), purse.left()) == (3.0, 0.0)
    with pytest.raises(SpentError, match="until the day ends") as caught:
        purse.spend(0.000001)
    assert 0 < caught.value.wait_s <= 86_400


def test_without_a_limit_all_is_known(tmp_path: Path) -> None:
    purse = Purse("a", limit=None, period="month", folder=tmp_path)
    purse.spend(1e6)
    assert purse.left() is None
    assert purse.spent() == 1e6


def test_another_period_begins_with_nothing(tmp_path: Path) -> None:
    Purse("a", limit=1.0, period="total", folder=tmp_path).note(1.0)
    assert Purse("a", limit=1.0, period="day", folder=tmp_path).spent() == 0


def test_periods_are_those_of_utc() -> None:
    now = datetime(2026, 12, 31, 23, 0, tzinfo=UTC)
    assert period_of("day", now) == ("2026-12-31", 3600.0)
    assert period_of("month", now) == ("2026-12", 3600.0)
    assert period_of("total", now) == ("total", None)


def test_a_file_that_is_no_record_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("nonsense")
    with pytest.raises(ConfigError, match="is no record of limits"):
        Record(path).change(dict)
