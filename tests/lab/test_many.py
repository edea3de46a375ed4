"""Building models with many heads, on invented sets: the recipe, the targets, the export, and what is served."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from feltwire.errors import ConfigError  # noqa: E402
from feltwire.lab import invented, many  # noqa: E402
from feltwire.lab.batches import IGNORED, Batch, encode, mask_tokens, one_pass, padded  # noqa: E402
from feltwire.lab.encoder import RowDropout  # noqa: E402
from feltwire.lab.examples import Example, gather  # noqa: E402
from feltwire.lab.judge import span_scores  # noqa: E402
from feltwire.lab.multitask import Settings, losses  # noqa: E402
from feltwire.lab.recipe import HeadSpec, read_recipe  # noqa: E402
from feltwire.lab.teaching import distilled, thinned, together  # noqa: E402
from feltwire.models._formats import open_bundle  # noqa: E402
from feltwire.scoring import load  # noqa: E402

GOOD = ["love", "great", "happy", "fun", "nice", "best"]
BAD = ["hate", "awful", "sad", "late", "broken", "worst"]
PLAIN = ["train", "flight", "game", "post", "day", "team"]
PEOPLE = ["Anna", "Omar", "Lin"]
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

RECIPE = """
name = "small"
description = "For a test."
licence = "Apache-2.0"
max_tokens = 32
dropout = 0.05
masked = 0.02
smoothing = 0.05
unlabelled = ["more.parquet"]
[heads.sentiment]
labels = ["negative", "neutral", "positive"]
adjust = 0.5
words = 0.3
[heads.entities]
labels = ["O", "B-person", "I-person"]
kind = "spans"
[heads.mood]
labels = ["up", "down"]
kind = "multi"
helper = true
[[sets]]
file = "three.parquet"
head = "sentiment"
hold = 0.2
repeat = 2
[[sets]]
file = "two.parquet"
head = "sentiment"
rename = { bad = "negative", good = "positive" }
among = ["negative", "positive"]
where = { sample = ["random"] }
[[sets]]
file = "two.parquet"
head = "mood"
label = "moods"
[[sets]]
file = "names.parquet"
head = "entities"
tokens = "tokens"
label = "tags"
hold = 0.2
"""


def _table(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    chance = np.random.default_rng(3)
    labelled = {"negative": BAD, "positive": GOOD, "neutral": PLAIN}
    rows = [
        {"text": f"{chance.choice(words)} {chance.choice(PLAIN)} {i}", "label": label}
        for label, words in labelled.items()
        for i in range(60)
    ]
    _table(folder / "three.parquet", rows)
    _table(
        folder / "two.parquet",
        [
            {
                "text": f"so {words[i % 6]} b{i}",
                "label": label,
                "moods": [mood],
                "sample": "random" if i < 20 else "block",
            }
            for label, mood, words in (("bad", "down", BAD), ("good", "up", GOOD))
            for i in range(24)
        ],
    )
    names = [
        {
            "tokens": [PEOPLE[i % 3], "@somebody", "likes", PLAIN[i % 6], str(i)],
            "tags": ["B-person", "O", "O", "O", "O"],
        }
        for i in range(60)
    ]
    _table(folder / "names.parquet", names)
    _table(
        folder / "more.parquet", [{"text": f"{chance.choice(GOOD)} {chance.choice(PEOPLE)} c{i}"} for i in range(30)]
    )
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of one layer that has learned nothing."""
    folder = tmp_path_factory.mktemp("checkpoint")
    words = [*GOOD, *BAD, *PLAIN, *(name.lower() for name in PEOPLE), "so", "likes", "user", "@"]
    pieces = [
        *SPECIAL,
        *words,
        *"abcdefghijklmnopqrstuvwxyz0123456789",
        *(f"##{c}" for c in "abcdefghijklmnop0123456789"),
    ]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    special = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=special)
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    shape = {"hidden_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 128}
    config = transformers.BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **shape)
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


SETTINGS = Settings(passes=10, batch_rows=16, rate=3e-3, head_rate=1e-2, compiled=False, threads=1)


