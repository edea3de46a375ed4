"""Dates from end to end: whatever a post says of its time, it gets no partition of its own and its window is right."""

import json
import os
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.engines.children import polling
from tests.engines.stream import file_source

from feltwire import doctor
from feltwire.engines import local
from feltwire.lake import Lake, open_lake
from feltwire.logs.sqlite import Options, SqliteLog
from feltwire.plan import Plan, SourcePlan

NOW = datetime.now(UTC).replace(microsecond=123_456)
DAY = timedelta(days=1)


def _iso(moment: datetime) -> str:
    return moment.isoformat()


def _ago(**how: float) -> datetime:
    return NOW - timedelta(**how)


INGESTED = "ingested_at"
BELIEVED = "believed"

# (what created_at says, its meaning, what becomes of it in a file, what becomes of it from a live source)
CASES: dict[str, tuple[Any, datetime | None, str, str]] = {
    "1971": ("1971-03-04T05:06:07Z", datetime(1971, 3, 4, 5, 6, 7, tzinfo=UTC), BELIEVED, INGESTED),
    "year 1": ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC), BELIEVED, INGESTED),
    "tomorrow": (_iso(NOW + DAY), NOW + DAY, INGESTED, INGESTED),
    "year 9999": ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), INGESTED, INGESTED),
    "no zone": (_ago(hours=2).replace(tzinfo=None).isoformat(), _ago(hours=2), BELIEVED, BELIEVED),
    "other zone": (
        _iso(_ago(hours=3)).replace("+00:00", "+05:30"),
        _ago(hours=8, minutes=30),
        BELIEVED,
        BELIEVED,
    ),
    "leap second": ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC), BELIEVED, INGESTED),
    "null": (None, None, INGESTED, INGESTED),
    "no date": ("the day before yesterday", None, INGESTED, INGESTED),
    "no such day": ("2026-02-30T12:00:00Z", None, INGESTED, INGESTED),
    "a clock ahead": (_iso(_ago(minutes=-2)), _ago(minutes=-2), BELIEVED, BELIEVED),
    "23 hours old": (_iso(_ago(hours=23)), _ago(hours=23), BELIEVED, BELIEVED),
    "25 hours old": (_iso(_ago(hours=25)), _ago(hours=25), BELIEVED, INGESTED),
    "now": (_iso(_ago(seconds=30)), _ago(seconds=30), BELIEVED, BELIEVED),
    "seconds since 1970": (int(_ago(hours=1).timestamp()), _ago(hours=1).replace(microsecond=0), BELIEVED, BELIEVED),
}


def _lines() -> list[str]:
    return [
        json.dumps({"id": name, "text": f"I love the {name} #dates", "created_at": created})
        for name, (created, *_) in CASES.items()
    ]


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A TCP server that sends the lines to whoever connects, and then nothing more."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        connection.sendall("".join(f"{line}\n" for line in _lines()).encode())
        connections.append(connection)

    connections: list[socket.socket] = []
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener
    thread.join(10)
    for connection in connections:
        connection.close()
    listener.close()


def _run(folder: Path, source: SourcePlan, *, until_idle: bool) -> Lake:
    log, path = f"sqlite:{folder / 'log.db'}", str(folder / "lake")
    plan = Plan(log=log, lake=path, sources=(source,), until_idle=until_idle, processes=0, model="lexicon:vader")
    stop = threading.Event()
    thread = threading.Thread(target=local.run, args=(plan,), kwargs={"stop": stop})
    thread.start()
    for _ in polling(30.0):
        if not thread.is_alive() or (not until_idle and _kept(path) == len(CASES)):
            break
    stop.set()
    thread.join(30)
    lake = open_lake(path)
    with SqliteLog(folder / "log.db", Options()) as opened:
        assert not [finding for finding in doctor.examine(lake, opened) if not finding.ok]
    return lake


