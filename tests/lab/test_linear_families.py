"""The linear families serve what scikit-learn trained: the same probabilities through another way of computing them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.lab.texts import invented, run_in

from feltwire.errors import ConfigError
from feltwire.interfaces import Model
from feltwire.lab import data, presets
from feltwire.lab.families import _classifiers, _features, hashing, tfidf
from feltwire.lab.interfaces import Dataset, Fitted
from feltwire.models._formats import open_bundle
from feltwire.models._terms import Terms, grams, tokens
from feltwire.text import clean

TRAIN, HELD = invented(60), invented(24, seed=2)
TEXTS = ["love it", "the worst crew !", "nothing of this is known", "", "@united lost my bag :("]


def analyzer(ngrams: tuple[int, int]) -> Any:
    return lambda text: list(grams(tokens(text), ngrams))


def fit(preset: str, folder: Path, over: dict[str, Any] | None = None, given: Dataset = TRAIN) -> Fitted:
    found = presets.find(preset)
    held = data.renumbered(invented(24, seed=2, names=given.names), given.names)
    return found.family.fit(given, held, found.options(over or {}), run_in(folder))


def served(preset: str, folder: Path, over: dict[str, Any] | None = None, given: Dataset = TRAIN) -> Any:
    """What a bundle of temperature 1 says of TEXTS."""
    fit(preset, folder, over, given)
    bundle = folder / "bundle"
    labels = '", "'.join(given.names)
    (bundle / "model.json").write_text(
        '{"schema_version": 1, "format": "linear", "name": "x", "version": "1", "profile": "social", '
        f'"max_tokens": 512, "heads": {{"sentiment": {{"labels": ["{labels}"]}}}}}}'
    )
    return said(open_bundle(bundle))


def said(model: Model) -> Any:
    return model.predict(clean(TEXTS, model.profile))["sentiment"]


def theirs(kind: str, ngrams: tuple[int, int], given: Dataset, sublinear: bool) -> Any:
    """The same by scikit-learn's own pipeline."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    vectors = TfidfVectorizer(analyzer=analyzer(ngrams), sublinear_tf=sublinear)
    model = LogisticRegression(C=4.0, max_iter=5000) if kind == "lr" else MultinomialNB(alpha=0.05)
    pipeline = make_pipeline(vectors, model).fit(clean(given.texts, "social"), given.labels)
    return pipeline.predict_proba(clean(TEXTS, "social"))


@pytest.mark.parametrize("kind", ["lr", "nb"])
@pytest.mark.parametrize("names", [("negative", "positive"), ("negative", "neutral", "positive")])
def test_as_scikit_learn_has_it(kind: str, names: tuple[str, ...], tmp_path: Path) -> None:
    """Within 1e-5, where the list of terms has room for all."""
    given = invented(60, names=names)
    ours = served(kind, tmp_path, given=given)
    assert np.abs(ours - theirs(kind, (1, 4), given, True)).max() < 1e-5


def test_chi_square_as_scikit_learn_has_it(tmp_path: Path) -> None:
    from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
    from sklearn.feature_selection import SelectKBest, chi2
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    vectors = CountVectorizer(analyzer=analyzer((1, 1)))
    texts = clean(TRAIN.texts, "social")
    scores = np.sort(chi2(vectors.fit_transform(texts), TRAIN.labels)[0])[::-1]
    chosen = next(k for k in range(10, len(scores)) if scores[k - 1] > scores[k] + 1e-9)  # no tie at the border
    ours = served("count-chi2-lr", tmp_path, {"selects": f"{chosen}", "min_rows": 1, "ngrams": "1-1"})
    pipeline = make_pipeline(
        vectors,
        SelectKBest(chi2, k=chosen),
        TfidfTransformer(sublinear_tf=True),
        LogisticRegression(C=4.0, max_iter=5000),
    ).fit(texts, TRAIN.labels)
    names = pipeline[0].get_feature_names_out()[pipeline[1].get_support()]
    terms = json.loads((tmp_path / "bundle" / "terms.json").read_text())["terms"]
    assert set(terms) == set(names)
    assert np.abs(ours - pipeline.predict_proba(clean(TEXTS, "social"))).max() < 1e-5


