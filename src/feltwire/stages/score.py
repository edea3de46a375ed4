"""Score: what the model says of every kept post whose language it speaks."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feltwire.schema import DEAD, KEPT
from feltwire.scoring import MAX_CHARS, load, score_rows, speaks
from feltwire.stages._columns import with_columns


def score(batch: pa.RecordBatch, *, model: str, max_chars: int = MAX_CHARS) -> pa.RecordBatch:
    """Add the columns of `schema.SCORES`; reads `outcome`, `lang`, `text`, `clean_text`, `refusal`.

    Scored are the rows that are kept, have a text, and are in a language of the model's or in none that is known;
    all others get `scored = false` and nulls. A row on which the model fails even when it is alone becomes dead,
    with the reason in `refusal`. `model` is a URI or path, see `scoring.load`; `max_chars` bounds what the model
    sees of `clean_text`.
    """
    scorer = load(model)
    kept = pc.equal(batch.column("outcome"), KEPT).fill_null(False).to_numpy(zero_copy_only=False)
    wanted = kept & speaks(scorer, batch.column("lang"))
    scores, failures = score_rows(
        scorer, batch.column("clean_text"), wanted, originals=batch.column("text"), max_chars=max_chars
    )
    columns = dict(zip(scores.schema.names, scores.columns, strict=True))
    if failures:
        dead = np.zeros(batch.num_rows, np.bool_)
        dead[list(failures)] = True
        reasons = pa.array([failures.get(i) for i in range(batch.num_rows)], pa.string())
        columns["outcome"] = pc.if_else(pa.array(dead), DEAD, batch.column("outcome"))
        columns["refusal"] = pc.coalesce(reasons, batch.column("refusal"))
    return with_columns(batch, columns)
