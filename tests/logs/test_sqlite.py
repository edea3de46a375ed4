"""The SQLite log's own promises: its file, several processes, full disks, kills."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from feltwire.errors import ClaimError, ConfigError, FatalError, LogError
from feltwire.logs import _blobs
from feltwire.logs.sqlite import Options, SqliteLog, create
from feltwire.schema import DUPLICATE, POST, RECORD, WITHDRAWAL, records


def post(number: int, **more: object) -> dict[str, object]:
    return {
        "kind": POST,
        "id": f"x:{number}",
        "revision": 0,
        "source": "x",
        "live": True,
        "text": f"{number} hi",
        **more,
    }


def posts(numbers: range) -> pa.RecordBatch:
    return records([post(number) for number in numbers])


def noise(numbers: range, size: int = 1000) -> pa.RecordBatch:
    """Posts that no codec makes small."""
    return records([post(number, raw=os.urandom(size).hex()) for number in numbers])


def open_log(path: Path, **options: Any) -> SqliteLog:
    return SqliteLog(path, Options(**options))


def ids(log: SqliteLog) -> list[str]:
    """The ids of all posts, in the order of offsets."""
    found: list[str] = []
    for partition, first in log.begins().items():
        after = first
        while (batch := log.read(partition, after, 500)).num_rows:
            after += batch.num_rows
            found += [name for name in batch["id"].to_pylist() if name is not None]
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def log(path: Path) -> Iterator[SqliteLog]:
    with open_log(path) as opened:
        yield opened


# The file


def test_everything_is_there_after_reopening(path: Path) -> None:
    with open_log(path, partitions=2) as log:
        identity = log.identity
        log.append(posts(range(50)), source="s", cursor={"n": 50})
        log.register("p", {0: 3})
        ends, rows = log.ends(), log.tail(100)
    with open_log(path) as log:
        assert log.identity == identity
        assert (log.ends(), log.cursor("s"), log.positions()) == (ends, {"n": 50}, {"p": {0: 3}})
        assert log.tail(100).equals(rows)
        assert log.append(posts(range(40, 60)), source="s", cursor={"n": 60}) == 10
        assert sum(log.ends().values()) == 70


def test_offsets_and_time_go_on_after_everything_was_trimmed(path: Path) -> None:
    with open_log(path, retention_h=0) as log:
        log.append(posts(range(50)), source="s", cursor=None)
        stamped = log.tail(1)["ingested_at"][0].as_py()
        assert log.trim() == 50
    with SqliteLog(path, Options(), clock=lambda: stamped.replace(year=2020)) as log:
        assert (log.begins(), log.ends()) == ({0: 50}, {0: 50})
        log.append(posts(range(50, 51)), source="s", cursor=None)
        assert log.tail(1)["ingested_at"][0].as_py() == stamped
        assert log.tail(1)["log_offset"].to_pylist() == [50]


def test_a_log_that_was_made_anew_has_another_identity(path: Path) -> None:
    with open_log(path) as log:
        identity = log.identity
    for name in ("", "-wal", "-shm"):
        path.with_name(path.name + name).unlink(missing_ok=True)
    with open_log(path) as log:
        assert log.identity != identity


def test_a_log_that_is_removed_while_in_use_takes_nothing_more(path: Path, log: SqliteLog) -> None:
    path.unlink()
    with pytest.raises(FatalError, match="removed or replaced"):
        log.append(posts(range(1)), source="s", cursor=None)
    with pytest.raises(FatalError, match="removed or replaced"):
        log.ends()


def test_the_number_of_partitions_is_fixed(path: Path) -> None:
    open_log(path, partitions=3).close()
    with pytest.raises(ConfigError, match=r"partitions = 2.* was made with 3"):
        open_log(path, partitions=2)
    with open_log(path, partitions=3) as same, open_log(path) as unsaid:
        assert set(same.ends()) == set(unsaid.ends()) == {0, 1, 2}


def test_other_files_are_refused(tmp_path: Path) -> None:
    text, other, newer = tmp_path / "a.txt", tmp_path / "other.db", tmp_path / "newer.db"
    text.write_text("not a database at all, but long enough to have a header of its own\n" * 20)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE batches (id)")
    open_log(newer).close()
    with closing(sqlite3.connect(newer)) as connection:
        connection.execute("PRAGMA user_version = 99")
    for path, said in [(text, "no log"), (other, "no log"), (newer, "format 99"), (tmp_path, "is a folder")]:
        with pytest.raises(ConfigError, match=said):
            open_log(path)
    assert text.read_text().startswith("not a database")


def test_a_folder_that_cannot_be_made_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LogError, match="folder of the log"):
        open_log(tmp_path / "file" / "log.db")


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with create("~/log.db", Options()) as log:
        assert log.path == tmp_path / "log.db"


def test_records_of_an_older_schema_are_read(path: Path) -> None:
    with open_log(path) as log:
        log.append(posts(range(3)), source="s", cursor=None)
    older = pa.schema([field for field in RECORD if field.name not in {"url", "hashtags"}]).set(
        2, pa.field("revision", pa.int32())
    )
    old = pa.RecordBatch.from_pylist([post(7)], schema=older)
    blob, size = _blobs.encode(old)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO schemas VALUES (2, ?)", (older.serialize().to_pybytes(),))
        insert = "INSERT INTO batches (partition, first_offset, n, appended_at, schema, size, hashes, records)"
        connection.execute(insert + " VALUES (0, 3, 1, 0, 2, ?, x'', ?)", (size, blob))
        connection.execute("UPDATE partitions SET next_offset = 4")
        connection.commit()
    with open_log(path) as log:
        batch = log.read(0, 2, 10)
        assert batch["id"].to_pylist() == ["x:2", "x:7"]
        assert batch["hashtags"].to_pylist() == [None, None]
        assert batch["revision"].to_pylist() == [0, 0]
        log.append(posts(range(10, 11)), source="s", cursor=None)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT schema FROM batches ORDER BY id").fetchall() == [(1,), (2,), (1,)]


def test_large_batches_are_stored_in_pieces(path: Path, log: SqliteLog) -> None:
    number = 2 * _blobs.MAX_ROWS + 5
    assert log.append(posts(range(number)), source="s", cursor=None) == 0
    assert log.ends() == {0: number}
    assert ids(log) == [f"x:{n}" for n in range(number)]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM batches").fetchone() == (3,)
    with open_log(path) as again:
        assert again.append(posts(range(number + 1)), source="s", cursor=None) == number


def test_one_read_is_bounded_in_bytes(log: SqliteLog) -> None:
    text = "a" * 65_536
    for start in range(0, 2000, 500):
        log.append(records([post(n, text=text) for n in range(start, start + 500)]), source="s", cursor=None)
    first = log.read(0, 0, 10_000)
    assert 500 <= first.num_rows < 2000
    assert first.nbytes < 72 * 2**20
    assert len(ids(log)) == 2000


def test_trimming_gives_the_disk_back(path: Path) -> None:
    with open_log(path, retention_h=0) as log:
        for start in range(0, 12_000, 1000):
            log.append(noise(range(start, start + 1000)), source="s", cursor=None)
        before = log.stats()["bytes"]
        assert log.trim() == 12_000
        assert before > 12e6
        assert log.stats()["bytes"] < 4e6


def test_appends_wait_little_for_trimming(path: Path) -> None:
    with open_log(path, retention_h=0) as log:
        for start in range(0, 60_000, 2000):
            log.append(posts(range(start, start + 2000)), source="s", cursor=None)
        log.register("p", log.ends())
        waits: list[float] = []
        trimmer = threading.Thread(target=log.trim)
        trimmer.start()
        number = 100_000
        while trimmer.is_alive():
            began = time.monotonic()
            log.append(posts(range(number, number + 10)), source="s", cursor=None)
            waits.append(time.monotonic() - began)
            number += 10
        trimmer.join()
        assert log.begins() == {0: 60_000}
        assert len(waits) > 5
        assert max(waits) < 1  # in one transaction it would be more; benchmarks/log.py has the real figure


# Several processes

APPEND = """
import sys
from pathlib import Path
from feltwire.errors import LogError
from feltwire.logs.sqlite import Options, SqliteLog
from feltwire.schema import records

