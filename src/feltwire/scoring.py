"""Scores: from a model's probabilities to the columns of `schema.SCORES`, the same for a stream and a single text."""

import logging
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feltwire import clauses, metrics
from feltwire.errors import FeltwireError, ModelBusyError, ModelError
from feltwire.interfaces import Model, Predictions, Span
from feltwire.loading import load
from feltwire.schema import EMOJI, ENTITY, PROBABILITY_STEPS, SCORES, SENTIMENTS
from feltwire.text import clean

__all__ = ["load", "probabilities_of", "score_rows", "score_texts", "shorten", "speaks"]

Mask: TypeAlias = npt.NDArray[np.bool_]
Steps: TypeAlias = npt.NDArray[np.int64]  # probabilities as whole multiples of 1 / PROBABILITY_STEPS

MAX_CHARS: Final = 3_000
"""Of a cleaned text, a model sees this much. No post of Bluesky (300 graphemes, 3,000 bytes), X (280) or Mastodon
(500) is longer; what is longer gets `truncated = true`."""

TRUNCATED: Final = "truncated"
"""A key that `predict` may add to the heads: float32[rows, 1], 1 where the model itself left off the text's end."""

SCORED_BY: Final = "scored_by"
"""A key that `predict` of a model with `members` adds to the heads: float32[rows, 1], the number of the member that
scored the row. What stands in a head that this member does not have is passed over: the columns are null."""

TOP_EMOJI: Final = 5
LABELLED: Final = ("emotion", "irony", "offensive", "hate")  # heads that give a label and its probability
NAMED: Final = ("category", "reason", "urgency", "topic")  # heads that give a label alone
UNKNOWN: Final = "unknown"  # what a named head says where its model is unsure
OF_COMPLAINTS: Final = ("category", "reason", "urgency")  # … and that only a complaint has
_TIES: Final = [SENTIMENTS.index(label) for label in ("neutral", "negative", "positive", "mixed")]

_THREE: Final = frozenset(SENTIMENTS) - {"mixed"}

_log = logging.getLogger(__name__)


class Member(NamedTuple):
    """One of several models that a model is made of: an attribute `members` lists them."""

    name: str
    heads: frozenset[str]


class RefusedError(FeltwireError):
    """What `predict` raises when it answers for some of the texts and refuses the others, a post at a time.

    `reasons` is {row: why}, and holds no text; `answer` is for the rows that are not in it, in their order.
    """

    def __init__(self, reasons: Mapping[int, str], answer: Predictions) -> None:
        super().__init__(f"{len(reasons)} texts were refused")
        self.reasons = reasons
        self.answer = answer


def speaks(model: Model, langs: pa.Array) -> Mask:
    """bool[rows]: the model speaks the language (`en`, `en-GB`), or the language is not known (null)."""
    if not model.heads:
        return np.zeros(len(langs), np.bool_)
    if model.languages is None:
        return np.ones(len(langs), np.bool_)
    encoded = langs.dictionary_encode()
    spoken = [code.partition("-")[0].lower() in model.languages for code in encoded.dictionary.to_pylist()]
    unknown = len(spoken)
    mask: Mask = np.array([*spoken, True])[encoded.indices.fill_null(unknown).to_numpy(zero_copy_only=False)]
    return mask


def score_texts(
    texts: Sequence[str | None],
    model_uri: str,
    *,
    langs: Sequence[str | None] | None = None,
    max_chars: int = MAX_CHARS,
    probabilities: bool = False,
) -> pa.RecordBatch:
    """A row of `schema.SCORES` for every text, with the numbers that the stream would give it.

    `langs` are their languages (None: not known). `probabilities` adds a column of that name, {head: {label: p}}.
    A text on which the model fails is `scored = false`. Raises as `load`.
    """
    model = load(model_uri)
    originals = pa.array(texts, pa.string())
    cleaned = pa.array(clean([text or "" for text in texts], model.profile), pa.string())
    languages = pa.nulls(len(texts), pa.string()) if langs is None else pa.array(langs, pa.string())
    wanted = speaks(model, languages)
    while True:
        try:
            scores, failures = score_rows(
                model, cleaned, wanted, originals=originals, max_chars=max_chars, probabilities=probabilities
            )
            break
        except ModelBusyError as error:
            _log.info("%s", error)
    if failures:
        _log.warning("%d of %d texts could not be scored: %s", len(failures), len(texts), min(failures.values()))
    return scores


