"""The watchdog: a firehose is missed within seconds, a quiet stream is left alone."""

import random

import pytest

from feltwire.sources._watchdog import Watchdog

START_US = 1_783_175_888_000_000


def fed(rate: float, events: int, *, seed: int = 0) -> tuple[Watchdog, int]:
    """A watchdog that saw so many events at random times, `rate` a second, and how often it was wrong."""
    chance = random.Random(seed)
    watchdog = Watchdog(floor_s=5.0, start_s=20.0)
    time_us, false_alarms = START_US, 0
    for _ in range(events):
        gap_s = chance.expovariate(rate)
        silent_s = gap_s
        while silent_s > watchdog.limit_s:
            silent_s -= watchdog.limit_s
            watchdog.gave_up()
            false_alarms += 1
        time_us += int(gap_s * 1e6)
        watchdog.saw(time_us)
    return watchdog, false_alarms


@pytest.mark.parametrize("rate", [10.0, 50.0, 1000.0])
def test_a_firehose_is_missed_after_the_shortest_silence(rate: float) -> None:
    watchdog, false_alarms = fed(rate, 5000)
    assert (watchdog.limit_s, false_alarms) == (5.0, 0)


@pytest.mark.parametrize("every_s", [30.0, 600.0, 7200.0])
def test_a_quiet_stream_is_left_alone(every_s: float) -> None:
    watchdog, false_alarms = fed(1 / every_s, 2000)
    assert 4 * every_s < watchdog.limit_s < 40 * every_s
    assert false_alarms <= 40  # in a hundred at most two, and those mostly before the rate is known


def test_a_replay_at_full_speed_does_not_make_the_stream_look_fast() -> None:
    watchdog, _ = fed(1 / 60, 500)
    assert watchdog.limit_s > 200  # the events' own times count: how fast they came was never asked


def test_a_firehose_that_was_out_for_a_minute_is_watched_closely_again_soon() -> None:
    watchdog, _ = fed(100.0, 5000)
    time_us = watchdog._newest_us or 0
    watchdog.saw(time_us + 60_000_000)
    assert watchdog.limit_s > 10
    for i in range(1, 1500):  # fifteen seconds
        watchdog.saw(time_us + 60_000_000 + i * 10_000)
    assert watchdog.limit_s == 5.0


def test_silences_that_lead_to_nothing_make_it_patient_until_an_event_comes() -> None:
    watchdog, _ = fed(100.0, 100)
    limits = []
    for _ in range(8):
        limits.append(watchdog.limit_s)
        watchdog.gave_up()
    assert limits == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 320.0]
    watchdog.saw((watchdog._newest_us or 0) + 10_000)
    assert watchdog.limit_s == 5.0


def test_repeats_and_disorder_teach_nothing() -> None:
    watchdog, _ = fed(1 / 60, 500)
    before = watchdog.expected_s
    for _ in range(1000):
        watchdog.saw(START_US)
    assert watchdog.expected_s == before


def test_until_the_rate_is_known_the_start_counts() -> None:
    watchdog = Watchdog(floor_s=5.0, start_s=20.0)
    for i in range(10):
        assert not watchdog.known
        assert watchdog.limit_s == 20.0
        watchdog.saw(START_US + i * 10_000)
    watchdog.saw(START_US + 200_000)
    assert watchdog.known
    assert watchdog.limit_s == 5.0
