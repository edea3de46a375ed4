"""The reports by Spark: executors read the files that a snapshot of the lake lists, and write their part each.

Nothing but Python reads and writes: a cluster needs no jar for the lake or for S3. The rows are those of
`report.local`, in files `tweet-00000.csv` and so on; the windows, which are few, are written by the driver.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from functools import partial
from typing import Any, Final

import pyarrow as pa
from deltalake.exceptions import DeltaError
from pyspark import TaskContext
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from feltwire import schema
from feltwire.errors import ConfigError, LakeError
from feltwire.lake import Lake
from feltwire.lake.reader import Snapshot
from feltwire.lake.rewrite import list_files
from feltwire.lake.storage import Location
from feltwire.report import rows
from feltwire.report.files import Folder
from feltwire.report.local import SENTIMENT, TWEETS, Asked, Written

_NEEDED: Final = ("revision", "log_partition", "log_offset", "ingested_at", "tracks")
_WITHDRAWN: Final = ("id", "source", "author_id", "revision", "log_partition", "log_offset")
_DONE: Final = pa.schema([("part", pa.int64()), ("n", pa.int64())])
_ROWS_A_PART: Final = 500_000
_READERS: Final = 64  # tasks at most, of which each reads some of the lake's files
_SHUFFLED: Final = 4  # the sums by minute are small
_SETTINGS: Final = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
}
_LOCAL: Final = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}


def write(lake: Lake, asked: Asked, tweets: Folder, sentiment: Folder, *, master: str | None = None) -> Written:
    """Write both reports; `master` None: as Spark itself is configured, which is all of this machine.

    Raises ConfigError where Spark cannot be started, LakeError, DestinationError.
    """
    with _session(master) as spark:
        return _write(spark, lake, asked, tweets, sentiment)


@contextmanager
def _session(master: str | None) -> Iterator[SparkSession]:
    """A session in the Spark of this process, if one runs already, else in one that ends with the block."""
    running = SparkSession.getActiveSession()
    if running is None and "PYSPARK_GATEWAY_PORT" not in os.environ:
        if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
            raise ConfigError("--engine spark needs Java 17 or newer: there is none on the PATH, and no JAVA_HOME")
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # that of the workers
    builder = SparkSession.builder.appName("feltwire report")
    builder = builder.master(master) if master else builder
    for key, value in (_SETTINGS | (_LOCAL if (master or "local").startswith("local") else {})).items():
        builder = builder.config(key, value)
    try:
        session = running or builder.getOrCreate()
    except (PySparkException, OSError) as error:
        first = str(error).partition("\n")[0]
        raise ConfigError(f"--engine spark: Spark cannot be started (is it Java 17 or newer?): {first}") from error
    own = session.newSession()
    own.conf.set("spark.sql.session.timeZone", "UTC")
    own.conf.set("spark.sql.adaptive.enabled", "false")  # it would merge the parts
    own.conf.set("spark.sql.shuffle.partitions", str(_SHUFFLED))
    try:
        yield own
    finally:
        if running is None:
            session.stop()


def _write(spark: SparkSession, lake: Lake, asked: Asked, tweets: Folder, sentiment: Folder) -> Written:
    try:
        snapshot = Snapshot(lake.location, lake.owner, ["posts"])
        pending = snapshot.table(f"select {', '.join(_WITHDRAWN)} from withdrawn_pending")
        files = [file.name for file in list_files(snapshot.handles["posts"], "posts")]
    except (DeltaError, OSError) as error:
        raise LakeError(f"the lake {lake.location.path!r} cannot be read: {error}") from error
    columns = pa.schema([schema.POSTS.field(name) for name in dict.fromkeys((*rows.POST_COLUMNS, *_NEEDED))])
    listed = spark.createDataFrame([(name,) for name in files], "name string").repartition(
        max(1, min(len(files), _READERS))
    )
    read = partial(_read, location=lake.location, columns=columns)
    listed.mapInArrow(read, from_arrow_schema(columns)).createOrReplaceTempView("posts_all")
    withdrawn = pa.schema([schema.WITHDRAWN.field(name) for name in _WITHDRAWN])
    spark.createDataFrame(_one(pending), from_arrow_schema(withdrawn)).createOrReplaceTempView("gone")
    spark.sql(f"select * from posts_all p where {_where(asked)} and {_SEEN}").createOrReplaceTempView("posts")
    sums = spark.sql(f"select {rows.SUMS_SQL} from posts group by 1").toArrow()
    windows = rows.sentiment(sums, asked.minutes)
    total = sum(windows["count_tweets"].to_pylist())
    parts = max(1, -(-total // _ROWS_A_PART))
    chosen = spark.sql(f"select {', '.join(dict.fromkeys((*rows.POST_COLUMNS, 'revision')))} from posts")
    done = chosen.repartitionByRange(parts, "event_time", "id").sortWithinPartitions("event_time", "id", "revision")
    work = partial(_write_part, folder=tweets)
    found = done.mapInArrow(work, from_arrow_schema(_DONE)).collect()
    tweets.remove(TWEETS, keep=[_name(row["part"]) for row in found])
    sentiment.write(SENTIMENT, windows.to_batches(), rows.SENTIMENT)
    return Written(sum(row["n"] for row in found), windows.num_rows)


def _where(asked: Asked) -> str:
    """What is asked for, in Spark's SQL."""
    where = "true"
    for column, sign, at in (
        ("event_time", ">=", asked.since),
        ("event_time", "<", asked.until),
        ("ingested_at", "<=", asked.as_of),
    ):
        where += f" and {column} {sign} timestamp'{at.astimezone(UTC).isoformat()}'" if at else ""
    if asked.track not in (None, schema.ALL_TRACKS):
        name = str(asked.track).replace("\\", "\\\\").replace("'", "\\'")
        where += f" and array_contains(tracks, '{name}')"
    return where


