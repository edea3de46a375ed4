"""The runtime of bundles: an ONNX graph on the CPU behind a tokenizer, all heads in one pass."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from feltwire.columns import TRUNCATED
from feltwire.errors import ConfigError, ModelError
from feltwire.interfaces import Predictions, Span
from feltwire.models._bundle import GRAPH, OUTSIDE, TOKENIZER, Described, Head, Manifest
from feltwire.models._case import case_types
from feltwire.models._pieces import PieceEncoding, PieceTokenizer, Word, fits
from feltwire.models._session import Floats, Grid, RuntimeName, line, open_session
from feltwire.models._words import WordEncoding, WordTokenizer, is_words

AnyEncoding: TypeAlias = Encoding | WordEncoding | PieceEncoding
Ints: TypeAlias = npt.NDArray[np.int64]

# A pass through the graph is at most this large, padding counted: it bounds memory, and the time of one pass.
MAX_ROWS: Final = 64
MAX_TOKENS: Final = 8_192
ATTENTION: Final = "attention"
"""An output that a graph may have beside its heads, float[rows, tokens]: the share of each token in the answer."""
_INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")


class OnnxModel(Described):
    """A loaded bundle.

    The graph takes int64[rows, tokens] `input_ids`, `attention_mask` and, if it likes, `token_type_ids`, and gives
    logits for every head. Texts are sorted by length, so that little is padding; padding is masked, so a row's
    probabilities do not depend on its neighbours.
    """

    def __init__(self, folder: Path, manifest: Manifest, *, threads: int, runtime: RuntimeName = "auto") -> None:
        """Raises ModelError when the bundle cannot be used: a missing tensor, labels that do not fit."""
        super().__init__(manifest)
        self.folder = folder
        self._where = f"bundle {folder}"
        self._tokenizer, self._pad = _tokenizer(folder, manifest)
        self._with_places = any(head.kind == "spans" for head in manifest.heads.values())
        self._session = open_session(folder / GRAPH, threads=threads, runtime=runtime, bf16=manifest.bf16)
        self.runtime = self._session.runtime
        self._outputs = {name: head.output or name for name, head in manifest.heads.items()}
        self._inputs = list(self._session.inputs)
        self._check()

    def predict(self, texts: Sequence[str]) -> Predictions:
        """Probabilities for every head; `truncated` is 1 where a text has more tokens than the bundle allows."""
        encode = self._tokenizer.encode_batch if self._with_places else self._tokenizer.encode_batch_fast
        encodings: Sequence[AnyEncoding] = encode(list(texts))
        answer: Predictions = {
            name: [[] for _ in texts] if head.kind == "spans" else np.zeros((len(texts), len(head.labels)), np.float32)
            for name, head in self.manifest.heads.items()
        }
        answer[TRUNCATED] = np.array([[bool(one.overflowing)] for one in encodings], np.float32).reshape(-1, 1)
        types = self._types(texts, encodings)
        for rows in _batches([len(one.ids) for one in encodings], self._session.grid):
            logits = self._run([encodings[row] for row in rows], [types[row] for row in rows] if types else None)
            for (name, head), given in zip(self.manifest.heads.items(), logits, strict=True):
                column = answer[name]
                if isinstance(column, list):
                    self._fill(column, rows, encodings, given, head)
                else:
                    column[rows] = _probabilities(given, head)
        return answer

    def _types(self, texts: Sequence[str], encodings: Sequence[AnyEncoding]) -> list[list[int]] | None:
        """The token types of every text; None where all are 0."""
        if self.manifest.token_types == "none":
            return None
        return [case_types(text, cast(Encoding, one)) for text, one in zip(texts, encodings, strict=True)]

    def _fill(
        self, column: list[list[Span]], rows: list[int], encodings: Sequence[AnyEncoding], logits: Floats, head: Head
    ) -> None:
        """The entities of some rows, out of BIO tags: an entity has the mean probability of its words.

        An I- that continues nothing begins an entity, as the usual scoring of such tags has it. Most posts hold none:
        those are seen from the logits alone.
        """
        outside = head.labels.index(OUTSIDE)
        best = logits.argmax(axis=-1)
        tagged: list[tuple[int, int, Word]] = []  # (row of the batch, number of the word, the word)
        for i in np.flatnonzero((best != outside).any(axis=1)).tolist():
            tags = best[i].tolist()
            words = enumerate(words_of(encodings[rows[i]]))
            tagged += [(i, number, word) for number, word in words if tags[word[0]] != outside]
        if not tagged:
            return
        of, tokens = [i for i, _, _ in tagged], [word[0] for _, _, word in tagged]
        tags = best[of, tokens]
        shares = _probabilities(logits[of, tokens], head)[np.arange(len(tagged)), tags].tolist()
        entities: list[tuple[int, _Entity]] = []
        before = (-1, -1)  # the row and number of the last tagged word
        for (i, number, (_, start, end)), tag, share in zip(tagged, tags.tolist(), shares, strict=True):
            prefix, _, label = head.labels[tag].partition("-")
            last = entities[-1][1] if before == (i, number - 1) else None
            if last is not None and prefix == "I" and last.label == label:
                last.end = end
                last.shares.append(share)
            else:
                entities.append((i, _Entity(start, end, label, [share])))
            before = (i, number)
        for i, one in entities:
            column[rows[i]].append((one.start, one.end, one.label, sum(one.shares) / len(one.shares)))

    def attend(self, text: str) -> list[tuple[int, int, float]]:
        """(start, end, share) of each word of a cleaned text, by the graph's output `attention`: float[rows, tokens].

        Raises ConfigError for a graph without one.
        """
        if ATTENTION not in self._session.outputs:
            raise ConfigError(f"model {self.name} has no attention: its graph has no output {ATTENTION!r}")
        encoding: AnyEncoding = self._tokenizer.encode(text)
        feed = self._feed([encoding], self._types([text], [encoding]))
        shares = self._session.run([ATTENTION], feed)[0][0]
        found: dict[int, tuple[int, int, float]] = {}
        for number, (start, end), share in zip(encoding.word_ids, encoding.offsets, shares, strict=False):
            if number is not None:  # as [CLS] has none
                first, _, sum_ = found.get(number, (start, end, 0.0))
                found[number] = (first, end, sum_ + float(share))
        return list(found.values())

    def _run(self, encodings: Sequence[AnyEncoding], types: list[list[int]] | None = None) -> list[Floats]:
        """The heads' logits for one padded batch, without what was padded to a grid."""
        logits = self._session.run(list(self._outputs.values()), self._feed(encodings, types))
        if self._session.grid is None:
            return logits
        length = _length(encodings)
        spans = [head.kind == "spans" for head in self.manifest.heads.values()]
        cut = [given[: len(encodings)] for given in logits]
        return [given[:, :length] if of_tokens else given for given, of_tokens in zip(cut, spans, strict=True)]

    def _feed(self, encodings: Sequence[AnyEncoding], types: list[list[int]] | None) -> dict[str, Ints]:
        """One padded batch."""
        grid = self._session.grid
        length = _length(encodings, grid)
        number = len(encodings) if grid is None else _grid_rows(grid, length)
        feed = {name: np.zeros((number, length), np.int64) for name in self._inputs}
        ids, mask = feed["input_ids"], feed.get("attention_mask")
        ids[:] = self._pad
        if mask is not None:  # a mean over nothing would be no number
            mask[:, 0] = 1
        for row, one in enumerate(encodings):
            ids[row, : len(one.ids)] = one.ids
            if mask is not None:
                mask[row, : len(one.ids)] = 1
            if types is not None:
                feed["token_type_ids"][row, : len(one.ids)] = types[row]
        return feed

    def _check(self) -> None:
        """One text through the graph: every tensor is there, and as wide as its head has labels."""
        if self.manifest.token_types != "none" and "token_type_ids" not in self._inputs:
            raise ModelError(f"{self._where}: token_types is 'case', but {GRAPH} takes no token_type_ids")
        unknown = [name for name in self._inputs if name not in _INPUTS]
        if unknown or "input_ids" not in self._inputs:
            raise ModelError(f"{self._where}: {GRAPH} takes {self._inputs}; allowed are {', '.join(_INPUTS)}")
        there = list(self._session.outputs)
        for name, output in self._outputs.items():
            if output not in there:
                raise ModelError(f"{self._where}: head {name!r}: {GRAPH} has no output {output!r}, only {there}")
        encoding = self._tokenizer.encode("a")
        try:
            logits = self._run([encoding, encoding])
        except Exception as error:
            raise ModelError(f"{self._where}: {GRAPH} does not run: {line(error)}") from error
        tokens = max(1, len(encoding.ids))
        for (name, head), given in zip(self.manifest.heads.items(), logits, strict=True):
            expected = (2, tokens, len(head.labels)) if head.kind == "spans" else (2, len(head.labels))
            if given.shape != expected:
                raise ModelError(
                    f"{self._where}: head {name!r} has {len(head.labels)} labels, its tensor the shape {given.shape} "
                    f"where {expected} was expected: the labels do not belong to this graph"
                )


