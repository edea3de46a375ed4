"""From labelled texts to a bundle with its card, resumed wherever it was stopped; and the commands that do it."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.lab.texts import invented
from tests.lake.building import Builder, post

from feltwire import cli
from feltwire.errors import ConfigError
from feltwire.lab import card, evaluate, peers, plots, presets
from feltwire.lab import train as training
from feltwire.lab.data import make
from feltwire.lab.interfaces import Dataset
from feltwire.lab.metrics import measure
from feltwire.lab.train import Plan, train
from feltwire.models._bundle import read_manifest, sha256, write_manifest
from feltwire.scoring import load

DATA, HELD = invented(60), invented(24, seed=2)
PLAN = Plan("lr", "sentiment", options={"curve": False})


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take their time; the tests of the card draw them."""
    for name in ("confusion", "roc", "calibration", "curve"):
        monkeypatch.setattr(plots, name, lambda *given: None)


def test_a_training_gives_a_bundle_and_its_card(tmp_path: Path) -> None:
    out = tmp_path / "mine"
    plan = Plan("lr", "sentiment", version="3", licence="CC0", languages=("en",))
    done = train(plan, DATA, HELD, out, remarks=("A remark.",))
    assert not done.again
    manifest = read_manifest(out)  # checks the hashes
    assert (manifest.name, manifest.version, manifest.licence) == ("lr-sentiment", "3", "CC0")
    assert manifest.languages == frozenset({"en"})
    assert manifest.training[0].sha256 == DATA.sha256
    assert manifest.training[0].rows == 60
    assert manifest.metrics["sentiment_macro_f1"] == pytest.approx(done.measures.macro_f1, abs=1e-5)
    assert manifest.heads["sentiment"].temperature != 1
    assert set(manifest.sha256) == {"terms.json", "weights.safetensors"}
    served = evaluate.evaluate(load(str(out)), HELD, "sentiment")
    assert served == done.measures
    assert served.accuracy > 0.7
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["model.json", "terms.json", "weights.safetensors", "training.json", card.CARD, *card.PICTURES]
    )
    for name in card.PICTURES:
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    told = (out / card.CARD).read_text()
    for words in (DATA.sha256, "A remark.", "seed | 1", "`social`", "| neutral |", "Limits", "CC0", "`c=4.0`"):
        assert words in told


@pytest.mark.usefixtures("no_pictures")
def test_a_training_that_is_done_is_not_done_again(tmp_path: Path) -> None:
    first = train(PLAN, DATA, HELD, tmp_path / "a")
    before = {path.name: sha256(path) for path in (tmp_path / "a").iterdir()}
    again = train(PLAN, DATA, HELD, tmp_path / "a")
    assert again.again
    assert again.measures == first.measures
    assert again.manifest == first.manifest
    assert {path.name: sha256(path) for path in (tmp_path / "a").iterdir()} == before


