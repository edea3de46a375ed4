"""The check at the end of every proof: the lake against the truth, and every table against the others."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from tests.engines.stream import Truth, ids

from feltwire import doctor, registry, schema, windows
from feltwire.interfaces import LogReader
from feltwire.lake import Lake, open_lake
from feltwire.lake.withdraw import remove_withdrawn
from feltwire.logs.sqlite import Options, SqliteLog


def assert_exact(
    lake_path: Path | str, log_path: Path | str, truth: Truth, *, storage_options: dict[str, str] | None = None
) -> dict[str, int]:
    """Fail unless every record is in the lake exactly once and every sum is right; some counts for the report.

    `log_path` is an SQLite file, or, as a str, the URI of any log.
    The lake has everything that is in the log. A removal of withdrawn posts that was killed half-way is
    finished first, as the next round of maintenance would.
    """
    lake = open_lake(str(lake_path), storage_options=storage_options)
    made = registry.create("logs", log_path) if isinstance(log_path, str) else SqliteLog(log_path, Options())
    with made as log:
        remove_withdrawn(lake.location, lake.owner)
        _posts_once(lake, truth)
        _ledger(lake, truth)
        _sums(lake)
        _positions(lake, log)
        findings = doctor.examine(lake, log)
    assert not [finding for finding in findings if not finding.ok]
    return {"posts": len(truth.texts), "records": sum(log_counts(truth))}


def log_counts(truth: Truth) -> list[int]:
    """How many records each source gave."""
    return [account["received"] + account["withdrawn"] for account in truth.ledger.values()]


def _posts_once(lake: Lake, truth: Truth) -> None:
    visible = lake.sql("select id, revision, text from posts").to_pylist()
    found = {(row["id"], row["revision"]): row["text"] for row in visible}
    stored = lake.sql("select id, revision from posts_all").to_pylist()
    counts = Counter((row["id"], row["revision"]) for row in stored)
    doubled = [key for key, n in counts.items() if n > 1]
    assert not doubled, f"{len(doubled)} doubled: {ids(doubled)}"
    assert len(found) == len(visible)
    wanted = truth.visible
    lost = wanted.keys() - found.keys()
    assert not lost, f"{len(lost)} of {len(wanted)} lost: {ids(lost)}"
    strange = found.keys() - wanted.keys()
    assert not strange, f"{len(strange)} that nobody should see: {ids(strange)}"
    assert found == wanted
    assert counts.keys() <= truth.texts.keys()


def _ledger(lake: Lake, truth: Truth) -> None:
    rows = lake.ledger().to_pylist()
    found = {row["source"]: {name: row[name] for name in schema.LEDGER_COUNTS} for row in rows}
    for source, account in truth.ledger.items():
        checked = {name: found[source][name] for name in schema.LEDGER_COUNTS if name != "unscored"}
        assert checked == {name: account[name] for name in checked}, source
    assert found.keys() == truth.ledger.keys()
    dead = lake.sql("select count(*) n from dead_letters")["n"][0].as_py()
    assert dead == sum(account["dead"] for account in truth.ledger.values())


def _sums(lake: Lake) -> None:
    """Bit for bit: what the tables hold against what all stored posts add up to, read without the lake's reader."""
    posts = _batch(_files(lake, "posts"), schema.POSTS)
    for table, sum_up in (("windows", windows.window_sums), ("terms", windows.term_sums)):
        columns = schema.TABLES[table]
        stored = windows.merge([_batch(_files(lake, table), columns)], columns)
        assert _sorted(stored) == _sorted(windows.merge([sum_up(posts)], columns)), table
    totals = lake.sql("select cast(sum(n) as bigint) n from windows where track = '*'")
    assert (totals["n"][0].as_py() or 0) == posts.num_rows


def _files(lake: Lake, table: str) -> pa.Table:
    options = dict(lake.location.options) or None
    system, root = lake.location.filesystem()
    tables = []
    for uri in DeltaTable(lake.location.uri(table), storage_options=options).file_uris():
        name = uri.rpartition(f"/{table}/")[2]
        with system.open_input_file(f"{root}/{table}/{name}") as file:
            found = pq.ParquetFile(file).read()
        if table == "posts":
            day = name.removeprefix("day=").partition("/")[0]
            found = found.append_column("day", pa.repeat(pa.scalar(day), found.num_rows))
        tables.append(found.select(schema.TABLES[table].names).cast(schema.TABLES[table]))
    return pa.concat_tables(tables) if tables else schema.TABLES[table].empty_table()


def _batch(table: pa.Table, columns: pa.Schema) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else schema.empty(columns)


def _sorted(sums: pa.RecordBatch) -> list[dict[str, object]]:
    return sorted(sums.to_pylist(), key=repr)


def _positions(lake: Lake, log: LogReader) -> None:
    """Once the engine has ended, every table is at the log's end."""
    ends = log.ends()
    for table, position in lake.positions().items():
        assert position == ends, table
