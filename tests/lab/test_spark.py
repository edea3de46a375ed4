"""MLlib's families: bundles that say without Spark what Spark's own models say, within 1e-5."""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.lab.texts import invented, run_in

from feltwire.errors import ConfigError, MissingExtraError
from feltwire.lab import data, plots, presets
from feltwire.lab.families import _spark, _spark_classifiers, _spark_features, spark
from feltwire.lab.interfaces import Dataset, Fitted
from feltwire.lab.train import Plan, train
from feltwire.models._formats import open_bundle
from feltwire.models._murmur import murmur3
from feltwire.models._terms import tokens
from feltwire.text import clean

# One small JVM for the whole file. The rows are so few that it takes longer to compile a query than to run it.
CONF = {
    "spark.master": "local[2]",
    "spark.driver.memory": "1g",
    "spark.default.parallelism": "1",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}
# So small that chi-square has something to leave out, and that buckets hold several terms.
SMALL: dict[str, Any] = {"size": 32, "selects": "24", "max_iter": 8, "trees": 4, "depth": 3}
TWO, THREE = ("negative", "positive"), ("negative", "neutral", "positive")
TEXTS = [
    "love it",
    "the worst crew !",
    "nothing of this is known",
    "",
    "@united lost my bag :(",
    "naïve 😀 😀 über 東京",
]
TEXTS += invented(24, seed=3).texts


@pytest.fixture(scope="module")
def session(absent: Callable[[str], None]) -> Iterator[Any]:
    if importlib.util.find_spec("pyspark") is None:
        absent("no pyspark: pip install 'feltwire[spark]'")
    try:
        found = _spark.session(CONF)
    except ConfigError as error:
        absent(str(error))
    yield found
    found.stop()


class Watched:
    """What the family fitted on the way to its bundle."""

    features: _spark_features.Features
    learned: _spark_classifiers.Learned


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    seen = Watched()
    fit, classify = _spark_features.fit, _spark_classifiers.classify

    def keep_features(*given: Any, **more: Any) -> Any:
        seen.features = fit(*given, **more)
        return seen.features

    def keep_learned(*given: Any, **more: Any) -> Any:
        seen.learned = classify(*given, **more)
        return seen.learned

    monkeypatch.setattr(_spark_features, "fit", keep_features)
    monkeypatch.setattr(_spark_classifiers, "classify", keep_learned)
    return seen


def fit(preset: str, folder: Path, given: Dataset, over: dict[str, Any]) -> Fitted:
    found = presets.find(preset)
    held = data.renumbered(invented(24, seed=2), THREE)
    return found.family.fit(given, held, found.options(over), run_in(folder))


def served(folder: Path, fitted: Fitted, names: tuple[str, ...]) -> Any:
    """float32[texts, labels]: what a bundle of temperature 1 says of TEXTS."""
    manifest = {
        "schema_version": 1, "format": fitted.format, "name": "x", "version": "1", "profile": "social",
        "max_tokens": fitted.max_tokens, "heads": {"sentiment": {"labels": names}},
    }  # fmt: skip
    (folder / "bundle" / "model.json").write_text(json.dumps(manifest))
    return open_bundle(folder / "bundle").predict(clean(TEXTS, "social"))["sentiment"]


def theirs(session: Any, watched: Watched, classifier: str) -> tuple[Any, Any]:
    """(Spark's own probabilities of TEXTS, or the softmax of its margins; the classes that it chooses)."""
    rows = _spark.frame(session, [tokens(text) for text in clean(TEXTS, "social")], np.zeros(len(TEXTS), np.int64))
    said = watched.learned.model.transform(watched.features.of(rows))
    wanted = next(name for name in ("probability", "margins", "rawPrediction") if name in said.columns)
    rows = said.select(wanted, "prediction").collect()
    numbers = np.array([row[0] if wanted == "margins" else row[0].toArray() for row in rows])
    if classifier == "svm":  # of two classes ±margin, whose difference would count it twice
        numbers = np.exp(numbers / (2 if numbers.shape[1] == 2 else 1))
        numbers /= numbers.sum(axis=1, keepdims=True)
    return numbers, np.array([row[1] for row in rows], int)


EVERY = [name for name in spark.PRESETS if name != "spark-grid"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "names"),
    [*((name, TWO) for name in EVERY), *((f"spark-{name}", THREE) for name in ("lr", "svm", "nb", "rf", "dt"))],
)
def test_the_bundle_says_what_spark_says(
    preset: str, names: tuple[str, ...], session: Any, watched: Watched, tmp_path: Path
) -> None:
    fitted = fit(preset, tmp_path, invented(60, names=names), {**SMALL, "min_doc_freq": 1})
    ours = served(tmp_path, fitted, names)
    classifier = str(spark.PRESETS[preset]["classifier"])
    expected, chosen = theirs(session, watched, classifier)
    assert np.abs(ours - expected).max() < 1e-5
    assert (ours.argmax(axis=1) == chosen).all()
    assert ours.std(axis=0).max() > 0.01  # it does not say the same of all
    assert "by Spark's MLlib over 24 features" in fitted.note
    assert fitted.format == ("trees" if classifier in ("rf", "dt") else "linear")


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["spark-hashing-nb", "spark-lr"])
def test_at_the_sizes_of_the_presets(preset: str, session: Any, watched: Watched, tmp_path: Path) -> None:
    """2^18 buckets, and n-grams of which many come too seldom to weigh anything."""
    fitted = fit(preset, tmp_path, invented(60, names=TWO), {"max_iter": 8})
    ours = served(tmp_path, fitted, TWO)
    assert np.abs(ours - theirs(session, watched, "lr")[0]).max() < 1e-5


