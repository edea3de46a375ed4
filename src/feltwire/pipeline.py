"""What happens to a record between the log and the lake: a tuple of pure functions, the same under every engine."""

from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from feltwire import schema
from feltwire.interfaces import Stage
from feltwire.plan import Plan
from feltwire.scoring import load
from feltwire.stages.clean import clean
from feltwire.stages.date import date
from feltwire.stages.detect import detect
from feltwire.stages.match import match
from feltwire.stages.score import score


@dataclass(frozen=True)
class Pipeline:
    """Stages, run one after the other over a batch of `schema.LOGGED`; as many rows come out, in the same order.

    Picklable: an engine sends it to the processes that work for it.
    """

    stages: tuple[Stage, ...]

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the columns of all stages, `outcome` among them."""
        for stage in self.stages:
            batch = stage(batch)
        return batch


def build(plan: Plan) -> Pipeline:
    """The pipeline of a plan. Raises ConfigError or ModelError when the model cannot be loaded."""
    profile = load(plan.model).profile
    return Pipeline(
        (
            date,
            detect,
            partial(match, tracks=plan.tracks),
            partial(clean, profile=profile),
            partial(score, model=plan.model),
        )
    )


def posts_of(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows of a pipeline's output that were kept, as `schema.POSTS`."""
    return schema.conform(batch.filter(_is(batch["outcome"], schema.KEPT)), schema.POSTS)


def dead_letters_of(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows that could not be read or scored, as `schema.DEAD_LETTERS`: refused input as it came, or the text."""
    dead = batch.filter(_is(batch["outcome"], schema.DEAD))
    payload = pc.utf8_slice_codeunits(pc.coalesce(dead["payload"], dead["text"]), 0, schema.MAX_PAYLOAD_CHARS)
    columns = {
        "received_at": dead["ingested_at"],
        "source": dead["source"],
        "id": dead["id"],
        "reason": dead["refusal"],
        "payload": payload,
        "log_partition": dead["log_partition"],
        "log_offset": dead["log_offset"],
    }
    return schema.conform(pa.RecordBatch.from_pydict(columns), schema.DEAD_LETTERS)


def withdrawn_of(batch: pa.RecordBatch) -> pa.RecordBatch:
    """What withdrawals and edits take back, as `schema.WITHDRAWN`: an edit takes back the revisions before it."""
    edited = _is(batch["kind"], schema.EDIT)
    taken_back = batch.filter(pc.or_(edited, _is(batch["kind"], schema.WITHDRAWAL)))
    edited = _is(taken_back["kind"], schema.EDIT)
    by_author = pc.is_null(taken_back["id"])
    revision = pc.fill_null(taken_back["revision"], schema.LAST_REVISION)
    columns = {
        "id": taken_back["id"],
        "source": taken_back["source"],
        "author_id": pc.if_else(by_author, taken_back["author_id"], pa.scalar(None, pa.string())),
        "revision": pc.if_else(edited, pc.subtract(revision, 1), revision),
        "at": taken_back["ingested_at"],
        "log_partition": taken_back["log_partition"],
        "log_offset": taken_back["log_offset"],
    }
    return schema.conform(pa.RecordBatch.from_pydict(columns), schema.WITHDRAWN)


def _is(values: pa.Array, wanted: str) -> pa.Array:
    return pc.fill_null(pc.equal(values, wanted), False)