def score_rows(
    model: Model,
    cleaned: pa.Array,
    wanted: Mask,
    *,
    originals: pa.Array,
    max_chars: int = MAX_CHARS,
    probabilities: bool = False,
) -> tuple[pa.RecordBatch, dict[int, str]]:
    """Score the wanted rows of `cleaned`; (a row of `schema.SCORES` for every row, {row that failed: why}).

    A row that is not wanted, has no text, or failed is `scored = false` with nulls. A row fails alone: the
    others get what they would have got without it. The reason holds no text. `originals` are the texts before
    cleaning, in which entities are looked up. `probabilities` adds the column of that name,
    {head: {label: p}} for every head of classes.
    """
    has_text = pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(cleaned)), 0).fill_null(False)
    rows = np.flatnonzero(wanted & has_text.to_numpy(zero_copy_only=False))
    chosen = cleaned if len(rows) == len(cleaned) else cleaned.take(pa.array(rows))
    texts, truncated = shorten(chosen, max_chars)
    predictions, failures = _predict(model, texts) if texts else ({}, {})
    reasons = {int(rows[i]): why for i, why in failures.items()}
    if failures:
        good = np.array([i for i in range(len(rows)) if i not in failures], np.int64)
        rows, truncated, texts = rows[good], truncated[good], [texts[i] for i in good]
    whole = originals.take(pa.array(rows)).to_pylist() if _spans_of(predictions) else []
    answer = _Answer(predictions, texts, whole, truncated, _mixed(model, texts, predictions))
    return _spread(_columns(model, answer, probabilities), rows, len(cleaned)), reasons


class _Answer(NamedTuple):
    """What a model gave for some rows: as many texts, originals (where there are entities) and flags as rows."""

    predictions: Predictions
    texts: list[str]
    originals: list[str]
    truncated: Mask
    mixed: npt.NDArray[np.float32] | None


def shorten(cleaned: pa.Array, max_chars: int) -> tuple[list[str], Mask]:
    """The texts, each at most `max_chars` long and cut between words where that is possible; which were cut."""
    texts: list[str] = cleaned.to_pylist()
    truncated: Mask = pc.greater(pc.utf8_length(cleaned), max_chars).to_numpy(zero_copy_only=False)
    for i in np.flatnonzero(truncated):
        head = texts[i][: max_chars + 1]
        words = head.rsplit(maxsplit=1) if not head[-1].isspace() else [head.rstrip(), ""]
        between = len(words) == 2 and len(words[0]) >= max_chars // 2
        texts[i] = words[0] if between else head[:max_chars]
    return texts, truncated


def _predict(model: Model, texts: list[str]) -> tuple[Predictions, dict[int, str]]:
    """The model's answer for the rows that it can score, and {row: why not} for the others.

    What fails is halved until it stands alone. Feltwire's own errors pass through: a retryable one means that
    the model is away, a fatal one that it is no use, and neither is the fault of a post.
    """
    parts: list[Predictions] = []
    failures: dict[int, str] = {}
    todo = [(0, len(texts))]
    while todo:
        start, stop = todo.pop()
        rows = np.arange(start, stop)
        try:
            answer = model.predict(texts[start:stop])
        except RefusedError as refused:
            failures.update({start + i: f"model: {model.name} {why}" for i, why in refused.reasons.items()})
            rows = np.delete(rows, list(refused.reasons))
            answer = refused.answer
        except FeltwireError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a model raises is told, by its type alone
            if stop - start > 1:
                middle = (start + stop) // 2
                todo += [(middle, stop), (start, middle)]
            else:
                failures[start] = f"model: {model.name} raised {type(error).__name__}"
            continue
        bad = _check(model, answer, len(rows))
        if bad.any():
            failures.update({int(row): f"model: {model.name} gave no probabilities" for row in rows[bad]})
            answer = _pick(answer, np.flatnonzero(~bad))
        parts.append(answer)
    return _join(model, parts), failures


