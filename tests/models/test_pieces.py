"""The cached tokenizer gives what the tokenizer gives; case is told apart; both runtimes agree."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from feltwire.errors import FeltwireError
from feltwire.models._case import CAPITALISED, LOWER, UPPER, case_types
from feltwire.models._formats import open_bundle
from feltwire.models._onnx import words_of
from feltwire.models._pieces import PieceTokenizer, fits
from feltwire.models._session import open_session

TINY = Path(__file__).parents[1] / "bundles" / "tiny"
MAX_TOKENS = 16


def tokenizer() -> Tokenizer:
    found = Tokenizer.from_file(str(TINY / "tokenizer.json"))
    found.no_padding()
    found.enable_truncation(max_length=MAX_TOKENS)
    return found


@given(st.text(max_size=60) | st.text("aehlost LOST'@#.,!-_0123[]\t", max_size=80))
def test_it_gives_what_the_tokenizer_gives(text: str) -> None:
    whole = tokenizer()
    assert fits(whole)
    fast, slow = PieceTokenizer(whole, MAX_TOKENS).encode(text), whole.encode(text)
    assert list(fast.ids) == slow.ids
    assert bool(fast.overflowing) == bool(slow.overflowing)
    assert fast.offsets == slow.offsets
    assert fast.word_ids == slow.word_ids
    assert words_of(fast) == words_of(slow)


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feltwire.models._pieces._MAX_CACHED", 10)
    pieces = PieceTokenizer(tokenizer(), MAX_TOKENS)
    for i in range(100):
        pieces.encode(f"word{i}")
    assert len(pieces._cache) <= 10


def test_case_of_words() -> None:
    text = "Lost MY bag at JFK, iPhone I 3G Émile"
    encoding = tokenizer().encode(text)
    types = case_types(text, encoding)
    by_word: dict[str, set[int]] = {}
    for (start, _), word, kind in zip(encoding.offsets, encoding.word_ids, types, strict=True):
        if word is not None:
            by_word.setdefault(text[start:].split(maxsplit=1)[0].strip(","), set()).add(kind)
    assert by_word["Lost"] == {CAPITALISED}
    assert by_word["MY"] == {UPPER}
    assert by_word["bag"] == {LOWER}
    assert len(types) == len(encoding.ids)
    assert case_types("all lower", tokenizer().encode("all lower")) == [LOWER] * len(
        tokenizer().encode("all lower").ids
    )


def test_both_runtimes_agree() -> None:
    pytest.importorskip("openvino")
    texts = ["love this, thank you", "lost my bag again and nobody at Delta answers", "x", "plain words " * 6]
    one: Any = open_bundle(TINY, runtime="onnxruntime")
    other: Any = open_bundle(TINY, runtime="openvino")
    assert one.runtime.startswith("onnxruntime")
    assert other.runtime.startswith("openvino")
    for head, p in one.predict(texts).items():
        if not isinstance(p, list):
            assert np.abs(p - other.predict(texts)[head]).max() < 0.02  # 8 bits of mantissa, on weights set by hand
    for i, text in enumerate(texts):
        alone = other.predict([text])["sentiment"][0]
        assert np.abs(alone - other.predict(texts)["sentiment"][i]).max() < 0.005


def test_a_runtime_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FeltwireError, match=r"pip install 'feltwire\[openvino\]'"):
        open_session(TINY / "model.onnx", threads=1, runtime="openvino")