OTHERS: list[tuple[Plan, Dataset]] = [
    (Plan("lr", "sentiment", seed=2, options={"curve": False}), DATA),
    (Plan("lr", "sentiment", profile="letters", options={"curve": False}), DATA),
    (Plan("nb", "sentiment", options={"curve": False}), DATA),
    (PLAN, invented(61)),
]


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(("plan", "given"), OTHERS)
def test_no_training_overwrites_another(plan: Plan, given: Dataset, tmp_path: Path) -> None:
    train(PLAN, DATA, HELD, tmp_path / "a")
    before = sha256(tmp_path / "a" / "model.json")
    with pytest.raises(ConfigError, match="holds a model of other data, options or seed"):
        train(plan, given, HELD, tmp_path / "a")
    assert sha256(tmp_path / "a" / "model.json") == before


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty"):
        train(PLAN, DATA, HELD, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


class _KillError(Exception):
    pass


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("at", ["fit", "fitted.json", "card", "terms.json", "training.json", "model.json", "rmtree"])
def test_stopped_anywhere_it_goes_on(at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(PLAN, DATA, HELD, tmp_path / "whole")
    fits = 0
    family = presets.find("lr").family
    fit = family.fit

    def stop_before(name: str, function: Callable[..., Any], place: Any, attribute: str) -> None:
        def stopped(*given: Any, **more: Any) -> Any:
            if name in ("", *(Path(one).name for one in given if isinstance(one, Path))):
                raise _KillError
            return function(*given, **more)

        patch.setattr(place, attribute, stopped)

    def counted(*given: Any) -> Any:
        nonlocal fits
        fits += 1
        return fit(*given)

    monkeypatch.setattr(sys.modules["feltwire.lab.families.tfidf"], "fit", counted)
    out = tmp_path / "cut"
    with monkeypatch.context() as patch:
        match at:
            case "fit":
                stop_before("", fit, sys.modules["feltwire.lab.families.tfidf"], "fit")
            case "card":
                stop_before("", card.write, card, "write")
            case "rmtree":
                stop_before(".work", shutil.rmtree, shutil, "rmtree")
            case "terms.json":
                stop_before(at, shutil.copyfile, shutil, "copyfile")
            case "model.json":

                def stop_at_the_end(folder: Path, manifest: Any) -> None:
                    # the finished bundle's, not those that are measured on the way
                    if folder.name != "bundle":
                        raise _KillError
                    write_manifest(folder, manifest)

                patch.setattr("feltwire.lab.train.write_manifest", stop_at_the_end)
            case _:
                write = training._write
                count = iter(range(9))

                def stopped(path: Path, value: Any) -> None:
                    if path.name == at and path.parent.name != "bundle" and next(count) >= 0:
                        raise _KillError
                    write(path, value)

                patch.setattr(training, "_write", stopped)
        with pytest.raises(_KillError):
            train(PLAN, DATA, HELD, out)
    with pytest.raises(ConfigError, match="other data, options or seed"):
        train(Plan("lr", "sentiment", seed=9), DATA, HELD, out)
    done = train(PLAN, DATA, HELD, out)
    assert done.measures == whole.measures
    assert fits == (2 if at == "fitted.json" else 1)
    for name in ("model.json", "terms.json", "weights.safetensors"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (Plan("lr", "sentiment", neutral_band=(0.4, 0.6)), "neutral_band is for the two labels"),
        (Plan("lr", "sentiment", name="../x"), "name"),
        (Plan("lr", "sentiment", profile="curly"), "unknown cleaning profile"),
        (Plan("nope", "sentiment"), "unknown preset 'nope'"),
        (Plan("lr", "sentiment", options={"c": 0}), "preset 'lr': c = 0"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_done(plan: Plan, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=expected):
        train(plan, DATA, HELD, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_pictures")
def test_labels_are_in_the_order_of_the_weights(tmp_path: Path) -> None:
    """Whatever the classes are called and in whatever order they come, the words of a class mean that class."""
    for names in (("negative", "positive"), ("positive", "neutral", "negative"), ("neutral", "negative", "positive")):
        out = tmp_path / "-".join(names)
        train(PLAN, invented(60, names=names), invented(24, seed=2, names=names), out)
        model = load(str(out))
        p = evaluate.predict(model, ["love great thanks", "hate worst lost"], "sentiment")
        assert [model.heads["sentiment"][i] for i in p.argmax(axis=1)] == ["positive", "negative"]


@pytest.mark.parametrize(
    ("head", "names", "expected"),
    [
        ("sentiment", ("0", "4"), "would have the labels 0, 4; allowed are negative, neutral, positive, mixed"),
        ("complaint", ("no", "yes"), "one must be 'complaint'"),
    ],
)
def test_labels_that_could_not_be_served(head: str, names: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=expected):
        train(Plan("lr", head), invented(names=names), invented(names=names), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_classes_must_be_the_same(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected the same"):
        train(PLAN, DATA, invented(names=("negative", "positive")), tmp_path / "x")


def test_pictures_of_odd_labels(tmp_path: Path) -> None:
    """Emoji, other scripts, dollars, seventy classes, one class alone: no picture fails or warns of a missing sign."""
    names = ("😂", "喜", "$x$", "❤️", *(f"class {i}" for i in range(66)))
    dice = np.random.default_rng(1)
    labels, p = dice.integers(70, size=300), dice.dirichlet(np.ones(70), 300)
    plots.confusion(tmp_path / "c.png", measure(labels, p, names), names)
    plots.roc(tmp_path / "r.png", labels, p, names)
    plots.roc(tmp_path / "one.png", np.zeros(3, np.int64), np.array([[0.5, 0.5]] * 3), ("a", "b"))
    plots.calibration(tmp_path / "k.png", np.zeros(3, np.int64), np.array([[0.5, 0.5]] * 3))
    plots.leaderboard(tmp_path / "l.png", [("task", "accuracy", [plots.Place("a😂", 100.0, 0.5)]), ("t", "f1", [])])
    assert plots.shown("😂") == "face with tears of joy"
    assert len(list(tmp_path.glob("*.png"))) == 5


def test_peers_say_what_they_are_known_to_say() -> None:
    blob = peers.load("textblob:")
    p = evaluate.predict(
        blob, ["I love this great flight", "the worst and most horrible crew", "the gate"], "sentiment"
    )
    assert [blob.heads["sentiment"][i] for i in p.argmax(axis=1)] == ["positive", "negative", "neutral"]
    assert np.allclose(p.sum(axis=1), 1, atol=1e-6)
    assert peers.shares(np.array([-1.0, -0.001, 0.0, 0.001, 1.0])).argmax(axis=1).tolist() == [0, 0, 1, 2, 2]
    assert peers.load("lexicon:vader").name.startswith("vader@")


def test_a_model_of_more_classes_is_measured_on_fewer() -> None:
    vader = load("lexicon:vader")
    two = make("two", ["I love this", "I hate this", "a gate"], ["positive", "negative", "negative"])
    p = evaluate.probabilities(vader, two, "sentiment")
    assert p.shape == (3, 2)
    assert np.allclose(p.sum(axis=1), 1)
    assert evaluate.evaluate(vader, two, "sentiment").accuracy == 1
    with pytest.raises(ConfigError, match="has no head 'category': it has sentiment"):
        evaluate.evaluate(vader, two, "category")
    with pytest.raises(ConfigError, match="has the label 'angry', the head 'sentiment' of vader"):
        evaluate.evaluate(vader, make("x", ["a"], ["angry"]), "sentiment")


# The commands.


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """`run("train", …)`: (exit code, standard output, standard error)."""

    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["feltwire", *arguments])
        try:
            cli.main()
            code = 0
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = [{"body": text, "mood": DATA.names[label]} for text, label in zip(DATA.texts, DATA.labels, strict=True)]
    pq.write_table(pa.Table.from_pylist([*rows, {"body": None, "mood": "neutral"}]), tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


@pytest.mark.usefixtures("no_pictures")
def test_the_commands(run: Callable[..., tuple[int, str, str]], table: Path, tmp_path: Path) -> None:
    columns = ("--text", "body", "--label", "mood")
    out = str(tmp_path / "mine")
    ask = ("train", str(table), *columns, "--preset", "nb", "--out", out, "--set", "alpha=0.2", "--json")
    code, said, told = run(*ask)
    assert code == 0
    assert "1 rows without a text" in told
    first = json.loads(said)
    assert not first["again"]
    assert first["rows"] == 6
    assert json.loads((Path(out) / "training.json").read_text())["options"]["alpha"] == 0.2
    assert json.loads(run(*ask)[1])["again"]
    assert run(*ask, "--seed", "2")[0] == 2
    code, said, _ = run("evaluate", out, str(table), *columns)
    assert code == 0
    assert "accuracy" in said
    code, said, _ = run("evaluate", "lexicon:vader", str(table), *columns, "--label-names", "neutral=", "--json")
    assert json.loads(said)["rows"] == 40
    code, _, told = run("evaluate", out, str(table))
    assert (code, told.strip()) == (2, f"feltwire: {table} has no column 'text': it has body, mood")
    assert run("evaluate", out, str(table), *columns, "--label-names", "x")[0] == 2


@pytest.mark.usefixtures("no_pictures")
def test_a_file_to_validate_on_and_a_band(
    run: Callable[..., tuple[int, str, str]], table: Path, tmp_path: Path
) -> None:
    pq.write_table(pq.read_table(table).slice(0, 9), tmp_path / "held.parquet")
    out = tmp_path / "two"
    ask = ("train", str(table), "--text", "body", "--label", "mood", "--label-names", "neutral=", "--out", str(out))
    code, said, told = run(*ask, "--validation", str(tmp_path / "held.parquet"), "--neutral-band", "0.4-0.6", "--json")
    assert code == 0, told
    assert json.loads(said)["rows"] == 6
    record = json.loads((out / "model.json").read_text())
    assert record["heads"]["sentiment"]["neutral_band"] == [0.4, 0.6]
    assert record["training"][0]["rows"] == 34  # what is held back is not trained on
    assert run(*ask, "--neutral-band", "0.4")[0] == 2


def test_presets_are_listed(run: Callable[..., tuple[int, str, str]]) -> None:
    code, said, _ = run("train", "--list")
    assert code == 0
    assert {"lr", "svm", "nb", "grid-lr"} <= {line.split()[0] for line in said.splitlines()}


@pytest.mark.usefixtures("no_pictures")
def test_it_learns_from_corrections(run: Callable[..., tuple[int, str, str]], table: Path, tmp_path: Path) -> None:
    """A corrected post that the data do not have is added, one that they have gets the label that people gave it."""
    built = Builder(tmp_path / "lake")
    mistaken = DATA.texts[0]  # its label is negative
    built.store(post(1, "zounds zounds"), post(2, mistaken), post(3, "odd"), post(4, "good"))
    for number, value in ((1, "positive"), (2, "positive"), (3, "mixed")):
        built.lake.correct(f"x:{number}", "sentiment", value, "ann")
    built.lake.correct("x:4", "emotion", "joy", "ann")
    pq.write_table(pa.table({"body": ["a late gate"], "mood": ["negative"]}), tmp_path / "held.parquet")
    out = tmp_path / "mine"
    code, _, told = run(
        "train", str(table), "--text", "body", "--label", "mood", "--validation", str(tmp_path / "held.parquet"),
        "--out", str(out), "--with-corrections", str(tmp_path / "lake"),
    )  # fmt: skip
    assert code == 0, told
    assert "2 corrections by people (1 more name no class of these data)." in told
    record = json.loads((out / "model.json").read_text())
    assert [(one["name"], one["rows"]) for one in record["training"]] == [("rows", 59), ("corrections", 2)]
    assert "2 corrections by people" in (out / "CARD.md").read_text()
    model = load(str(out))
    p = evaluate.predict(model, ["zounds"], "sentiment")[0]
    assert model.heads["sentiment"][p.argmax()] == "positive"