def batch(numbers):
    return records([{"kind": "post", "id": f"x:{n}", "revision": 0, "source": "x", "text": f"{n} hi"} for n in numbers])

path = Path(sys.argv[1])
log = SqliteLog(path, Options())
"""


@contextmanager
def child(code: str, path: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A process that runs `code` behind `APPEND`; killed at the end."""
    command = [sys.executable, "-c", APPEND + code, str(path), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


ENDLESS = """
step = (log.cursor("s") or {"step": -1})["step"]
print(step, flush=True)
while True:
    step += 1
    log.append(batch(range(step * 7, step * 7 + 9)), source="s", cursor={"step": step})
    print(step, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.0, 0.013, 0.05, 0.21])
def test_kill_9_in_the_middle_of_appends(path: Path, after_s: float) -> None:
    """Every acknowledged append is there, whole, with its cursor; so is at most one that was not acknowledged."""
    for round_ in range(2):
        with child(ENDLESS, path) as process:
            acknowledged = int(line(process))
            acknowledged = max(acknowledged, int(line(process)))
            time.sleep(after_s)
            process.send_signal(signal.SIGKILL)
            assert process.stdout is not None
            rest = [text for text in process.stdout.read().splitlines(keepends=True) if text.endswith("\n")]
            acknowledged = max([acknowledged, *map(int, rest)])
        with open_log(path) as log:
            cursor = log.cursor("s")
            assert cursor is not None
            step = cursor["step"]
            assert acknowledged <= step <= acknowledged + 1, round_
            assert sorted(ids(log), key=lambda name: int(name[2:])) == [f"x:{n}" for n in range(step * 7 + 9)]
            assert log.ends() == {0: (step + 1) * 9}  # 2 of each 9 are repeats of the step before
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


BESIDE = """
sys.stdin.readline()
repeats = 0
for step in range(40):
    start = step * 5 + int(sys.argv[2])
    repeats += log.append(batch(range(start, start + 5)), source=sys.argv[3], cursor={"step": step})
print(repeats, flush=True)
"""


@pytest.mark.slow
def test_two_processes_append_at_once(path: Path) -> None:
    open_log(path).close()
    with child(BESIDE, path, 0, "a") as first, child(BESIDE, path, 100, "b") as second:
        for process in (first, second):
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        repeats = int(line(first)) + int(line(second))
        assert (first.wait(), second.wait()) == (0, 0)
    with open_log(path) as log:
        assert repeats == 100  # what one had stored, the other one knew
        assert sorted(ids(log)) == sorted(f"x:{n}" for n in range(300))
        assert log.ends() == {0: 400}
        assert log.cursor("a") == log.cursor("b") == {"step": 39}


def test_what_another_writer_stored_is_known(path: Path, log: SqliteLog) -> None:
    """Two opened logs of one file are to each other what two processes are."""
    log.append(posts(range(5)), source="s", cursor=None)
    withdrawal = records([post(3, kind=WITHDRAWAL, text=None)])
    with open_log(path) as other:
        assert other.append(withdrawal, source="cli", cursor=None) == 0
        assert other.append(posts(range(4, 8)), source="t", cursor={"n": 8}) == 1
        assert log.append(withdrawal, source="cli", cursor=None) == 1
        assert log.append(posts(range(10)), source="s", cursor=None) == 8
        assert other.append(posts(range(10)), source="t", cursor=None) == 10
        assert log.ends() == other.ends() == {0: 31}
        assert log.read(0, 5, 2)["kind"].to_pylist() == [WITHDRAWAL, DUPLICATE]


def test_a_short_lock_of_another_process_is_waited_for(path: Path, log: SqliteLog) -> None:
    with closing(sqlite3.connect(path, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.2, other.rollback)
        release.start()
        assert log.append(posts(range(3)), source="s", cursor=None) == 0
        release.join()


def test_a_long_lock_is_an_error_to_try_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feltwire.logs._database._LOCK_TIMEOUT_S", 0.05)
    with open_log(path) as log, closing(sqlite3.connect(path)) as other:
        log.append(posts(range(2)), source="s", cursor={"n": 1})
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LogError, match="locked"):
            log.append(posts(range(5)), source="s", cursor={"n": 2})
        assert (log.cursor("s"), log.ends()) == ({"n": 1}, {0: 2})
        other.rollback()
        assert log.append(posts(range(5)), source="s", cursor={"n": 2}) == 2
        assert (log.cursor("s"), log.ends()) == ({"n": 2}, {0: 7})


HOLD = """
with log.claim("main", 0), log.lease_writer():
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.slow
def test_a_killed_worker_has_released_its_claim(path: Path, log: SqliteLog) -> None:
    with child(HOLD, path) as process:
        assert line(process) == "held"
        with pytest.raises(ClaimError, match=f"process {process.pid}"), log.claim("main", 0):
            pass
        with pytest.raises(ClaimError, match=rf"ingest.*process {process.pid}"), log.lease_writer():
            pass
        assert log.append(posts(range(1)), source="cli", cursor=None) == 0
        process.send_signal(signal.SIGKILL)
        process.wait()
    with log.claim("main", 0), log.lease_writer():
        pass


# Full disks


def test_a_full_database_takes_nothing_and_goes_on_later(path: Path, log: SqliteLog) -> None:
    log.append(noise(range(100)), source="s", cursor={"n": 100})
    log._database._writer.execute("PRAGMA max_page_count = 150")
    stored, errors = 100, 0
    while errors < 2:
        try:
            log.append(noise(range(stored, stored + 100)), source="s", cursor={"n": stored + 100})
        except LogError as error:
            assert "full" in str(error)  # noqa: PT017
            errors += 1
        else:
            stored += 100
    assert (log.cursor("s"), log.ends()) == ({"n": stored}, {0: stored})
    assert len(ids(log)) == stored
    log._database._writer.execute("PRAGMA max_page_count = 100000")
    assert log.append(noise(range(stored, stored + 100)), source="s", cursor={"n": stored + 100}) == 0
    assert len(ids(log)) == stored + 100


FILL = """
import os, resource

def fill(log):
    stored, errors = log.ends()[0], 0
    while errors < 3:
        rows = batch(range(stored, stored + 50))
        raw = [os.urandom(2000).hex() for _ in range(50)]
        rows = rows.set_column(rows.schema.get_field_index("raw"), rows.schema.field("raw"), raw)
        try:
            repeats = log.append(rows, source="s", cursor={"n": stored + 50})
        except LogError:
            errors += 1
        else:
            stored += 50
            assert repeats == 0, repeats
    return stored

def check(log, stored):
    assert log.ends() == {0: stored}, (log.ends(), stored)
    assert log.cursor("s") == {"n": stored}, log.cursor("s")
    assert log.read(0, stored - 1, 1)["id"].to_pylist() == [f"x:{stored - 1}"]
"""

FULL = {
    # No file may grow beyond 2 MB: what is written there fails as on a disk that is full.
    "limit": """
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
make_room = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
""",
    # A small file system that a large file fills.
    "disk": """
ballast = path.parent / "ballast"
with open(ballast, "wb") as file:
    file.write(bytes(2**22))
make_room = ballast.unlink
""",
}

THEN = """
stored = fill(log)
check(log, stored)
make_room()
log.append(batch(range(stored - 10, stored + 10)), source="s", cursor={"n": stored + 10})
assert log.ends() == {0: stored + 20}
assert log.tail(20)["kind"].to_pylist() == ["duplicate"] * 10 + ["post"] * 10
print(stored, flush=True)
"""


def outlive_a_full_disk(path: Path, kind: str) -> None:
    with child(FILL + FULL[kind] + THEN, path) as process:
        stored = int(line(process))
        assert process.wait() == 0
    with open_log(path) as log:
        assert sorted(ids(log), key=lambda name: int(name[2:])) == [f"x:{n}" for n in range(stored + 10)]
        assert log.cursor("s") == {"n": stored + 10}


@pytest.mark.slow
def test_a_file_that_may_not_grow(path: Path) -> None:
    assert resource.RLIMIT_FSIZE
    outlive_a_full_disk(path, "limit")


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system; the other tests fill a file")
def test_a_disk_that_is_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "feltwire", disk], check=False).returncode:
        pytest.skip("no file system can be mounted here; the other tests fill a file")
    try:
        outlive_a_full_disk(disk / "log.db", "disk")
    finally:
        subprocess.run(["umount", disk], check=True)
