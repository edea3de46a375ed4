"""Scores: from a model's probabilities to the columns of `schema.SCORES`, the same for a stream and a single text."""

import logging
from collections.abc import Mapping, Sequence
from typing import Final, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feltwire import clauses, metrics
from feltwire.columns import SCORED_BY, UNSCORED, Answer, Mask, columns_of, spans_of
from feltwire.errors import FeltwireError, ModelBusyError, ModelError
from feltwire.interfaces import Model, Predictions, Span
from feltwire.loading import load
from feltwire.schema import SENTIMENTS
from feltwire.text import clean

__all__ = ["load", "probabilities_of", "score_rows", "score_texts", "shorten", "speaks"]


MAX_CHARS: Final = 3_000
"""Of a cleaned text, a model sees this much. No post of Bluesky (300 graphemes, 3,000 bytes), X (280) or Mastodon
(500) is longer; what is longer gets `truncated = true`."""

_THREE: Final = frozenset(SENTIMENTS) - {"mixed"}

_log = logging.getLogger(__name__)


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
    empty = predictions.pop(UNSCORED, None)
    if empty is not None and not isinstance(empty, list):
        good = np.flatnonzero(empty[:, 0] == 0)
        rows, truncated, texts = rows[good], truncated[good], [texts[i] for i in good]
        predictions = _pick(predictions, good)
    whole = originals.take(pa.array(rows)).to_pylist() if spans_of(predictions) else []
    answer = Answer(predictions, texts, whole, truncated, _mixed(model, texts, predictions))
    return _spread(columns_of(model, answer, probabilities), rows, len(cleaned)), reasons


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