@pytest.fixture(scope="module")
def base(data: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "base"
    naming = many.Naming("small", "1", "For a test.")
    recipe = read_recipe(str(data / "recipe.toml"))
    return many.build(
        recipe, data, out, checkpoint=checkpoint, naming=naming, settings=SETTINGS, progress=lambda *_: None
    )


def test_texts_are_merged_and_held_back(data: Path) -> None:
    examples = gather(read_recipe(str(data / "recipe.toml")), data)
    held = {example.text for part in examples.validation.values() for example in part}
    assert set(examples.validation) == {"three:sentiment", "names:entities"}
    assert held
    assert not held & {example.text for example in examples.train}
    both = [example for example in examples.train if {"sentiment", "mood"} <= set(example.shares)]
    assert len(both) == 40  # of `two`, those marked random
    assert all(example.among["sentiment"] == ("negative", "positive") for example in both)
    assert {example.repeat for example in examples.train if example.text.startswith("so ")} == {1}


def test_a_missing_set_and_a_wrong_label_are_told(data: Path, tmp_path: Path) -> None:
    recipe = read_recipe(str(data / "recipe.toml"))
    with pytest.raises(ConfigError, match=r"the recipe wants three\.parquet"):
        gather(recipe, tmp_path)
    wrong = recipe.model_copy(update={"sets": (recipe.sets[1].model_copy(update={"rename": {}}),)})
    with pytest.raises(ConfigError, match="label 'bad' is none of negative, neutral, positive"):
        gather(wrong, data)
    with pytest.raises(ConfigError, match="known are base"):
        read_recipe("nowhere")


def test_tags_stand_at_the_first_token_of_each_word(checkpoint: Path) -> None:
    heads = {"entities": HeadSpec(labels=("O", "B-person", "I-person"), kind="spans")}
    example = Example("Anna's x", tags={"entities": [(0, 6, "B-person"), (7, 8, "O")]})
    encoded = encode([example], heads, many.read_tokenizer(checkpoint))
    # [CLS] anna ' s x [SEP]: the tokenizer's words are smaller than the tagged one
    assert encoded.tags["entities"][0].tolist() == [IGNORED, 1, 2, 2, 0, IGNORED]
    assert encoded.types[0].tolist() == [0, 1, 0, 0, 0, 0]


def test_a_pass_holds_every_row_as_often_as_it_says(data: Path, checkpoint: Path) -> None:
    recipe = read_recipe(str(data / "recipe.toml"))
    encoded = encode(gather(recipe, data).train, recipe.heads, many.read_tokenizer(checkpoint))
    rows = np.concatenate(one_pass(encoded, 7, seed=1))
    assert np.array_equal(np.bincount(rows, minlength=len(encoded)), encoded.repeat)


def test_masked_tokens_are_neither_the_ends_nor_padding(checkpoint: Path) -> None:
    tokenizer = many.read_tokenizer(checkpoint)
    lengths = [2, 3, 30, 60]
    mask = np.array([[i < length for i in range(60)] for length in lengths * 500], np.int64)
    batch = Batch(np.arange(len(mask)), np.full(mask.shape, 9), mask, np.zeros_like(mask))
    mask_tokens(batch, 0.1, tokenizer, np.random.default_rng(1))
    hidden = batch.ids == tokenizer.token_to_id("[MASK]")
    inner = mask.astype(bool)
    inner[:, 0] = False
    inner[np.arange(len(mask)), mask.sum(axis=1) - 1] = False
    assert not hidden[~inner].any()
    assert np.isclose(hidden[inner].mean(), 0.1, atol=0.01)
    shares = hidden[3::4].mean(axis=1)  # each row has a share of its own, up to twice the mean
    assert shares.max() < 0.4
    assert shares.std() > 0.05
    with pytest.raises(ConfigError, match=r"no \[MASK\]"):
        mask_tokens(batch, 0.1, Tokenizer(WordPiece({"[UNK]": 0})), np.random.default_rng(1))


def test_dropout_leaves_the_same_features_out_of_all_tokens_of_a_row() -> None:
    torch.manual_seed(1)
    dropout = RowDropout(0.25)
    given = torch.ones(40, 7, 200)
    dropped = dropout(given)
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=0.02)
    assert torch.equal(dropout.eval()(given), given)


def test_smoothed_labels_go_to_what_a_row_decides_between(data: Path, checkpoint: Path) -> None:
    recipe = read_recipe(str(data / "recipe.toml"))
    heads = {"sentiment": recipe.heads["sentiment"].model_copy(update={"adjust": 0.0})}
    example = Example("love", shares={"sentiment": {"positive": 1.0}}, among={"sentiment": ("negative", "positive")})
    tokenizer = many.read_tokenizer(checkpoint)
    encoded = encode([example], heads, tokenizer)
    batch = padded(encoded, np.array([0]), 0)
    logits = {"sentiment": torch.tensor([[0.0, 50.0, 2.0]])}  # what it says of neutral does not matter
    priors = {"sentiment": torch.zeros(3)}
    loss = losses(logits, encoded, batch, heads, priors, smoothing=0.1)["sentiment"]
    p = 1 / (1 + np.exp(-2.0))
    assert float(loss) == pytest.approx(-0.95 * np.log(p) - 0.05 * np.log(1 - p), abs=1e-5)