# As `lake.reader` hides what was withdrawn: what stands before its withdrawal in the log of its own partition.
_SEEN: Final = """
    not exists (select 1 from gone w where w.id = p.id and w.revision >= coalesce(p.revision, 0)
                and w.log_partition = p.log_partition and w.log_offset > p.log_offset)
    and not exists (select 1 from gone w where w.id is null and w.author_id = p.author_id
                and w.source = p.source and w.log_partition = p.log_partition and w.log_offset > p.log_offset)
"""


def _read(batches: Iterator[pa.RecordBatch], *, location: Location, columns: pa.Schema) -> Iterator[pa.RecordBatch]:
    """In an executor: the posts of the files whose names come."""
    for names in batches:
        for name in names["name"].to_pylist():
            for batch in location.read("posts", name, columns.names):
                yield schema.conform(batch, columns)


def _write_part(batches: Iterator[pa.RecordBatch], *, folder: Folder) -> Iterator[pa.RecordBatch]:
    """In an executor: write the posts that come as a part of the report. A task that is repeated replaces its part."""
    context = TaskContext.get()
    part = context.partitionId() if context is not None else 0
    wanted = pa.schema([schema.POSTS.field(name) for name in rows.POST_COLUMNS])
    n = folder.write(_name(part), (rows.tweets(schema.conform(batch, wanted)) for batch in batches), rows.TWEET)
    yield pa.RecordBatch.from_pydict({"part": [part], "n": [n]}, schema=_DONE)


def _name(part: int) -> str:
    return f"{TWEETS}-{part:05}"


def _one(table: pa.Table) -> list[dict[str, Any]]:
    """The pending withdrawals as rows."""
    wanted = pa.schema([schema.WITHDRAWN.field(name) for name in _WITHDRAWN])
    return [row for batch in table.to_batches() for row in schema.conform(batch, wanted).to_pylist()]