def test_a_support_vector_machine_keeps_its_answers(tmp_path: Path) -> None:
    """Platt's scaling gives the margins of scikit-learn's own machine a scale and a shift."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    given = invented(60, names=("negative", "positive"))
    held = invented(24, seed=2, names=("negative", "positive"))
    found = presets.find("svm")
    found.family.fit(given, held, found.options({}), run_in(tmp_path))
    vectors = TfidfVectorizer(analyzer=analyzer((1, 4)), sublinear_tf=True)
    machine = LinearSVC(C=0.1, max_iter=5000, random_state=1).fit(
        vectors.fit_transform(clean(given.texts, "social")), given.labels
    )
    (tmp_path / "bundle" / "model.json").write_text(
        '{"schema_version": 1, "format": "linear", "name": "x", "version": "1", "profile": "social", '
        '"max_tokens": 512, "heads": {"sentiment": {"labels": ["negative", "positive"]}}}'
    )
    p = said(open_bundle(tmp_path / "bundle"))[:, 1].astype(np.float64)
    margins = machine.decision_function(vectors.transform(clean(TEXTS, "social")))
    scale, shift = np.polyfit(margins, np.log(p / (1 - p)), 1)
    assert scale > 0
    assert np.abs(1 / (1 + np.exp(-(scale * margins + shift))) - p).max() < 1e-5


PRESETS = [name for name, family in presets.names().items() if family in ("tfidf", "hashing")]


@pytest.mark.parametrize(("preset", "profile"), [*((name, "letters") for name in PRESETS), ("lr", "lemma")])
def test_every_preset_learns_and_says_so(preset: str, profile: str, tmp_path: Path) -> None:
    over: dict[str, Any] = {"folds": 2, "cs": "1,4", "selects": "20,0"} if preset == "grid-lr" else {}
    found = presets.find(preset)
    fitted = found.family.fit(TRAIN, HELD, found.options(over), run_in(tmp_path, profile=profile))
    assert fitted.format == "linear"
    assert "features" in fitted.note
    assert [point.step for point in fitted.curve] == [6, 18, 60]
    assert fitted.curve[-1].score is not None
    assert fitted.curve[-1].score > 0.7


def test_the_same_seed_gives_the_same_bundle(tmp_path: Path) -> None:
    for preset in ("lr", "svm", "hashing-chi2-lr"):
        for folder in ("a", "b"):
            fit(preset, tmp_path / preset / folder)
        for name in ("terms.json", "weights.safetensors"):
            one, two = ((tmp_path / preset / folder / "bundle" / name).read_bytes() for folder in ("a", "b"))
            assert one == two, (preset, name)


def test_too_few_rounds_are_told(tmp_path: Path) -> None:
    assert "NOT CONVERGED within max_iter = 2" in fit("lr", tmp_path / "lr", {"max_iter": 2}).note
    assert "NOT CONVERGED" not in fit("lr", tmp_path / "enough").note


def test_a_class_without_training_rows_is_never_answered(tmp_path: Path) -> None:
    names = ("negative", "neutral", "positive")
    given = data.renumbered(invented(40, names=("negative", "positive")), names)
    for preset in ("lr", "nb", "svm"):
        assert (served(preset, tmp_path / preset, given=given)[:, 1] < 1e-6).all()


def test_nor_where_the_logits_are_far_below_nothing() -> None:
    """Naive Bayes' own logits are sums of many logarithms: below any constant that stands for never."""
    texts = [" ".join(f"a{i * 40 + j}" for j in range(40)) for i in range(100)]
    counts = _features.counted(texts, Terms(terms=_features.vocabulary(texts, (1, 1), 10_000)))
    given = _classifiers.Labelled(counts, np.arange(100) % 2 * 2, 4_000, 3)
    fitted = _classifiers.classify(given, _classifiers.Classifying(classifier="nb", alpha=1e-3), 1)
    assert (fitted.probabilities(counts)[:, 1] < 1e-6).all()


def test_one_class_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to tell apart"):
        fit("lr", tmp_path, given=data.make("x", ["a", "b"], ["negative", "negative"]))


def test_a_grid_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    over = {"folds": 2, "cs": "1,4", "selects": "10,0", "curve": False}
    said_first = fit("grid-lr", tmp_path / "whole", over).note
    assert "Chosen out of 4 by 2-fold cross-validation" in said_first
    score, calls = hashing._score, 0

    def stop_at_third(*given: Any) -> float:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return score(*given)

    monkeypatch.setattr(hashing, "_score", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        fit("grid-lr", tmp_path / "cut", over)
    assert fit("grid-lr", tmp_path / "cut", over).note == said_first
    assert calls == 3 + 6  # two of eight were done


@pytest.mark.parametrize("limit", [5, 20, 60, 10_000])
def test_pruning_leaves_the_vocabulary_as_it_is(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = clean(invented(40).texts, "social")
    quick = _features.vocabulary(texts, (1, 3), limit)
    counts: dict[str, int] = {}
    for text in texts:
        for term in grams(tokens(text), (1, 3)):
            counts[term] = counts.get(term, 0) + 1
    best = sorted(counts, key=lambda term: (-counts[term], term))
    assert list(quick) == best[:limit]


def test_terms_in_too_few_texts_are_left_out() -> None:
    assert set(_features.vocabulary(["a a b", "b c", "a"], (1, 1), 10, min_rows=2)) == {"a", "b"}
    with pytest.raises(ConfigError, match="no term comes in enough texts"):
        _features.vocabulary(["a", "b"], (1, 1), 10, min_rows=2)


@pytest.mark.parametrize(
    ("preset", "over", "expected"),
    [
        ("lr", {"nonsense": 1}, "preset 'lr': unknown option 'nonsense'; known are classifier"),
        ("lr", {"ngrams": "4"}, "ngrams"),
        ("lr", {"c": "-1"}, "c = '-1'"),
        ("hashing-lr", {"buckets": "1000"}, "a power of two"),
    ],
)
def test_wrong_options(preset: str, over: dict[str, Any], expected: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=expected):
        fit(preset, tmp_path, over)


def test_presets_are_found_by_name() -> None:
    assert {"lr", "svm", "nb"} <= {name for name, family in presets.names().items() if family == "tfidf"}
    every = [name for family in presets.family_names() for name, of in presets.names().items() if of == family]
    assert len(every) == len(set(every))
    with pytest.raises(ConfigError, match="unknown preset 'x': known are"):
        presets.find("x")
    assert tfidf.Options().features == 50_000
    assert _classifiers.CURVE[-1] == 1