@pytest.mark.slow
def test_buckets_are_those_of_spark(session: Any) -> None:
    from pyspark.ml.feature import HashingTF

    terms = ["", "a", "ab", "abc", "abcd", "abcde", "the", ":(", "@united", "#tag", "naïve", "東京", "😀😀", "x" * 1000]
    for buckets in (2**18, 2**16, 32):
        theirs = [HashingTF(numFeatures=buckets, inputCol="a", outputCol="b").indexOf(term) for term in terms]
        assert (murmur3(terms) & (buckets - 1)).tolist() == theirs


@pytest.mark.slow
def test_trained_measured_and_described(session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the lab's own way; where Spark runs makes no other training of it."""
    for name in ("confusion", "roc", "calibration", "curve"):
        monkeypatch.setattr(plots, name, lambda *given: None)
    given, held = invented(80, names=TWO), invented(24, seed=2, names=TWO)
    for preset in ("spark-nb", "spark-dt"):
        plan = Plan(preset, "sentiment", options={**SMALL, "min_doc_freq": 1}, spark=CONF)
        done = train(plan, given, held, tmp_path / preset)
        assert done.measures.accuracy > 0.7
        assert "list of terms holds words" in (tmp_path / preset / "CARD.md").read_text()
        elsewhere = Plan(preset, "sentiment", options={**SMALL, "min_doc_freq": 1}, spark={"spark.master": "yarn"})
        assert train(elsewhere, given, held, tmp_path / preset).again


@pytest.mark.slow
def test_a_grid_goes_on_where_it_was(session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    over = {**SMALL, "folds": 2, "regs": "0.01,0.1", "selects": "10,24", "max_iter": 2, "features": "count"}
    over |= {"min_doc_freq": 1}
    said = fit("spark-grid", tmp_path, invented(60, names=TWO), over).note
    assert "Chosen out of 4 by 2-fold cross-validation: chi-square" in said
    classify, calls = _spark_classifiers.classify, 0

    def counted(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        return classify(*given)

    monkeypatch.setattr(_spark_classifiers, "classify", counted)
    kept = next((tmp_path / "checkpoints").glob("grid-*.json"))
    done = json.loads(kept.read_text())
    assert len(done) == 8
    kept.write_text(json.dumps(dict(list(done.items())[:6])))
    assert fit("spark-grid", tmp_path, invented(60, names=TWO), over).note == said
    assert calls == 2 + 1


@pytest.mark.slow
def test_the_same_terms_every_time(session: Any, tmp_path: Path) -> None:
    """Of equally frequent terms CountVectorizer takes any; here the alphabet decides."""
    texts = [f"a{i} b{i} c{i}" for i in range(40)]
    given = data.make("even", texts, ["negative", "positive"] * 20)
    for folder in ("a", "b"):
        fit("spark-count-nb", tmp_path / folder, given, {"size": 16})
    one, two = ((tmp_path / folder / "bundle" / "terms.json").read_text() for folder in ("a", "b"))
    assert json.loads(one)["terms"] == sorted(word for text in texts for word in text.split())[:16]
    assert one == two


@pytest.mark.slow
def test_too_short_texts_are_told(session: Any, tmp_path: Path) -> None:
    given = data.make("short", ["good", "bad", "fine"], ["positive", "negative", "positive"])
    with pytest.raises(ConfigError, match="no text has 2 words in a row"):
        fit("spark-lr", tmp_path, given, {})


def test_wrong_options(tmp_path: Path) -> None:
    given = invented(12, names=TWO)
    with pytest.raises(ConfigError, match="a power of two"):
        fit("spark-hashing-lr", tmp_path, given, {"size": 1000})
    with pytest.raises(ConfigError, match="unknown option 'c'"):
        fit("spark-lr", tmp_path, given, {"c": 1})
    with pytest.raises(ConfigError, match="nothing to tell apart"):
        fit("spark-lr", tmp_path, data.make("x", ["a", "b"], ["negative", "negative"]), {})


def test_without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_spark, "running", lambda: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(ConfigError, match="Spark needs Java, and there is none: install Java 17 or 21"):
        _spark.session({})


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    with pytest.raises(MissingExtraError, match=r"needs the library 'pyspark': pip install 'feltwire\[spark\]'"):
        _spark.session({})


def test_presets_are_listed_without_spark() -> None:
    code = (
        "import sys; from feltwire.lab import presets; assert 'spark-lr' in presets.names(); "
        "assert not {'pyspark', 'sklearn', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert len(EVERY) == 17