def _check(model: Model, answer: Predictions, n: int) -> Mask:
    """bool[rows]: where what came are no probabilities. Raises ModelError where heads or shapes are not as declared."""
    bad = np.zeros(n, np.bool_)
    for head, labels in model.heads.items():
        if head not in answer:
            raise ModelError(f"model {model.name} gave no head {head!r}: it gave {', '.join(answer) or 'nothing'}")
        given = answer[head]
        if isinstance(given, list):
            if len(given) != n:
                raise ModelError(f"model {model.name}, head {head!r}: {len(given)} rows for {n} texts")
            continue
        if given.shape != (n, len(labels)):
            raise ModelError(f"model {model.name}, head {head!r}: shape {given.shape}, expected {(n, len(labels))}")
        with np.errstate(invalid="ignore"):
            bad |= ~((given >= -1e-3) & (given <= 1 + 1e-3)).all(axis=1)
            if head == "sentiment":
                bad |= ~(np.abs(given.sum(axis=1) - 1) < 0.01)
    return bad


def _pick(answer: Predictions, rows: npt.NDArray[np.int64]) -> Predictions:
    return {
        head: [given[i] for i in rows] if isinstance(given, list) else given[rows] for head, given in answer.items()
    }


def _join(model: Model, parts: list[Predictions]) -> Predictions:
    """Several answers as one."""
    if len(parts) == 1:
        return parts[0]
    joined: Predictions = {}
    for head in parts[0] if parts else ():
        given = [part[head] for part in parts]
        if isinstance(given[0], list):
            joined[head] = [spans for part in given for spans in cast("list[list[Span]]", part)]
        else:
            joined[head] = np.concatenate(cast("list[npt.NDArray[np.float32]]", given))
    return joined


def _spans_of(predictions: Predictions) -> list[list[Span]] | None:
    spans = predictions.get("entities")
    return spans if isinstance(spans, list) else None


def _steps(p: npt.NDArray[np.float32]) -> Steps:
    """Probabilities to the nearest multiple of 1 / PROBABILITY_STEPS."""
    return np.rint(np.clip(p, 0.0, 1.0).astype(np.float64) * PROBABILITY_STEPS).astype(np.int64)


def _share(steps: Steps) -> pa.Array:
    return pa.array((steps / PROBABILITY_STEPS).astype(np.float32))


def _named(labels: Sequence[str], best: npt.NDArray[np.intp], only: Mask | None = None) -> pa.Array:
    """The labels of the chosen classes as strings; null where `only` is false."""
    indices = pa.array(best.astype(np.int32), mask=None if only is None else ~only)
    return pa.array(labels, pa.string()).take(indices)


