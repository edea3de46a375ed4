"""`models pull`: checkpoints of two kinds become bundles that say the same, and what cannot become one says why."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.lab.checkpoints import checkpoint, without
from tests.lab.neural import LONG
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

from feltwire import text
from feltwire.errors import ConfigError, ModelError
from feltwire.lab import pull as room
from feltwire.lab.pull import pull
from feltwire.models import hf
from feltwire.models._formats import open_bundle
from feltwire.models._pulled import place, reference
from feltwire.registry import create

TEXTS = ("The flight was LATE again", "great crew, thanks!", "x", "we land in Berlin 😀 naïve", "")
TAGS = ("O", "B-person", "I-person", "B-location", "I-location")


def expected(folder: Path, texts: tuple[str, ...], kind: Any) -> list[Any]:
    """What transformers itself says, a text at a time: the probabilities."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = kind.from_pretrained(folder).eval()
    said = []
    for one in text.clean(texts, "social"):
        with torch.no_grad():
            logits = model(**tokenizer(one, return_tensors="pt", truncation=True, max_length=30)).logits
        said.append(torch.softmax(logits[0], -1).numpy())
    return said


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_sequence_classifier_says_the_same(kind: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "checkpoint", kind, ("NEG", "NEU", "POS"))
    made = pull(str(folder), tmp_path / "bundle", max_tokens=30)
    model: Any = open_bundle(made, runtime="onnxruntime")
    assert model.heads == {"sentiment": ("negative", "neutral", "positive")}
    texts = (*TEXTS, LONG)
    given = model.predict(text.clean(texts, "social"))
    for row, one in enumerate(expected(folder, texts, AutoModelForSequenceClassification)):
        assert np.abs(given["sentiment"][row] - one).max() < 1e-4, texts[row]
    assert given["truncated"][:, 0].tolist() == [0] * len(TEXTS) + [1]
    assert str(tmp_path).encode() not in (made / "model.onnx").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_token_classifier_gives_entities(kind: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "checkpoint", kind, TAGS, task="token")
    model: Any = open_bundle(pull(str(folder), tmp_path / "bundle"), runtime="onnxruntime")
    assert model.heads == {"entities": ("person", "location")}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    said = expected(folder, TEXTS, AutoModelForTokenClassification)
    some = 0
    cleaned = text.clean(TEXTS, "social")
    for one, shares, spans in zip(cleaned, said, model.predict(cleaned)["entities"], strict=True):
        encoded = tokenizer(one, return_offsets_mapping=True)
        begins = {}
        for number, word in enumerate(encoded.word_ids()):
            if word is not None and word not in begins:
                begins[word] = encoded["offset_mapping"][number][0], TAGS[shares[number].argmax()]
        tagged = {start: tag[2:] for start, tag in begins.values() if tag != "O"}
        assert {start: label for start, _, label, _ in spans}.items() <= tagged.items()
        assert bool(spans) == bool(tagged)
        some += len(spans)
    assert some


def heads(labels: dict[str, str] | None = None, *, head: str = "", **config: Any) -> Any:
    task = "ForTokenClassification" if config.pop("tokens", False) else "ForSequenceClassification"
    return room._heads(config, task, head, labels or {}, "it")


def named(*labels: str) -> dict[str, str]:
    return {str(number): label for number, label in enumerate(labels)}


def test_the_order_of_the_labels_is_the_checkpoints() -> None:
    """A label at another place would turn every score round."""
    assert heads(id2label={"1": "neutral", "0": "Positive", "2": "NEG"})["sentiment"]["labels"] == [
        "positive",
        "neutral",
        "negative",
    ]
    many = {str(number): f"class{number}" for number in range(12)}
    assert heads(id2label=dict(sorted(many.items())), head="topic")["topic"]["labels"] == [
        f"class{number}" for number in range(12)
    ]


def test_heads_follow_from_labels() -> None:
    assert list(heads(id2label=named("NEGATIVE", "POSITIVE"))) == ["sentiment"]
    assert heads(id2label=named("NON-HATE", "HATE"))["hate"]["labels"] == ["not-hate", "hate"]
    assert heads(id2label=named("joy", "anger", "sadness", "optimism"))["emotion"]["labels"][0] == "joy"
    assert heads(id2label=named("News", "Sport"), head="topic")["topic"]["labels"] == ["News", "Sport"]
    multi = heads(id2label=named("joy", "fear"), head="moods", problem_type="multi_label_classification")
    assert multi["moods"]["kind"] == "multi"
    assert heads(id2label=named("O", "B-x", "I-x"), tokens=True)["entities"]["kind"] == "spans"


