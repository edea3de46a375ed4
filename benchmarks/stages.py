"""Posts a second on one core through the cleaner, the detector and each stage before the model.

`python -m benchmarks.stages [TEXTS.parquet]`: of the simulator's English posts, or of the column `text` of a file.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import _texts
from feltwire import language, text
from feltwire.stages.clean import clean
from feltwire.stages.date import date
from feltwire.stages.detect import detect
from feltwire.stages.match import match
from feltwire.tracks import Track

TRACKS = (
    Track("delta", "(delta OR united) -football -is:repost lang:en"),
    Track("subjects", "weather OR election OR football"),
    Track("phrase", '"last night" new'),
    Track("tags", "#art OR #travel OR #late"),
    Track("author", "from:someone has:links"),
)
TRIES = 3


def rate(work: Callable[[], object], posts: int) -> int:
    """Posts a second of processor time, the best of TRIES."""
    best = float("inf")
    for _ in range(TRIES):
        begun = time.process_time()
        work()
        best = min(best, time.process_time() - begun)
    return round(posts / best)


def measure(posts: int = 20_000, texts: Path | None = None) -> dict[str, Any]:
    """{what: posts a second}."""
    batch = pa.Table.from_batches(_texts.batches(posts // 1_000, 1_000)).combine_chunks().to_batches()[0]
    if texts is not None:
        column = pq.read_table(texts, columns=["text"])["text"].combine_chunks().slice(0, posts)
        batch = batch.slice(0, len(column))
        batch = batch.set_column(batch.schema.get_field_index("text"), "text", column.cast(pa.string()))
    posts = len(batch)
    words = batch["text"].to_pylist()
    figures: dict[str, Any] = {"posts": posts, "characters a post": round(sum(map(len, words)) / posts)}
    for profile in text.profiles():
        figures[f"text.clean, {profile}"] = rate(partial(text.clean, words, profile), posts)
    figures["text.extract"] = rate(lambda: text.extract([text.decode(one) for one in words]), posts)
    figures["language.detect"] = rate(partial(language.detect, words), posts)

    dated = date(batch)
    found = detect(dated)
    kept = match(found, tracks=())
    figures["stage date"] = rate(partial(date, batch), posts)
    figures["stage detect, lang given"] = rate(partial(detect, dated), posts)
    figures["stage match, 5 tracks"] = rate(partial(match, found, tracks=TRACKS), posts)
    figures["stage clean, social"] = rate(partial(clean, kept, profile="social"), posts)

    def all_stages() -> pa.RecordBatch:
        with_lang = detect(date(batch))
        match(with_lang, tracks=TRACKS)
        return clean(match(with_lang, tracks=()), profile="social")

    figures["date, detect, match with 5 tracks, clean every post"] = rate(all_stages, posts)
    return figures


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(texts=Path(sys.argv[1]) if sys.argv[1:] else None), indent=2) + "\n")
