"""From a model's answer to the columns of `schema.SCORES`: labels, probabilities in whole steps, entities."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feltwire.interfaces import Model, Predictions, Span
from feltwire.schema import EMOJI, ENTITY, PROBABILITY_STEPS, SCORES, SENTIMENTS

Mask: TypeAlias = npt.NDArray[np.bool_]
Steps: TypeAlias = npt.NDArray[np.int64]  # probabilities as whole multiples of 1 / PROBABILITY_STEPS

TRUNCATED: Final = "truncated"
"""A key that `predict` may add to the heads: float32[rows, 1], 1 where the model itself left off the text's end."""

UNSCORED: Final = "unscored"
"""A key that `predict` may add to the heads: float32[rows, 1], 1 where there is nothing in the text to score. What
stands in the heads is passed over: the row is not scored, and has not failed."""

SCORED_BY: Final = "scored_by"
"""A key that `predict` of a model with `members` adds to the heads: float32[rows, 1], the number of the member that
scored the row. What stands in a head that this member does not have is passed over: the columns are null."""

TOP_EMOJI: Final = 5
LABELLED: Final = ("emotion", "irony", "offensive", "hate")  # heads that give a label and its probability
NAMED: Final = ("category", "reason", "urgency", "topic")  # heads that give a label alone
UNKNOWN: Final = "unknown"  # what a named head says where its model is unsure
OF_COMPLAINTS: Final = ("category", "reason", "urgency")  # … and that only a complaint has
_TIES: Final = [SENTIMENTS.index(label) for label in ("neutral", "negative", "positive", "mixed")]


class Member(NamedTuple):
    """One of several models that a model is made of: an attribute `members` lists them."""

    name: str
    heads: frozenset[str]


class Answer(NamedTuple):
    """What a model gave for some rows: as many texts, originals (where there are entities) and flags as rows."""

    predictions: Predictions
    texts: list[str]
    originals: list[str]
    truncated: Mask
    mixed: npt.NDArray[np.float32] | None


def spans_of(predictions: Predictions) -> list[list[Span]] | None:
    spans = predictions.get("entities")
    return spans if isinstance(spans, list) else None


def steps_of(p: npt.NDArray[np.float32]) -> Steps:
    """Probabilities to the nearest multiple of 1 / PROBABILITY_STEPS."""
    return np.rint(np.clip(p, 0.0, 1.0).astype(np.float64) * PROBABILITY_STEPS).astype(np.int64)


def _share(steps: Steps) -> pa.Array:
    return pa.array((steps / PROBABILITY_STEPS).astype(np.float32))


def _named(labels: Sequence[str], best: npt.NDArray[np.intp], only: Mask | None = None) -> pa.Array:
    """The labels of the chosen classes as strings; null where `only` is false."""
    indices = pa.array(best.astype(np.int32), mask=None if only is None else ~only)
    return pa.array(labels, pa.string()).take(indices)


def columns_of(model: Model, answer: Answer, probabilities: bool) -> pa.RecordBatch:
    """A row of `schema.SCORES` for every row of the answer; a column without a head is null."""
    n = len(answer.texts)
    heads = {head: steps_of(given) for head, given in answer.predictions.items() if not isinstance(given, list)}
    own = heads.pop(TRUNCATED, None)
    heads.pop(SCORED_BY, None)
    names, lacking = _who(model, answer.predictions, n)
    columns: dict[str, pa.Array] = {
        "scored": pa.array(np.ones(n, np.bool_)),
        "truncated": pa.array(answer.truncated if own is None else answer.truncated | (own[:, 0] > 0)),
        "model": names,
    }
    if "sentiment" in heads:
        labels, given = with_mixed(model.heads["sentiment"], heads["sentiment"], answer.mixed)
        columns |= _sentiment(labels, given, getattr(model, "neutral_band", None))
        if probabilities:
            heads["sentiment"] = _own_sentiment(model.heads["sentiment"], heads["sentiment"], answer.mixed)
    if "emoji" in heads:
        columns["emoji"] = _top_emoji(model.heads["emoji"], heads["emoji"])
    for head in LABELLED:
        if head in heads:
            best = heads[head].argmax(axis=1)
            columns[head] = _named(model.heads[head], best)
            columns[f"p_{head}"] = _share(heads[head][np.arange(n), best])
    complaint = None
    if "complaint" in heads:
        columns |= _complaint(model.heads["complaint"], heads["complaint"])
        complaint = columns["complaint"].to_numpy(zero_copy_only=False)
    for head in NAMED:
        if head in heads:
            only = complaint if head in OF_COMPLAINTS else None
            columns[head] = _sure(model, head, heads[head], only)
    spans = spans_of(answer.predictions)
    if spans is not None:
        columns["entities"] = _entities(spans, answer.texts, answer.originals)
    for head, rows in lacking.items():
        for name in {head, f"p_{head}"} & columns.keys():
            columns[name] = columns[name].take(pa.array(np.arange(n), mask=rows))
    arrays = [columns.get(field.name, pa.nulls(n, field.type)) for field in SCORES]
    batch = pa.RecordBatch.from_arrays(arrays, schema=SCORES)
    return batch.append_column("probabilities", _nested(model.heads, heads, lacking, n)) if probabilities else batch


