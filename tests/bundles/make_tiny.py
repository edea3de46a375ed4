"""Make `tests/bundles/tiny`: a real bundle, small enough to read, whose weights are set by hand.

    python -m tests.bundles.make_tiny [FOLDER]

A word adds what it stands for (an embedding of a few features) to its post; the heads are linear in the sum over
the words, divided by the root of their number. It knows some hundred words and says plausible things about them.
The same files come out every time.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from tests.bundles import onnx_writer as onnx
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

Floats = npt.NDArray[np.float32]

MAX_TOKENS: Final = 128
SPECIAL: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")

# What the words stand for. A word may stand in several lists.
FEATURES: Final[dict[str, str]] = {
    "positive": "good great love loved loves lovely best awesome amazing thanks thank nice happy glad excellent "
    "perfect wonderful beautiful win won enjoy enjoyed fun hope heart joy smiling gut toll danke bueno genial gracias",
    "negative": "bad worst hate hated hates awful terrible horrible lost broken cancelled canceled delayed late rude "
    "angry sad cry crying worse fail failed failure refund never useless stuck waiting pouting enraged schlecht "
    "furchtbar malo horrible peor",
    "anger": "hate hated hates angry rude furious outraged pouting enraged worst useless schlecht malo",
    "joy": "love loved loves happy glad awesome amazing fun enjoy enjoyed joy smiling won heart toll genial",
    "optimism": "hope hoping tomorrow soon will can future believe better luck",
    "sadness": "sad cry crying lost miss missed sorry alone worse",
    "funny": "lol haha funny laughing tears joke",
    "praise": "thanks thank bravo congrats congratulations danke gracias",
    "complaint": "cancelled canceled delayed refund lost broken rude waiting stuck late luggage baggage bag service "
    "never useless",
    "delay": "delayed late waiting hours hour stuck cancelled canceled",
    "baggage": "luggage baggage bag bags suitcase",
    "service": "rude service staff crew agent",
    "booking": "refund booking website app ticket money",
    "person": "anna maria john ahmed obama einstein",
    "location": "london paris berlin madrid tokyo york chicago boston",
    "location_first": "san new",
    "location_next": "francisco york diego",
    "corporation": "delta united lufthansa apple google microsoft ibm",
}
OTHER_WORDS: Final = (
    "the a an and or but is are was were be to of in on at for with from by i you he she it we they my your our this "
    "that these those not no so very just have has had do does did today flight plane train post team game movie "
    "music user weather monday city went left arrived at station red face day what how when who"
)
PIECES: Final = ("##s", "##ed", "##ing", "##ly", "##er")

SENTIMENT: Final = ("negative", "neutral", "positive")
EMOTION: Final = ("anger", "joy", "optimism", "sadness")
EMOJI: Final = ("❤", "😂", "😍", "😡", "😭", "👏", "🙏")
COMPLAINT: Final = ("no_complaint", "complaint")
CATEGORY: Final = ("delay", "baggage", "service", "booking")
TAGS: Final = ("O", "B-person", "I-person", "B-location", "I-location", "B-corporation", "I-corporation")

# {head: (its labels, {label: (bias, {feature: weight})})}
HEADS: Final[dict[str, tuple[tuple[str, ...], dict[str, tuple[float, dict[str, float]]]]]] = {
    "sentiment": (
        SENTIMENT,
        {
            "negative": (0.0, {"negative": 6.0, "positive": -3.0}),
            "neutral": (1.5, {}),
            "positive": (0.0, {"positive": 6.0, "negative": -3.0}),
        },
    ),
    "emotion": (
        EMOTION,
        {
            "anger": (0.0, {"anger": 6.0, "complaint": 2.0}),
            "joy": (0.0, {"joy": 6.0, "praise": 3.0}),
            "optimism": (0.5, {"optimism": 6.0}),
            "sadness": (0.0, {"sadness": 6.0}),
        },
    ),
    "emoji": (
        EMOJI,
        {
            "❤": (0.2, {"positive": 4.0}),
            "😂": (0.3, {"funny": 8.0}),
            "😍": (0.1, {"joy": 4.0, "positive": 2.0}),
            "😡": (0.0, {"anger": 6.0, "complaint": 3.0}),
            "😭": (0.0, {"sadness": 6.0, "negative": 2.0}),
            "👏": (0.0, {"praise": 4.0, "positive": 1.0}),
            "🙏": (0.0, {"praise": 3.0, "optimism": 4.0}),
        },
    ),
    "complaint": (COMPLAINT, {"no_complaint": (2.0, {}), "complaint": (0.0, {"complaint": 6.0, "positive": -3.0})}),
    "category": (CATEGORY, {label: (0.0, {label: 6.0}) for label in CATEGORY}),
}
# The same for each token: here a feature decides alone.
ENTITIES: Final[dict[str, tuple[float, dict[str, float]]]] = {
    "O": (3.0, {}),
    "B-person": (0.0, {"person": 8.0}),
    "I-person": (0.0, {}),
    "B-location": (0.0, {"location": 8.0, "location_first": 6.0, "location_next": -4.0}),
    "I-location": (0.0, {"location_next": 7.0}),
    "B-corporation": (0.0, {"corporation": 8.0}),
    "I-corporation": (0.0, {}),
}


def vocabulary() -> dict[str, int]:
    """{token: its number}, the special ones first."""
    words = dict.fromkeys(
        [*SPECIAL, *OTHER_WORDS.split(), *(word for row in FEATURES.values() for word in row.split())]
    )
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + list("0123456789.,!?'#@-:;()")
    return {token: i for i, token in enumerate(dict.fromkeys([*words, *letters, *PIECES]))}


def tokenizer(vocab: dict[str, int]) -> Tokenizer:
    """WordPiece as BERT has it: lower case, words, then pieces of words."""
    made = Tokenizer(WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=64))
    made.normalizer = BertNormalizer(lowercase=True)
    made.pre_tokenizer = BertPreTokenizer()
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, vocab[name]) for name in ("[CLS]", "[SEP]")]
    )
    return made


def embeddings(vocab: dict[str, int]) -> Floats:
    """float32[tokens, features + 1]: 1 for what a word stands for; the last counts words."""
    table = np.zeros((len(vocab), len(FEATURES) + 1), np.float32)
    for column, words in enumerate(FEATURES.values()):
        for word in words.split():
            table[vocab[word], column] = 1.0
    table[len(SPECIAL) :, -1] = 1.0
    table[vocab["[UNK]"], -1] = 1.0
    return table


def linear(labels: tuple[str, ...], weights: dict[str, tuple[float, dict[str, float]]]) -> tuple[Floats, Floats]:
    """float32[features + 1, labels] and float32[labels]."""
    names = list(FEATURES)
    matrix = np.zeros((len(names) + 1, len(labels)), np.float32)
    bias = np.zeros(len(labels), np.float32)
    for column, label in enumerate(labels):
        bias[column], by_feature = weights[label]
        for feature, weight in by_feature.items():
            matrix[names.index(feature), column] = weight
    return matrix, bias


def graph(vocab: dict[str, int]) -> bytes:
    """The ONNX graph: embed, mask, sum over the words, divide by the root of their number, one linear map a head."""
    counted = len(FEATURES)
    weights: dict[str, onnx.Array] = {
        "embeddings": embeddings(vocab),
        "last_axis": np.array([2], np.int64),
        "words_axis": np.array([1], np.int64),
        "count_from": np.array([counted], np.int64),
        "count_to": np.array([counted + 1], np.int64),
        "one": np.array([1.0], np.float32),
    }
    nodes = [
        onnx.node("Gather", ["embeddings", "input_ids"], "tokens", axis=0),
        onnx.node("Cast", ["attention_mask"], "mask", to=onnx.FLOAT),
        onnx.node("Unsqueeze", ["mask", "last_axis"], "mask_3d"),
        onnx.node("Mul", ["tokens", "mask_3d"], "masked"),
        onnx.node("ReduceSum", ["masked", "words_axis"], "sum", keepdims=0),
        onnx.node("Slice", ["sum", "count_from", "count_to", "words_axis"], "count"),
        onnx.node("Max", ["count", "one"], "at_least_one"),
        onnx.node("Sqrt", ["at_least_one"], "root"),
        onnx.node("Div", ["sum", "root"], "pooled"),
    ]
    outputs: dict[str, onnx.Shape] = {}
    for head, (labels, by_label) in HEADS.items():
        weights[f"{head}_weight"], weights[f"{head}_bias"] = linear(labels, by_label)
        nodes.append(onnx.node("Gemm", ["pooled", f"{head}_weight", f"{head}_bias"], head))
        outputs[head] = ("rows", len(labels))
    weights["entities_weight"], weights["entities_bias"] = linear(TAGS, ENTITIES)
    nodes.append(onnx.node("MatMul", ["masked", "entities_weight"], "entities_without_bias"))
    nodes.append(onnx.node("Add", ["entities_without_bias", "entities_bias"], "entities"))
    outputs["entities"] = ("rows", "tokens", len(TAGS))
    inputs: dict[str, onnx.Shape] = {"input_ids": ("rows", "tokens"), "attention_mask": ("rows", "tokens")}
    return onnx.model("tiny", nodes=nodes, weights=weights, inputs=inputs, outputs=outputs)


def manifest(files: dict[str, bytes]) -> dict[str, Any]:
    """`model.json`."""
    heads: dict[str, Any] = {head: {"labels": labels, "kind": "classes"} for head, (labels, _) in HEADS.items()}
    heads["sentiment"]["temperature"] = 1.25
    heads["entities"] = {"labels": TAGS, "kind": "spans"}
    return {
        "schema_version": 1,
        "name": "tiny",
        "version": "1",
        "description": "A toy with weights set by hand, for tests. It knows a few hundred words.",
        "licence": "Apache-2.0",
        "languages": ["de", "en", "es"],
        "profile": "social",
        "max_tokens": MAX_TOKENS,
        "heads": heads,
        "training": [],
        "metrics": {},
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }


def make(folder: Path) -> None:
    """Write the three files of the bundle."""
    vocab = vocabulary()
    files = {
        "model.onnx": graph(vocab),
        "tokenizer.json": (tokenizer(vocab).to_str(pretty=False) + "\n").encode(),
    }
    files["model.json"] = (json.dumps(manifest(files), indent=2, ensure_ascii=False) + "\n").encode()
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "tiny")
