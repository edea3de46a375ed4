"""What is measured: every Prometheus collector, in registries of our own.

A caller writes `metrics.RECEIVED.labels(source="bluesky").inc(n)`. Labels hold only what a configuration bounds
(source, table, follower, model, pipeline), never what a post says. The counters of the ledger stand in a
registry apart: where a lake is at hand, the page of metrics takes these figures from the lake itself (see
`ledger_families`), since there they are exact, balanced and outlive a restart.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

REGISTRY: Final = CollectorRegistry(auto_describe=True)
LEDGER_REGISTRY: Final = CollectorRegistry(auto_describe=True)

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

SHORT_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.8, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0)
ROWS: Final = (1, 10, 100, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000)

# The ledger: one counter for each of schema.LEDGER_COUNTS. received = kept + duplicate + filtered + dead.
LEDGER_HELP: Final[dict[str, str]] = {
    "received": "Posts that a source received: kept + duplicate + filtered + dead.",
    "kept": "Posts stored in the lake.",
    "duplicate": "Posts that the log had already seen and dropped.",
    "filtered": "Posts that match no track.",
    "dead": "Posts that could not be read or scored; dead_letters says why.",
    "edited": "Edits; each is also counted as received.",
    "withdrawn": "Withdrawals; they are no posts and not counted as received.",
    "unscored": "Posts kept without a score, in a language that the model does not speak.",
    "late": "Posts kept that arrived more than five minutes after they were written.",
    "redated": "Posts kept whose own date could not be believed.",
}


def _ledger(name: str) -> Counter:
    return Counter(f"feltwire_{name}", LEDGER_HELP[name], ["source"], registry=LEDGER_REGISTRY)


RECEIVED: Final = _ledger("received")
KEPT: Final = _ledger("kept")
DUPLICATE: Final = _ledger("duplicate")
FILTERED: Final = _ledger("filtered")
DEAD: Final = _ledger("dead")
EDITED: Final = _ledger("edited")
WITHDRAWN: Final = _ledger("withdrawn")
UNSCORED: Final = _ledger("unscored")
LATE: Final = _ledger("late")
REDATED: Final = _ledger("redated")
LEDGER: Final[dict[str, Counter]] = {
    "received": RECEIVED,
    "kept": KEPT,
    "duplicate": DUPLICATE,
    "filtered": FILTERED,
    "dead": DEAD,
    "edited": EDITED,
    "withdrawn": WITHDRAWN,
    "unscored": UNSCORED,
    "late": LATE,
    "redated": REDATED,
}

# Sources and the log.
SOURCE_GAPS: Final = Counter(
    "feltwire_source_gaps", "Times that a source could not go on where it stopped.", ["source"], registry=REGISTRY
)
SOURCE_RECONNECTS: Final = Counter(
    "feltwire_source_reconnects", "Times that a source connected again.", ["source"], registry=REGISTRY
)
SOURCE_POSTS_READ: Final = Counter(
    "feltwire_source_posts_read", "Posts that a source which bills by the post has delivered.", ["source"],
    registry=REGISTRY,
)  # fmt: skip
SOURCE_SPENT: Final = Counter(
    "feltwire_source_spent", "Money that reading a source has cost, by its option cost_per_1000.", ["source"],
    registry=REGISTRY,
)  # fmt: skip
INGEST_WAITING: Final = Gauge(
    "feltwire_ingest_waiting", "1 while ingest takes nothing: the backlog is full, or the log cannot be written.",
    registry=REGISTRY,
)  # fmt: skip
APPEND_SECONDS: Final = Histogram(
    "feltwire_log_append_seconds", "Time to make one batch of records durable in the log.", registry=REGISTRY,
    buckets=SHORT_SECONDS,
)  # fmt: skip

# The engine and the lake.
LAG: Final = Gauge(
    "feltwire_lag_records", "Records in the log that the pipeline has not stored in the lake.", ["pipeline"],
    registry=REGISTRY,
)  # fmt: skip
BATCH_ROWS: Final = Histogram(
    "feltwire_batch_records", "Records in a batch.", registry=REGISTRY, buckets=ROWS
)  # fmt: skip
BATCH_SECONDS: Final = Histogram(
    "feltwire_batch_seconds", "Time from reading a batch to the last of its commits.", registry=REGISTRY,
    buckets=SHORT_SECONDS,
)  # fmt: skip
COMMIT_SECONDS: Final = Histogram(
    "feltwire_commit_seconds", "Time of one commit to a table of the lake.", ["table"], registry=REGISTRY,
    buckets=SHORT_SECONDS,
)  # fmt: skip
COMMIT_RETRIES: Final = Counter(
    "feltwire_commit_retries", "Commits to a table that had to be tried again.", ["table"], registry=REGISTRY
)
MERGED_AT: Final = Gauge(
    "feltwire_lake_merged_timestamp_seconds", "When small files of a table were last merged, in seconds since 1970.",
    ["table"], registry=REGISTRY,
)  # fmt: skip
QUERYABLE_SECONDS: Final = Histogram(
    "feltwire_ingest_to_queryable_seconds", "Time from a post's receipt until a query of the lake sees it.",
    registry=REGISTRY, buckets=SHORT_SECONDS,
)  # fmt: skip

# Models. They are counted where they work, which may be a process beside the engine's: see `take_counts`.
CLAUSES: Final = Counter(
    "feltwire_clause_texts", "Texts that were scored a second time, clause by clause.", ["model"], registry=REGISTRY
)
AUTO_TEXTS: Final = Counter(
    "feltwire_auto_texts", "Texts that `auto:` scored: by `fast`, by `base`, or by `fast_for_lack_of_time`.",
    ["scored_by"], registry=REGISTRY,
)  # fmt: skip
_MOVED: Final = (CLAUSES, AUTO_TEXTS)

# The API.
API_TEXTS: Final = Counter("feltwire_api_texts", "Texts that were scored for clients of the API.", registry=REGISTRY)
API_BATCHES: Final = Counter(
    "feltwire_api_batches", "Times that the model was asked for clients of the API; fewer than requests under load.",
    registry=REGISTRY,
)  # fmt: skip

# Followers.
FOLLOWER_LAG: Final = Gauge(
    "feltwire_follower_lag_posts", "Log records that the lake holds and the follower has not applied.", ["follower"],
    registry=REGISTRY,
)  # fmt: skip
FOLLOWER_POSTS: Final = Counter(
    "feltwire_follower_posts", "Posts that a follower's destination took.", ["follower"], registry=REGISTRY
)
FOLLOWER_ERRORS: Final = Counter(
    "feltwire_follower_errors", "Times that a follower's destination refused and was tried again.", ["follower"],
    registry=REGISTRY,
)  # fmt: skip


Counts: TypeAlias = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""{(a metric's name, its labels): how many}."""