def _who(model: Model, predictions: Predictions, n: int) -> tuple[pa.Array, dict[str, Mask]]:
    """Who scored each row, and {head: the rows whose scorer does not have it}."""
    members: Sequence[Member] = getattr(model, "members", ())
    given = predictions.get(SCORED_BY)
    if not members or given is None or isinstance(given, list):
        return pa.array([model.name], pa.string()).take(pa.array(np.zeros(n, np.int32))), {}
    number = given[:, 0].astype(np.int64)
    has = {head: np.array([head in member.heads for member in members]) for head in model.heads}
    lacking = {head: ~by_member[number] for head, by_member in has.items() if not by_member.all()}
    return pa.array([member.name for member in members], pa.string()).take(pa.array(number)), lacking


def with_mixed(
    labels: Sequence[str], given: Steps, mixed: npt.NDArray[np.float32] | None
) -> tuple[Sequence[str], Steps]:
    """The sentiments with `mixed` beside them, which takes its share from each of them."""
    if mixed is None:
        return labels, given
    share = steps_of(mixed)[:, None]
    rest = np.rint(given * ((PROBABILITY_STEPS - share) / PROBABILITY_STEPS)).astype(np.int64)
    return (*labels, "mixed"), np.concatenate([rest, share], axis=1)


def _sentiment(labels: Sequence[str], given: Steps, band: tuple[float, float] | None = None) -> dict[str, pa.Array]:
    """The four probabilities, which sum to exactly 1, the label and the confidence. A tie goes to neutral first.

    Where p(positive) lies within `band` the label is neutral; probabilities and confidence stay what they are.
    """
    steps = _whole(labels, given)
    rows = np.arange(len(steps))
    best = _largest(steps)
    columns = {f"p_{label}": _share(steps[:, i]) for i, label in enumerate(SENTIMENTS)}
    columns["confidence"] = _share(steps[rows, best])
    if band is not None:
        p = steps[:, SENTIMENTS.index("positive")]
        low, high = (round(share * PROBABILITY_STEPS) for share in band)
        best[(low <= p) & (p <= high)] = SENTIMENTS.index("neutral")
    return columns | {"sentiment": _named(SENTIMENTS, best)}


def _whole(labels: Sequence[str], given: Steps) -> Steps:
    """The steps of all four sentiments, which sum to exactly 1 in each row."""
    steps = np.zeros((len(given), len(SENTIMENTS)), np.int64)
    # A model's own sum may be off by a little: what is left over then would change which is the largest.
    shares = given / np.maximum(given.sum(axis=1, keepdims=True), 1)
    steps[:, [SENTIMENTS.index(label) for label in labels]] = np.rint(shares * PROBABILITY_STEPS)
    rows = np.arange(len(steps))
    steps[rows, _largest(steps)] += PROBABILITY_STEPS - steps.sum(axis=1)  # rounding leaves a step or two over
    return steps