def test_generic_names_need_a_mapping() -> None:
    mapping = {"LABEL_0": "negative", "LABEL_1": "neutral", "LABEL_2": "positive"}
    generic = named("LABEL_0", "LABEL_1", "LABEL_2")
    assert heads(mapping, id2label=generic)["sentiment"]["labels"] == ["negative", "neutral", "positive"]
    for given, says in (
        ({}, "no names for its labels .LABEL_0, LABEL_1, LABEL_2.: give them by --labels LABEL_0=… --labels"),
        ({"LABEL_0": "negative"}, "no names for its labels"),
        ({**mapping, "LABEL_3": "mixed"}, "has no label 'LABEL_3'"),
        ({**mapping, "LABEL_1": "negative"}, "a label stands twice"),
    ):
        with pytest.raises(ConfigError, match=says):
            heads(given, id2label=generic)
    with pytest.raises(ConfigError, match="no names for its labels"):
        heads()


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"id2label": named("News", "Sport")}, "tell no head: name it by --head"),
        ({"id2label": named("score")}, "has one output"),
        ({"id2label": {"0": "a", "2": "b"}}, "does not number its labels from 0 on"),
        ({"id2label": named("O", "S-person", "E-person"), "tokens": True}, "labels of spans are O, B-<entity>"),
    ],
)
def test_other_labels_are_refused(config: dict[str, Any], says: str) -> None:
    with pytest.raises((ConfigError, ModelError), match=says):
        heads(**config)


def test_what_is_no_classifier_is_refused(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "checkpoint", "bert", ("negative", "positive"))
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "architectures": ["BertForMaskedLM"]}))
    with pytest.raises(ConfigError, match="is BertForMaskedLM: expected one of ForSequenceClassification"):
        pull(str(folder), tmp_path / "bundle")
    without(folder, "architectures")
    with pytest.raises(ConfigError, match="is of no stated class"):
        pull(str(folder), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_pickles_and_full_folders_are_refused(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "checkpoint", "bert", ("negative", "positive"))
    with pytest.raises(ConfigError, match="is not empty: name another folder"):
        pull(str(folder), folder)
    with pytest.raises(ConfigError, match="name the bundle's folder by --out"):
        pull(str(folder))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"as a pickle .pytorch_model.bin., which is never loaded"):
        pull(str(folder), tmp_path / "bundle")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"profile": "nonsense"}, "profile = 'nonsense': .*unknown cleaning profile"),
        ({"name": "no name"}, "name = 'no name'"),
        ({"max_tokens": 100_000}, "max_tokens = 100000"),
        ({"max_tokens": 100}, "this checkpoint reads 4 to 34"),
    ],
)
def test_wrong_options_are_told_before_anything_is_exported(given: dict[str, Any], says: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "checkpoint", "bert", ("negative", "positive"))
    with pytest.raises(ConfigError, match=says):
        pull(str(folder), tmp_path / "bundle", **given)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_references_and_their_places(tmp_path: Path) -> None:
    assert reference("hf:org/name") == ("org/name", None)
    assert reference("org/name@v1.0") == ("org/name", "v1.0")
    assert place("hf:org/name@v1", str(tmp_path)) == tmp_path / "org" / "name@v1"
    for wrong in ("hf:", "hf:../../etc", "hf:a/b/c", "hf:a/b@", "hf:a/..", "hf:a/b@../c", "name"):
        with pytest.raises(ConfigError, match="expected hf:org/name"):
            reference(wrong)


def test_hf_opens_what_was_pulled_and_else_says_how(tmp_path: Path) -> None:
    tiny = Path(__file__).parents[1] / "bundles" / "tiny"
    with pytest.raises(ConfigError, match="is not on this machine: feltwire models pull hf:org/name@v1"):
        hf.create("org/name@v1", hf.Options(at=str(tmp_path)))
    (tmp_path / "org").mkdir()
    (tmp_path / "org" / "name@v1").symlink_to(tiny)
    assert create("models", f"hf:org/name@v1?at={tmp_path}&threads=2").name == "tiny@1"
    assert create("models", f"hf:{tiny}").name == "tiny@1"
    with pytest.raises(ConfigError, match=r"no bundle lies there: feltwire models pull \./no"):
        hf.create("./no", hf.Options())
    with pytest.raises(ConfigError, match="hf:org/name"):
        hf.create("", hf.Options())