def _tokenizer(folder: Path, manifest: Manifest) -> tuple[Any, int]:
    """The tokenizer, and the number of its padding token."""
    try:
        if is_words(folder / TOKENIZER):
            return WordTokenizer.read(folder / TOKENIZER, max_tokens=manifest.max_tokens), 0
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        pad = (tokenizer.padding or {}).get("pad_id") or tokenizer.token_to_id("[PAD]") or 0
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length=manifest.max_tokens)
    except Exception as error:
        raise ModelError(f"bundle {folder}: {TOKENIZER} cannot be read: {line(error)}") from error
    if manifest.token_types == "none" and fits(tokenizer):
        return PieceTokenizer(tokenizer, manifest.max_tokens), int(pad)
    return tokenizer, int(pad)


def _length(encodings: Sequence[AnyEncoding], grid: Grid | None = None) -> int:
    """The tokens of a padded batch, one at least."""
    length = max(1, *(len(one.ids) for one in encodings))
    return length if grid is None else -(-length // grid.step) * grid.step


def _grid_rows(grid: Grid, length: int) -> int:
    return max(1, min(grid.rows, MAX_TOKENS // length))


def _batches(lengths: list[int], grid: Grid | None = None) -> Iterator[list[int]]:
    """Row numbers in batches of rows of like length, none above MAX_ROWS or, padded, MAX_TOKENS.

    With a grid, only rows that are padded to the same length come together.
    """
    if grid is not None:
        by_length: dict[int, list[int]] = {}
        for row, length in enumerate(lengths):
            by_length.setdefault(max(1, -(-length // grid.step)) * grid.step, []).append(row)
        for length, alike in sorted(by_length.items()):
            number = _grid_rows(grid, length)
            yield from (alike[start : start + number] for start in range(0, len(alike), number))
        return
    rows: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if rows and (len(rows) == MAX_ROWS or (len(rows) + 1) * lengths[row] > MAX_TOKENS):
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows


def _probabilities(logits: Floats, head: Head) -> Floats:
    """Softmax (sigmoid for `multi`) of the logits over the head's temperature, along the last axis."""
    scaled = logits.astype(np.float64) / head.temperature
    if head.kind == "multi":
        each: Floats = (0.5 * (1 + np.tanh(scaled / 2))).astype(np.float32)  # the sigmoid, without overflow
        return each
    odds = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    shares: Floats = (odds / odds.sum(axis=-1, keepdims=True)).astype(np.float32)
    return shares


@dataclass(slots=True)
class _Entity:
    start: int
    end: int
    label: str
    shares: list[float]


def words_of(encoding: AnyEncoding) -> list[Word]:
    """The words of a text; a word has the tag of its first token."""
    if isinstance(encoding, PieceEncoding) and (words := encoding.words()) is not None:
        return words
    found: list[Word] = []
    last = None
    for token, (number, (start, end)) in enumerate(zip(encoding.word_ids, encoding.offsets, strict=True)):
        if number is None:  # [CLS], [SEP]
            continue
        if number == last:
            found[-1] = (*found[-1][:2], end)
        else:
            found.append((token, start, end))
        last = number
    return found