def probabilities_of(
    model: Model, texts: list[str], head: str
) -> tuple[tuple[str, ...], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """(labels, float64[rows, labels], who scored each row) of one head for cleaned texts, as the columns have it.

    Of spans: how probable the surest one of each label is, 0 where there is none. `who` is a number in `members`.
    Raises as `predict`.
    """
    given = model.predict(texts)
    who = given.get(SCORED_BY)
    number = np.zeros(len(texts), np.int64) if who is None or isinstance(who, list) else who[:, 0].astype(np.int64)
    labels, p = tuple(model.heads[head]), given[head]
    if isinstance(p, list):
        surest = [[max((q for *_, name, q in row if name == label), default=0.0) for label in labels] for row in p]
        return labels, np.array(surest, np.float64).reshape(len(texts), len(labels)), number
    share = p.astype(np.float64)
    mixed = _mixed(model, texts, given) if head == "sentiment" else None
    if mixed is None:
        return labels, share, number
    return (*labels, "mixed"), np.concatenate([share * (1 - mixed[:, None]), mixed[:, None]], axis=1), number


def _columns(model: Model, answer: _Answer, probabilities: bool) -> pa.RecordBatch:
    """A row of `schema.SCORES` for every row of the answer; a column without a head is null."""
    n = len(answer.texts)
    heads = {head: _steps(given) for head, given in answer.predictions.items() if not isinstance(given, list)}
    own = heads.pop(TRUNCATED, None)
    heads.pop(SCORED_BY, None)
    names, lacking = _who(model, answer.predictions, n)
    columns: dict[str, pa.Array] = {
        "scored": pa.array(np.ones(n, np.bool_)),
        "truncated": pa.array(answer.truncated if own is None else answer.truncated | (own[:, 0] > 0)),
        "model": names,
    }
    if "sentiment" in heads:
        labels, given = _with_mixed(model.heads["sentiment"], heads["sentiment"], answer.mixed)
        columns |= _sentiment(labels, given, getattr(model, "neutral_band", None))
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
    spans = _spans_of(answer.predictions)
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


def _mixed(model: Model, texts: list[str], predictions: Predictions) -> npt.NDArray[np.float32] | None:
    """float32[rows]: how probable it is that the post is mixed, by its clauses; None: the model does not ask for it.

    A model asks by an attribute `clauses`. Only a post that shows a contrast is scored again, each clause as a text of
    its own; a clause on which the model fails says nothing.
    """
    labels = model.heads.get("sentiment", ())
    p = predictions.get("sentiment")
    if not getattr(model, "clauses", False) or set(labels) != _THREE or p is None or isinstance(p, list):
        return None
    negative, positive = labels.index("negative"), labels.index("positive")
    rows = clauses.candidates(pa.array(texts, pa.string()), p[:, negative], p[:, positive])
    split = {row: clauses.split(texts[row]) for row in rows}
    pieces = [(row, clause) for row, found in split.items() if len(found) > 1 for clause in found]
    found = np.zeros(len(texts), np.float32)
    if not pieces:
        return found
    answer, failures = _predict(model, [clause for _, clause in pieces])
    of = np.array([row for i, (row, _) in enumerate(pieces) if i not in failures], np.int64)
    again = np.unique(of)
    metrics.CLAUSES.labels(model=model.name).inc(len(again))
    given = answer.get("sentiment")
    if given is None or isinstance(given, list):
        return found
    for row, clause_p in zip(again, np.split(given, np.searchsorted(of, again[1:])), strict=True):
        found[row] = clauses.mixed(clause_p[:, negative], clause_p[:, positive])
    return found


def _with_mixed(
    labels: Sequence[str], given: Steps, mixed: npt.NDArray[np.float32] | None
) -> tuple[Sequence[str], Steps]:
    """The sentiments with `mixed` beside them, which takes its share from each of them."""
    if mixed is None:
        return labels, given
    share = _steps(mixed)[:, None]
    rest = np.rint(given * ((PROBABILITY_STEPS - share) / PROBABILITY_STEPS)).astype(np.int64)
    return (*labels, "mixed"), np.concatenate([rest, share], axis=1)


def _sentiment(labels: Sequence[str], given: Steps, band: tuple[float, float] | None = None) -> dict[str, pa.Array]:
    """The four probabilities, which sum to exactly 1, the label and the confidence. A tie goes to neutral first.

    Where p(positive) lies within `band` the label is neutral; probabilities and confidence stay what they are.
    """
    steps = np.zeros((len(given), len(SENTIMENTS)), np.int64)
    # A model's own sum may be off by a little: what is left over then would change which is the largest.
    shares = given / np.maximum(given.sum(axis=1, keepdims=True), 1)
    steps[:, [SENTIMENTS.index(label) for label in labels]] = np.rint(shares * PROBABILITY_STEPS)
    rows = np.arange(len(steps))
    steps[rows, _largest(steps)] += PROBABILITY_STEPS - steps.sum(axis=1)  # rounding leaves a step or two over
    best = _largest(steps)
    columns = {f"p_{label}": _share(steps[:, i]) for i, label in enumerate(SENTIMENTS)}
    columns["confidence"] = _share(steps[rows, best])
    if band is not None:
        p = steps[:, SENTIMENTS.index("positive")]
        low, high = (round(share * PROBABILITY_STEPS) for share in band)
        best[(low <= p) & (p <= high)] = SENTIMENTS.index("neutral")
    return columns | {"sentiment": _named(SENTIMENTS, best)}


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


def _spread(scores: pa.RecordBatch, rows: npt.NDArray[np.int64], n: int) -> pa.RecordBatch:
    """The scores of `rows` among `n` rows, the others unscored."""
    if len(rows) == n:
        return scores
    places = np.full(n, -1, np.int64)
    places[rows] = np.arange(len(rows))
    spread = scores.take(pa.array(places, mask=places < 0))
    for name in ("scored", "truncated"):
        index = spread.schema.get_field_index(name)
        spread = spread.set_column(index, spread.schema.field(index), spread.column(index).fill_null(False))
    return spread
