"""The linear part over tokens beside a network: what it learns, what it shares, and that padding is nothing to it."""

from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

torch = pytest.importorskip("torch")

from feltwire.errors import ConfigError  # noqa: E402
from feltwire.lab.examples import Example  # noqa: E402
from feltwire.lab.recipe import HeadSpec  # noqa: E402
from feltwire.lab.words import with_words  # noqa: E402

TOPICS = {"bag": ["bag", "suitcase"], "seat": ["seat", "aisle"], "price": ["fee", "charge"]}
COMMON = ["my", "the", "is", "so", "today"]
HEAD = HeadSpec(labels=("bag", "seat", "price", "never"), words=0.25)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *COMMON, *(word for part in TOPICS.values() for word in part), "odd"]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return tokenizer


def examples(labels: list[str]) -> list[Example]:
    chance = np.random.default_rng(1)
    return [
        Example(f"{chance.choice(COMMON)} {word} {chance.choice(COMMON)}", {"topic": {label: 1.0}})
        for label in labels
        for word in TOPICS[label]
        for _ in range(10)
    ]


class Silent(torch.nn.Module):  # type: ignore[misc, name-defined]
    """A network that says the same of every text."""

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> dict[str, Any]:
        rows = len(input_ids)
        return {"topic": torch.tensor([[0.0, 1.0, 2.0, 3.0]]).repeat(rows, 1), "other": torch.ones(rows, 2)}


def ask(network: Any, tokenizer: Tokenizer, text: str, padding: int = 0) -> dict[str, Any]:
    ids = tokenizer.encode(text).ids
    mask = [1] * len(ids) + [0] * padding
    with torch.inference_mode():
        answer: dict[str, Any] = network(torch.tensor([ids + [0] * padding]), torch.tensor([mask]), None)
    return answer


@pytest.mark.parametrize("labels", [["bag", "seat", "price"], ["seat", "price"]])
def test_words_are_learned_and_mixed_in(tokenizer: Tokenizer, labels: list[str]) -> None:
    both = with_words(Silent(), {"topic": HEAD}, examples(labels), tokenizer)
    alone = with_words(Silent(), {"topic": HEAD.model_copy(update={"words": 0.999999})}, examples(labels), tokenizer)
    for label in labels:
        for word in TOPICS[label]:
            words = ask(alone, tokenizer, f"my {word} is odd")["topic"][0]
            assert HEAD.labels[int(words.argmax())] == label
            mixed = ask(both, tokenizer, f"my {word} is odd")
            expected = 0.75 * torch.tensor([0.0, 1.0, 2.0, 3.0]) + 0.25 * words
            assert torch.allclose(mixed["topic"][0], expected, atol=1e-3)
            assert mixed["other"].tolist() == [[1.0, 1.0]]


def test_padding_and_unseen_words_count_for_nothing(tokenizer: Tokenizer) -> None:
    network = with_words(Silent(), {"topic": HEAD}, examples(list(TOPICS)), tokenizer)
    plain = ask(network, tokenizer, "my bag is")["topic"]
    assert torch.allclose(plain, ask(network, tokenizer, "my bag is", padding=9)["topic"])
    assert torch.allclose(plain, ask(network, tokenizer, "my bag is odd unheard")["topic"])
    assert torch.isfinite(ask(network, tokenizer, "odd")["topic"]).all()


def test_rows_that_decide_between_some_labels_alone_do_not_teach(tokenizer: Tokenizer) -> None:
    partly = [Example("my bag", {"topic": {"seat": 1.0}}, {"topic": ("seat", "price")})] * 50
    one = with_words(Silent(), {"topic": HEAD}, examples(list(TOPICS)), tokenizer)
    two = with_words(Silent(), {"topic": HEAD}, [*examples(list(TOPICS)), *partly], tokenizer)
    assert torch.equal(ask(one, tokenizer, "my bag")["topic"], ask(two, tokenizer, "my bag")["topic"])


def test_a_head_without_words_stays_as_it_is_and_one_label_is_refused(tokenizer: Tokenizer) -> None:
    network = Silent()
    assert with_words(network, {"topic": HEAD.model_copy(update={"words": 0.0})}, [], tokenizer) is network
    with pytest.raises(ConfigError, match="words of topic: the sets have 1 of its labels"):
        with_words(network, {"topic": HEAD}, examples(["bag"]), tokenizer)