def _own_sentiment(labels: Sequence[str], given: Steps, mixed: npt.NDArray[np.float32] | None) -> Steps:
    """The model's own sentiment as `probabilities` has it: as the columns do where no clause has a say in them."""
    whole: Steps = _whole(labels, given)[:, [SENTIMENTS.index(label) for label in labels]]
    return whole if mixed is None else np.where(steps_of(mixed)[:, None] > 0, given, whole)


def _sure(model: Model, head: str, steps: Steps, only: Mask | None) -> pa.Array:
    """The most probable label; `unknown` where it is less probable than the model's floor for the head."""
    named = _named(model.heads[head], steps.argmax(axis=1), only)
    floor = getattr(model, "floors", {}).get(head, 0.0)
    if not floor:
        return named
    unsure = pa.array(steps.max(axis=1) < floor * PROBABILITY_STEPS, mask=None if only is None else ~only)
    return pc.if_else(unsure, UNKNOWN, named)


def _largest(steps: Steps) -> npt.NDArray[np.intp]:
    """The column of the largest in each row, in the order of `_TIES` where several are."""
    largest: npt.NDArray[np.intp] = np.array(_TIES)[steps[:, _TIES].argmax(axis=1)]
    return largest


def _complaint(labels: Sequence[str], steps: Steps) -> dict[str, pa.Array]:
    """Whether `complaint` is the most probable class (of one class: at least a half), and its probability."""
    p = steps[:, labels.index("complaint")]
    if len(labels) == 1:
        is_complaint = p >= PROBABILITY_STEPS // 2
    else:
        is_complaint = steps.argmax(axis=1) == labels.index("complaint")
    return {"complaint": pa.array(is_complaint), "p_complaint": _share(p)}


def _top_emoji(labels: Sequence[str], steps: Steps) -> pa.Array:
    """The five most probable, best first; a tie keeps the order of the labels."""
    best = np.argsort(-steps, axis=1, kind="stable")[:, :TOP_EMOJI]
    p = _share(np.take_along_axis(steps, best, axis=1).ravel())
    offsets = pa.array(np.arange(len(steps) + 1, dtype=np.int32) * best.shape[1])
    return pa.ListArray.from_arrays(
        offsets, pa.StructArray.from_arrays([_named(labels, best.ravel()), p], fields=list(EMOJI))
    )


def _entities(spans: list[list[Span]], texts: Sequence[str], originals: Sequence[str]) -> pa.Array:
    """Entities with their place in the post's own text; where cleaning changed their words, without a place."""
    found = []
    for row, text, original in zip(spans, texts, originals, strict=True):
        entities, after = [], 0
        for start, end, label, p in row:
            words = text[start:end]
            at = original.find(words, after) if words else -1
            if at >= 0:
                after = at + len(words)
            share = round(p * PROBABILITY_STEPS) / PROBABILITY_STEPS
            place = (at, after) if at >= 0 else (None, None)
            entities.append({"text": words, "label": label, "start": place[0], "end": place[1], "p": share})
        found.append(entities)
    return pa.array(found, pa.list_(ENTITY))


_NESTED: Final = pa.map_(pa.string(), pa.map_(pa.string(), pa.float32()))


def _nested(
    labels: Mapping[str, Sequence[str]], heads: Mapping[str, Steps], lacking: Mapping[str, Mask], n: int
) -> pa.Array:
    """{head: {label: p}} a row, without the heads that its scorer does not have."""
    if not heads or not n:
        return pa.array([[]] * n, _NESTED)
    there = np.stack([~lacking.get(head, np.zeros(n, np.bool_)) for head in heads], axis=1)
    widths = np.array([len(labels[head]) for head in heads])
    outer = np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int32)
    inner = np.concatenate([[0], np.cumsum(np.tile(widths, n)[there.ravel()])]).astype(np.int32)
    cells = np.repeat(there, widths, axis=1).ravel()
    keys = pa.array([label for head in heads for label in labels[head]] * n, pa.string()).filter(pa.array(cells))
    p = _share(np.concatenate(list(heads.values()), axis=1).ravel()[cells])
    names = pa.array(list(heads) * n, pa.string()).filter(pa.array(there.ravel()))
    return pa.MapArray.from_arrays(pa.array(outer), names, pa.MapArray.from_arrays(pa.array(inner), keys, p))