_taken: Counts = {}


def take_counts() -> Counts:
    """What models have counted in this process since the last call; to be given to another one's `add_counts`."""
    taken: Counts = {}
    for metric in _MOVED:
        for family in metric.collect():
            for sample in family.samples:
                if sample.name.endswith("_total"):
                    key = (family.name, tuple(sorted(sample.labels.items())))
                    taken[key] = sample.value - _taken.get(key, 0.0)
                    _taken[key] = sample.value
    return {key: value for key, value in taken.items() if value}


def add_counts(counts: Counts) -> None:
    """Add what another process has counted."""
    by_name = {family.name: metric for metric in _MOVED for family in metric.describe()}
    for (name, labels), value in counts.items():
        by_name[name].labels(**dict(labels)).inc(value)


class _Families(Collector):
    """Metric families that are already made, as a collector."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def ledger_families(ledger: Iterable[Mapping[str, object]]) -> list[Metric]:
    """The ledger's counters from rows of {source, received, kept, …}, as `Lake.ledger()` gives them."""
    families = {
        name: CounterMetricFamily(f"feltwire_{name}", text, labels=["source"]) for name, text in LEDGER_HELP.items()
    }
    for row in ledger:
        for name, family in families.items():
            family.add_metric([str(row["source"])], float(str(row[name])))
    return list(families.values())


def exposition(ledger: Iterable[Mapping[str, object]] | None = None) -> bytes:
    """Everything as Prometheus text.

    The ledger's figures are those of `ledger` (rows of `Lake.ledger()`), or, where it is None, what this process
    itself has counted.
    """
    if ledger is None:
        return generate_latest(LEDGER_REGISTRY) + generate_latest(REGISTRY)
    counted = CollectorRegistry()
    counted.register(_Families(ledger_families(ledger)))
    return generate_latest(counted) + generate_latest(REGISTRY)