def _kept(path: str) -> int:
    if not os.path.isdir(f"{path}/ledger/_delta_log"):
        return 0
    return sum(row["kept"] for row in open_lake(path).ledger().to_pylist())


def _check(lake: Lake, source: str, column: int) -> None:
    """`column`: of CASES, what is expected."""
    rows = {row["id"].partition(":")[2]: row for row in lake.sql("select * from posts").to_pylist()}
    assert rows.keys() == CASES.keys()
    minutes: Counter[datetime] = Counter()
    for name, case in CASES.items():
        meant, expected = case[1], case[column]
        row = rows[name]
        assert row["created_at"] == meant, name
        assert row["event_time"] == (meant if expected == BELIEVED else row["ingested_at"]), name
        assert row["redated"] == (expected == INGESTED), name
        assert row["day"] == f"{row['ingested_at']:%Y-%m-%d}", name
        minutes[row["event_time"].replace(second=0, microsecond=0)] += 1
    days = {path.name for path in (Path(lake.location.path) / "posts").glob("day=*")}
    assert days == {f"day={row['ingested_at']:%Y-%m-%d}" for row in rows.values()}
    assert len(days) <= 2  # a run may see midnight
    found = lake.sql("select minute, cast(sum(n) as bigint) n from windows where track = '*' group by minute")
    assert {row["minute"]: row["n"] for row in found.to_pylist()} == minutes
    (account,) = lake.ledger().to_pylist()
    late = sum(row["event_time"] < row["ingested_at"] - timedelta(minutes=5) for row in rows.values())
    redated = sum(row["redated"] for row in rows.values())
    assert (account["source"], account["received"], account["kept"]) == (source, len(CASES), len(CASES))
    assert (account["late"], account["redated"]) == (late, redated)
    assert redated == sum(case[column] == INGESTED for case in CASES.values())
    assert late > 0
    assert rows["1971"]["sentiment"] == "positive"


def test_dates_of_a_file(tmp_path: Path, inbox: Path) -> None:
    (inbox / "dates.jsonl").write_text("".join(f"{line}\n" for line in _lines()))
    lake = _run(tmp_path, SourcePlan(**file_source(inbox)), until_idle=True)
    _check(lake, "file", 2)


def test_windows_of_every_year(tmp_path: Path, inbox: Path) -> None:
    (inbox / "dates.jsonl").write_text("".join(f"{line}\n" for line in _lines()))
    lake = _run(tmp_path, SourcePlan(**file_source(inbox)), until_idle=True)
    windows = lake.windows(every="1d", tracks=["*"])
    assert windows["window"][0].as_py() == datetime(1, 1, 1, tzinfo=UTC)
    assert sum(windows["n"].to_pylist()) == len(CASES)
    early = lake.windows(every="1d", tracks=["*"], until=datetime(900, 1, 1, tzinfo=UTC))
    assert early["window"].to_pylist() == [datetime(1, 1, 1, tzinfo=UTC)]


@pytest.mark.slow
def test_dates_of_a_live_source(tmp_path: Path, server: socket.socket) -> None:
    host, port = server.getsockname()
    lake = _run(tmp_path, SourcePlan(key="live", uri=f"tcp://{host}:{port}"), until_idle=False)
    _check(lake, "tcp", 3)


def test_late_posts_land_in_their_window(tmp_path: Path, inbox: Path) -> None:
    """A post that comes when its window is long past adds to it, in a run of its own."""
    moment = (NOW - timedelta(hours=5)).replace(second=30)
    for number in range(3):
        row = {"id": str(number), "text": "so good", "created_at": _iso(moment)}
        (inbox / f"{number}.jsonl").write_text(json.dumps(row) + "\n")
        lake = _run(tmp_path, SourcePlan(**file_source(inbox)), until_idle=True)
        window = lake.windows(every="1min", since=moment.replace(second=0, microsecond=0))
        assert window["n"].to_pylist() == [number + 1]
        assert window["n_positive"].to_pylist() == [number + 1]
