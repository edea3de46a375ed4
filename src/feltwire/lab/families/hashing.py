"""Hashed against counted terms, chi-square selection, and a grid searched by cross-validation."""

from collections.abc import Mapping
from itertools import product
from typing import Annotated, Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from feltwire.errors import ConfigError
from feltwire.lab.families._classifiers import Classifying, Labelled, Weights, classify, learn, note, write
from feltwire.lab.families._extra import needs_train
from feltwire.lab.families._features import (
    MAX_TOKENS,
    Lengths,
    Many,
    counted,
    idf_of,
    matrix,
    vocabulary,
    words_of,
)
from feltwire.lab.families._grid import folds_of, kept_in, search
from feltwire.lab.interfaces import Dataset, Fitted, Run
from feltwire.lab.metrics import measure
from feltwire.models._terms import Floats, Ints, Terms

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "hashing-lr": {"vectors": "hashing", "c": 4.0},
    "hashing-chi2-lr": {"vectors": "hashing", "selects": (30_000,), "c": 4.0},
    "count-lr": {"vectors": "count", "c": 4.0},
    "count-chi2-lr": {"vectors": "count", "selects": (30_000,), "c": 4.0},
    "grid-lr": {"vectors": "count", "selects": (10_000, 30_000, 0), "cs": (0.5, 2.0, 8.0), "folds": 5},
}


class Options(Classifying):
    """Which terms count, how many are chosen, and between what the grid decides."""

    vectors: Annotated[Literal["hashing", "count"], Field(description="buckets of a hash, or a list of terms")] = (
        "count"
    )
    ngrams: Annotated[Lengths, Field(description="the shortest and the longest n-gram: 1-3")] = (1, 3)
    buckets: Annotated[int, Field(ge=2, le=2**24, description="of hashing: a power of two")] = 2**18
    features: Annotated[int, Field(ge=1, le=2**22, description="of count: the most frequent terms")] = 200_000
    min_rows: Annotated[int, Field(ge=1, description="of count: terms that come in fewer texts are left out")] = 2
    sublinear: Annotated[bool, Field(description="1 + ln(count) in place of the count")] = True
    selects: Annotated[
        tuple[int, ...], Many, Field(min_length=1, description="how many features chi-square keeps; 0: all")
    ] = (0,)
    cs: Annotated[tuple[float, ...], Many, Field(description="values of `c` to choose between; none: `c`")] = ()
    folds: Annotated[int, Field(ge=2, le=20, description="of the cross-validation, where there is a choice")] = 5


class _Choice(NamedTuple):
    select: int
    c: float


def fit(train: Dataset, validation: Dataset, options: Options, run: Run) -> Fitted:
    """See `lab.interfaces.Family`. The grid is searched on the training rows alone."""
    run.progress("counting terms", 0.0, {})
    texts = words_of(train, run.profile)
    terms = _terms(texts, options)
    every = Labelled(counted(texts, terms), train.labels, terms.width, len(train.names))
    choice, table = _search(every, train, options, run)
    settings = options.model_copy(update={"c": choice.c})
    chosen, rows, idf = _features(every, choice.select, options)
    held = counted(words_of(validation, run.profile), terms).chosen(chosen)
    weights, curve = learn(
        rows,
        rows._replace(rows=held.weighed(idf, sublinear=options.sublinear, norm=True), labels=validation.labels),
        settings,
        run,
    )
    _write(run, terms, weights, idf, chosen)
    said = note(weights, settings, len(chosen))
    if table:
        said += f" Chosen out of {len(table)} by {options.folds}-fold cross-validation: "
        said += f"chi-square {choice.select or 'all'}, c = {choice.c:g} (macro-F1 {table[choice]:.4f})."
    return Fitted(format="linear", max_tokens=MAX_TOKENS, curve=curve, note=said)


def _terms(texts: list[str], options: Options) -> Terms:
    if options.vectors == "hashing":
        if options.buckets & (options.buckets - 1):
            raise ConfigError(f"buckets = {options.buckets}: expected a power of two, such as {2**18}")
        return Terms(ngrams=options.ngrams, buckets=options.buckets, sublinear=options.sublinear)
    found = vocabulary(texts, options.ngrams, options.features, options.min_rows)
    return Terms(ngrams=options.ngrams, terms=found, sublinear=options.sublinear)


def _features(counts: Labelled, select: int, options: Options) -> tuple[Ints, Labelled, Floats]:
    """(the chosen features, the rows of these as TF-IDF, their idf): what chi-square says of the counts."""
    there = np.flatnonzero(np.bincount(counts.rows.ids, minlength=counts.width))
    chosen = there
    if 0 < select < len(there):
        with needs_train("chi-square selection"):
            from sklearn.feature_selection import chi2
        said = np.nan_to_num(chi2(matrix(counts.rows, counts.width), counts.labels)[0][there], nan=-1.0)
        chosen = np.sort(there[np.lexsort((there, -said))[:select]])
    kept = counts.rows.chosen(chosen)
    idf = idf_of(kept, len(chosen))
    weighed = kept.weighed(idf, sublinear=options.sublinear, norm=True)
    return chosen, counts._replace(rows=weighed, width=len(chosen)), idf


def _search(counts: Labelled, train: Dataset, options: Options, run: Run) -> tuple[_Choice, dict[_Choice, float]]:
    """(the best choice, {choice: its mean macro-F1}); nothing is searched where there is one choice.

    What was reached before lies in the run's folder, so that an interrupted search goes on.
    """
    choices = [_Choice(select, c) for select, c in product(options.selects, options.cs or (options.c,))]
    if len(choices) == 1:
        return choices[0], {}
    folds = folds_of(train.labels, options.folds, run.seed)

    def score(choice: _Choice, fold: int) -> float:
        settings = options.model_copy(update={"c": choice.c})
        return _score(counts, folds == fold, choice.select, settings, run.seed)

    return search(choices, options.folds, kept_in(options, train, run), score, run)


def _score(counts: Labelled, held: npt.NDArray[np.bool_], select: int, options: Options, seed: int) -> float:
    """Macro-F1 on the held-out rows of what was fitted on the others; terms are chosen and weighed anew."""
    chosen, rows, idf = _features(counts.picked(np.flatnonzero(~held)), select, options)
    weights = classify(rows, options, seed)
    outside = counts.picked(np.flatnonzero(held))
    theirs = outside.rows.chosen(chosen).weighed(idf, sublinear=options.sublinear, norm=True)
    names = [str(i) for i in range(counts.classes)]
    return measure(outside.labels, weights.probabilities(theirs), names).macro_f1


def _write(run: Run, terms: Terms, weights: Weights, idf: Floats, chosen: Ints) -> None:
    """A list of terms is cut down to the chosen ones; buckets keep their numbers."""
    if terms.terms is not None:
        terms = terms.model_copy(update={"terms": tuple(terms.terms[i] for i in chosen)})
        write(run, terms, weights, idf=idf)
    else:
        write(run, terms, weights, idf=idf, chosen=chosen)