def test_what_is_built_serves(base: Path) -> None:
    model = open_bundle(base)
    assert model.name == "small@1"
    assert model.heads == {"sentiment": ("negative", "neutral", "positive"), "entities": ("person",)}
    answer: Any = model.predict(["love train 3", "awful train 3", "game day 3", "Omar likes game"])
    assert [int(row.argmax()) for row in answer["sentiment"][:3]] == [2, 0, 1]
    assert [(start, end, label) for start, end, label, _ in answer["entities"][3]] == [(0, 4, "person")]
    manifest = json.loads((base / "model.json").read_bytes())
    assert manifest["metrics"]["three:sentiment:macro_recall"] > 0.8
    assert manifest["heads"]["sentiment"]["temperature"] != 1.0
    assert "| `sentiment` | classes | 3 |" in (base / "CARD.md").read_text()


def test_a_row_does_not_depend_on_the_rows_beside_it(base: Path) -> None:
    model = open_bundle(base)
    texts = ["love train", "hate " * 20, "Anna likes game", "x"]
    beside: Any = model.predict(texts)
    for i, text in enumerate(texts):
        alone: Any = model.predict([text])
        assert np.abs(alone["sentiment"][0] - beside["sentiment"][i]).max() < 1e-5


def test_a_training_that_was_stopped_ends_the_same(data: Path, checkpoint: Path, base: Path, tmp_path: Path) -> None:
    recipe = read_recipe(str(data / "recipe.toml"))
    naming = many.Naming("small", "1", "For a test.")
    steps = []

    class Stopped(Exception):  # noqa: N818
        pass

    def stop(what: str, share: float, figures: Any) -> None:
        steps.append(figures["step"])
        if len(steps) == 1:
            raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("feltwire.lab.multitask._KEEP_EVERY_S", 0.0)
        with pytest.raises(Stopped):
            many.build(
                recipe, data, tmp_path / "b", checkpoint=checkpoint, naming=naming, settings=SETTINGS, progress=stop
            )
    again = many.build(
        recipe, data, tmp_path / "b", checkpoint=checkpoint, naming=naming, settings=SETTINGS, progress=stop
    )
    assert (again / "model.onnx").read_bytes() == (base / "model.onnx").read_bytes()


def test_the_mean_of_two_builds(data: Path, checkpoint: Path, base: Path, tmp_path: Path) -> None:
    recipe = read_recipe(str(data / "recipe.toml"))
    heads = {**recipe.heads, "sentiment": recipe.heads["sentiment"].model_copy(update={"lean": {"positive": 99.0}})}
    given: dict[str, Any] = {
        "checkpoint": checkpoint,
        "naming": many.Naming("small", "2", ""),
        "progress": lambda *_: None,
    }
    settings = replace(SETTINGS, passes=0.5, seed=5)
    kept = many.build(recipe, data, tmp_path / "kept", settings=settings, start=many.Start((base, base), 1.0), **given)
    texts = [f"{BAD[0]} {PLAIN[0]}", f"{GOOD[0]} {PLAIN[1]}"]
    one, same = (np.array(load(str(folder)).predict(texts)["sentiment"]) for folder in (base, kept))
    assert np.abs(one - same).max() < 0.05  # the weights are those of before, the temperature is its own
    leaning = recipe.model_copy(update={"heads": heads})
    leant = many.build(leaning, data, tmp_path / "leant", settings=settings, start=many.Start((base,), 1.0), **given)
    model = load(str(leant))
    p = np.array(model.predict(texts)["sentiment"])
    assert (p.argmax(axis=1) == model.heads["sentiment"].index("positive")).all()
    with pytest.raises(ConfigError, match="--start takes the --out of an earlier"):
        many.build(recipe, data, tmp_path / "x", settings=settings, start=many.Start((tmp_path,)), **given)


def test_a_student_learns_from_its_teacher(base: Path, data: Path, tmp_path: Path) -> None:
    recipe = read_recipe(str(data / "recipe.toml"))
    settings = Settings(passes=12, batch_rows=16, head_rate=5e-3, compiled=False, threads=1)
    naming = many.Naming("quick", "1", "For a test.")
    out = many.distil(
        recipe, data, tmp_path / "fast", teachers=[str(base), str(base)], naming=naming, settings=settings,
        progress=lambda *_: None,
    )  # fmt: skip
    model = open_bundle(out)
    answer: Any = model.predict(["love train 3", "awful train 3", "Omar likes game"])
    assert [int(row.argmax()) for row in answer["sentiment"][:2]] == [2, 0]
    alone: Any = model.predict(["awful train 3"])
    assert np.abs(alone["sentiment"][0] - answer["sentiment"][1]).max() < 1e-5
    more = many.distil(
        recipe, data, tmp_path / "more", teachers=[str(base)], naming=naming, settings=replace(settings, passes=0),
        progress=lambda *_: None, start=many.Start((out,)),
    )  # fmt: skip
    again: Any = open_bundle(more).predict(["love train 3", "awful train 3"])
    assert np.abs(again["sentiment"] - answer["sentiment"][:2]).max() < 1e-5  # no pass: what it began with
    with pytest.raises(ConfigError, match="a build of another network"):
        many.distil(
            recipe, data, tmp_path / "x", teachers=[str(base)], naming=naming, settings=settings,
            progress=lambda *_: None, start=many.Start((out, base)),
        )  # fmt: skip
    with pytest.raises(ConfigError, match="lexicon:vader has no head entities"):
        many.distil(
            recipe, data, tmp_path / "x", teachers=[str(base), "lexicon:vader"], naming=naming, settings=settings,
            progress=lambda *_: None,
        )  # fmt: skip


