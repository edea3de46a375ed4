"""Spark's MLlib: hashed or counted TF-IDF, n-grams and chi-square, and its five classifiers, on one core or a cluster.

What comes out are weights and trees in a bundle, which serves without Spark and Java.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from typing import Annotated, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from feltwire.errors import ConfigError
from feltwire.lab.families import _spark, _spark_classifiers, _spark_features
from feltwire.lab.families._classifiers import Weights, write
from feltwire.lab.families._features import MAX_TOKENS, Many, words_of
from feltwire.lab.families._grid import folds_of, kept_in, search
from feltwire.lab.families._spark_classifiers import Classifying, Learned
from feltwire.lab.families._spark_features import Features, Kind
from feltwire.lab.interfaces import Dataset, Fitted, Run
from feltwire.lab.metrics import measure
from feltwire.models._bundle import TERMS, WEIGHTS
from feltwire.models._safetensors import write_tensors
from feltwire.models._terms import Ints, to_json, tokens
from feltwire.models._trees import Forest

_CLASSIFIERS: Final = ("lr", "nb", "svm")
_SETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "hashing": _spark_features.options_of("hashing"),
    "hashing16": {**_spark_features.options_of("hashing"), "size": 2**16},
    "count": _spark_features.options_of("count"),
    "count16": {**_spark_features.options_of("count"), "size": 2**16},
}
_NGRAMS: Final = _spark_features.options_of("ngrams")
# Spark's trees hold every row dense: of all features that chi-square keeps for the linear models, these are the first.
_FEW: Final = {**_NGRAMS, "selects": (2**10,)}
PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    **{f"spark-{name}": {"classifier": name, **_NGRAMS} for name in _CLASSIFIERS},
    "spark-rf": {"classifier": "rf", **_FEW},
    "spark-dt": {"classifier": "dt", **_FEW},
    **{f"spark-{one}-{of}": {"classifier": of, **given} for one, given in _SETS.items() for of in _CLASSIFIERS},
    "spark-grid": {"classifier": "lr", **_NGRAMS, "selects": (2**12, 2**14), "regs": (0.01, 0.03, 0.1), "folds": 3},
}


class Options(Classifying):
    """Which features, how many are chosen, and between what the grid decides."""

    features: Annotated[Kind, Field(description="hashed words, counted words, or words, pairs and triples")] = "ngrams"
    size: Annotated[
        int, Field(ge=2, le=2**24, description="buckets (a power of two), or most frequent terms of each length")
    ] = 2**14
    min_doc_freq: Annotated[int, Field(ge=0, description="terms in fewer texts weigh nothing")] = 0
    selects: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...],
        Many,
        Field(min_length=1, description="how many features chi-square keeps, 0 all; several make a grid"),
    ] = (0,)
    folds: Annotated[int, Field(ge=2, le=20, description="of the cross-validation, where there is a choice")] = 3


class _Choice(NamedTuple):
    select: int
    strength: float


def fit(train: Dataset, validation: Dataset, options: Options, run: Run) -> Fitted:
    """See `lab.interfaces.Family`. The grid is searched on the training rows alone; there is no learning curve."""
    if options.features == "hashing" and options.size & (options.size - 1):
        raise ConfigError(f"size = {options.size}: expected a power of two, such as {2**18}")
    seen, labels = np.unique(train.labels, return_inverse=True)
    if len(seen) < 2:
        raise ConfigError("the training rows have one class alone: there is nothing to tell apart")
    run.progress("starting Spark", 0.0, {})
    spark = _spark.session(run.spark)
    words = [tokens(text)[:MAX_TOKENS] for text in words_of(train, run.profile)]
    choices = [_Choice(*pair) for pair in product(options.selects, options.strengths)]
    choice, table = choices[0], dict[_Choice, float]()
    if len(choices) > 1:
        with _Folds(spark, words, labels, options, run.seed) as folds:
            choice, table = search(choices, options.folds, kept_in(options, train, run), folds.score, run)
    with _fitted(spark, words, labels, options, choice.select) as (features, frame):
        run.progress("fitting", 0.5, {})
        learned = _spark_classifiers.classify(frame, options, choice.strength, len(seen), run.seed)
    said = _note(learned, options, features, len(words))
    if table:
        said += f" Chosen out of {len(table)} by {options.folds}-fold cross-validation: "
        said += f"chi-square {choice.select or 'all'}, {choice.strength:g} (macro-F1 {table[choice]:.4f})."
    linear = options.classifier not in ("rf", "dt")
    if linear:
        weights = _spark_classifiers.weights_of(learned, options, features.idf, seen, len(train.names))
        _write_weights(run, features, weights)
    else:
        forest = _spark_classifiers.forest_of(learned, features.idf, features.chosen, seen, len(train.names))
        _write_forest(run, features, forest)
    return Fitted(format="linear" if linear else "trees", max_tokens=MAX_TOKENS, note=said)


@contextmanager
def _fitted(
    spark: Any, words: list[list[str]], labels: Ints, options: Options, select: int
) -> Iterator[tuple[Features, Any]]:
    """(the features of these rows, the table that has them, kept in Spark's memory until the end)."""
    rows = _spark.frame(spark, words, labels).persist()
    features = _spark_features.fit(
        rows, options.features, size=options.size, min_doc_freq=options.min_doc_freq, select=select
    )
    frame = features.of(rows).persist()
    try:
        yield features, frame
    finally:
        frame.unpersist()
        rows.unpersist()


class _Folds:
    """The folds of a search: the features of one and the same rows are fitted once for all strengths."""

    def __init__(self, spark: Any, words: list[list[str]], labels: Ints, options: Options, seed: int) -> None:
        self._spark, self._words, self._labels, self._options, self._seed = spark, words, labels, options, seed
        self._folds = folds_of(labels, options.folds, seed)
        self._there: tuple[int, int] | None = None
        self._open: Any = None

    def __enter__(self) -> "_Folds":
        return self

    def __exit__(self, *_: object) -> None:
        if self._open is not None:
            self._open.__exit__(None, None, None)
        self._open, self._there = None, None

    def score(self, choice: _Choice, fold: int) -> float:
        """Macro-F1 on the held-out rows of what was fitted on the others, the features too."""
        held = self._folds == fold
        if self._there != (choice.select, fold):
            self.__exit__()
            self._open = _fitted(self._spark, *self._rows(~held), self._options, choice.select)
            self._features, self._frame = self._open.__enter__()
            self._there = (choice.select, fold)
        classes = len(np.unique(self._labels))
        learned = _spark_classifiers.classify(self._frame, self._options, choice.strength, classes, self._seed)
        outside = self._features.of(_spark.frame(self._spark, *self._rows(held)))
        said = learned.model.transform(outside).select("label", "prediction").toArrow()
        true, given = (said.column(name).to_numpy().astype(np.int64) for name in ("label", "prediction"))
        return measure(true, np.eye(classes)[given], [str(i) for i in range(classes)]).macro_f1

    def _rows(self, chosen: npt.NDArray[np.bool_]) -> tuple[list[list[str]], Ints]:
        return [self._words[i] for i in np.flatnonzero(chosen)], self._labels[chosen]


def _write_weights(run: Run, features: Features, weights: Weights) -> None:
    """Without the terms that say nothing, as most buckets do."""
    says = (weights.weight != 0).max(axis=1)
    says[0] |= not says.any()  # a bundle has a term
    kept, weights = features.chosen[says], weights._replace(weight=weights.weight[says])
    terms = features.terms
    if terms.terms is not None:
        write(run, terms.model_copy(update={"terms": tuple(terms.terms[i] for i in kept)}), weights, idf=None)
    else:
        write(run, terms, weights, idf=None, chosen=None if len(kept) == terms.width else kept)


def _write_forest(run: Run, features: Features, forest: Forest) -> None:
    """A list of terms is cut down to those that a tree asks for."""
    terms = features.terms
    asked = np.unique(forest.feature[forest.feature >= 0])
    if terms.terms is not None:
        places = np.searchsorted(asked, forest.feature)
        forest = forest._replace(feature=np.where(forest.feature >= 0, places, forest.feature))
        terms = terms.model_copy(update={"terms": tuple(terms.terms[i] for i in asked)})
    write_tensors(run.bundle / WEIGHTS, forest.tensors(run.head))
    (run.bundle / TERMS).write_text(json.dumps(to_json(terms), ensure_ascii=False) + "\n", encoding="utf-8")


def _note(learned: Learned, options: Options, features: Features, rows: int) -> str:
    """One sentence for the card."""
    kind = {
        "lr": "Logistic regression",
        "svm": "Linear support vector machine, its margins taken as logits,",
        "nb": "Multinomial naive Bayes",
        "rf": f"Random forest of {options.trees} trees of depth {options.depth}",
        "dt": f"Decision tree of depth {options.depth}",
    }[options.classifier]
    rest = "" if learned.converged else f"; NOT CONVERGED within max_iter = {options.max_iter}"
    return f"{kind} by Spark's MLlib over {len(features.idf):,} features{rest}."
