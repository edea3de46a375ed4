"""What an engine is asked to do, and what it says of it: plain data, without a reader of settings in sight."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from feltwire.tracks import Track


@dataclass(frozen=True, kw_only=True)
class SourcePlan:
    """One source. `key` names its cursor in the log: the same key goes on where it stopped."""

    key: str
    uri: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything an engine needs. With no sources it only processes; with no lake it only ingests."""

    pipeline: str = "main"
    log: str
    log_options: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[SourcePlan, ...] = ()
    lake: str | None = None
    storage_options: Mapping[str, str] = field(default_factory=dict)
    tracks: tuple[Track, ...] = ()
    model: str = "lexicon:vader"
    partitions: tuple[int, ...] | None = None  # of the log, to process; None: all
    processes: int | None = None  # that score beside the main one; None: as the machine and the load allow
    until_idle: bool = False  # return once every source has ended and every record is in the lake
    max_backlog: int = 5_000_000  # records in the log that the pipeline has not read: beyond, ingest waits
    maintain: bool = True
    master: str | None = None  # of Spark; None: as Spark itself is configured, which is all of this machine
    trigger_s: float = 5.0  # between the beginnings of two batches of Spark
    batch_rows: int | None = None  # of a batch of Spark, at most; None: as many as the cores get through soon
    spark: Mapping[str, str] = field(default_factory=dict)  # Spark's own settings


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What an engine reports about once a second; counts are since its start."""

    received: int = 0
    duplicates: int = 0
    processed: int = 0  # records committed to the lake
    kept: int = 0
    lag: int = 0  # records in the log behind the lake's position
    posts_per_s: float = 0.0  # processed, over the last report's span
    batch_s: float = 0.0  # from reading to the last commit, of the last batch
    waiting: str = ""  # why it does not go on, in one line: "disk full: …"; empty when all is well


@dataclass(frozen=True, kw_only=True)
class Report(Progress):
    """What a run did, when it has ended."""

    seconds: float = 0.0
    batches: int = 0