def test_a_network_learns_from_one_like_itself(base: Path, data: Path, checkpoint: Path, tmp_path: Path) -> None:
    recipe = read_recipe(str(data / "recipe.toml"))
    leaning = recipe.heads["sentiment"].model_copy(update={"lean": {"neutral": 3.0}})
    recipe = recipe.model_copy(update={"heads": {**recipe.heads, "sentiment": leaning}})
    again = many.build(
        recipe, data, tmp_path / "again", checkpoint=checkpoint, naming=many.Naming("again", "1", ""),
        settings=SETTINGS, progress=lambda *_: None, teachers=[str(base)],
    )  # fmt: skip
    answer: Any = open_bundle(again).predict(["love train 3", "awful train 3", "Omar likes game"])
    assert [int(row.argmax()) for row in answer["sentiment"][:2]] == [2, 0]  # leant once: the teacher leans as it does
    assert [label for _, _, label, _ in answer["entities"][2]] == ["person"]
    kept = torch.load(again / many.WORK / many.WEIGHTS, weights_only=True)["heads.sentiment.bias"]
    assert float(kept[1] - kept[[0, 2]].mean()) < -1.5  # what is kept for later builds does not lean
    assert list((again / many.WORK).glob("said-small@1-*.npz"))


def test_a_head_keeps_a_share_of_what_only_a_teacher_says(checkpoint: Path) -> None:
    heads = {
        "sentiment": HeadSpec(labels=("negative", "positive"), taught=0.25),
        "entities": HeadSpec(labels=("O", "B-person", "I-person"), kind="spans", taught=0.0),
    }
    tokenizer = many.read_tokenizer(checkpoint)
    tagged = {"entities": [(0, 4, "B-person")]}
    examples = [Example("Anna", {"sentiment": {"positive": 1.0}}, tags=tagged), *(Example("so") for _ in range(999))]
    before = encode(examples, heads, tokenizer)
    said: Any = {"sentiment": np.full((1000, 2), 0.5, np.float32), "entities": [[] for _ in range(1000)]}
    mixed = distilled(before, examples, said, heads, tokenizer, hard=0.5)
    assert mixed.known["sentiment"].all()
    assert len(mixed.tags["entities"]) == 1000
    kept = thinned(mixed, before, heads, seed=1)
    assert kept.known["sentiment"][0]
    assert 200 < kept.known["sentiment"].sum() < 300
    assert list(kept.tags["entities"]) == [0]


def test_several_teachers_are_heard_as_one() -> None:
    said = together(
        [
            {"mood": np.array([[0.2, 0.8]]), "entities": [[(0, 1, "person", 0.9)]]},
            {"mood": np.array([[0.6, 0.4]]), "entities": [[]]},
        ]
    )
    assert np.allclose(said["mood"], [[0.4, 0.6]])
    assert said["entities"] == [[(0, 1, "person", 0.9)]]


def test_what_people_said_of_two_labels_keeps_the_teachers_third(checkpoint: Path) -> None:
    heads = {"sentiment": HeadSpec(labels=("negative", "neutral", "positive"))}
    tokenizer = many.read_tokenizer(checkpoint)
    example = Example("so", {"sentiment": {"positive": 1.0}}, {"sentiment": ("negative", "positive")})
    said: Any = {"sentiment": np.array([[0.2, 0.5, 0.3]], np.float32)}
    mixed = distilled(encode([example], heads, tokenizer), [example], said, heads, tokenizer, hard=0.5)
    assert np.allclose(mixed.targets["sentiment"], [[0.1, 0.5, 0.4]])


def test_entities_count_whole() -> None:
    tags = [[(0, 4, "B-person"), (5, 8, "I-person"), (9, 12, "O")]]
    assert span_scores(tags, [[(0, 8, "person", 0.9)]])["f1"] == 1.0
    assert span_scores(tags, [[(0, 4, "person", 0.9)]])["f1"] == 0.0


def test_invented_posts_are_the_same_every_time() -> None:
    assert invented.rows("categories") == invented.rows("categories")
    assert len({row["label"] for row in invented.rows("categories")}) == 8
    assert {row["label"] for row in invented.rows("complaints")} == {"complaint", "no_complaint"}
