"""Linear classifiers by scikit-learn, as a matrix and a bias whose softmax gives the probabilities."""

import json
import warnings
from typing import Annotated, Any, Final, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from feltwire.errors import ConfigError
from feltwire.lab.families._extra import needs_train
from feltwire.lab.families._features import matrix, picked
from feltwire.lab.interfaces import Point, Run
from feltwire.lab.metrics import log_loss, measure
from feltwire.models._bundle import TERMS, WEIGHTS
from feltwire.models._linear import BIAS, CHOSEN, IDF, WEIGHT, times
from feltwire.models._safetensors import write_tensors
from feltwire.models._terms import Floats, Ints, Rows, Terms, to_json

UNSEEN: Final = -30.0  # the bias of a class that training never saw
CURVE: Final = (0.1, 0.3, 1.0)  # shares of the training rows at which the learning curve has its points


class Classifying(BaseModel):
    """The options that all linear families have."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    classifier: Literal["lr", "svm", "nb"] = "lr"
    c: Annotated[float, Field(gt=0, le=1e4, description="of lr and svm: the inverse of the regularisation")] = 1.0
    alpha: Annotated[float, Field(gt=0, le=1e4, description="of nb: additive smoothing")] = 1.0
    balanced: Annotated[bool, Field(description="of lr and svm: every class weighs the same")] = False
    max_iter: Annotated[int, Field(ge=1, le=1_000_000, description="of lr and svm: at most so many passes")] = 5_000
    curve: Annotated[bool, Field(description="train on parts of the data first, for the learning curve")] = True


class Labelled(NamedTuple):
    """Rows of features, and their classes."""

    rows: Rows
    labels: Ints
    width: int
    """The number of features …"""
    classes: int
    """… and of classes, of which some may have no row."""

    def picked(self, chosen: Ints) -> "Labelled":
        """The chosen rows, in that order."""
        return self._replace(rows=picked(self.rows, chosen), labels=self.labels[chosen])


class Weights(NamedTuple):
    """A fitted classifier: logits = rows @ weight + bias."""

    weight: Floats
    bias: Floats
    converged: bool

    def probabilities(self, rows: Rows) -> Floats:
        """Their softmax."""
        return _softmax(self.bias + times(rows, self.weight))


def _softmax(logits: Floats) -> Floats:
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Floats = odds / odds.sum(axis=1, keepdims=True)
    return shares


def classify(data: Labelled, options: Classifying, seed: int) -> Weights:
    """Fit the classifier; a class without rows gets a bias that is never the largest."""
    seen = np.unique(data.labels)
    if len(seen) < 2:
        raise ConfigError("the training rows have one class alone: there is nothing to tell apart")
    with needs_train("linear models"):
        fitted = _estimator(options, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it did not converge is seen below, and told in the card
        fitted.fit(matrix(data.rows, data.width), data.labels)
    if options.classifier == "nb":
        weight, bias = fitted.feature_log_prob_.T, fitted.class_log_prior_
    else:
        weight, bias = fitted.coef_.T, fitted.intercept_
        if weight.shape[1] == 1:  # of two classes: the logit of the second, the first being 0
            weight, bias = np.hstack([np.zeros_like(weight), weight]), np.array([0.0, bias[0]])
    rounds = np.max(getattr(fitted, "n_iter_", 0))
    return centred(weight, bias, seen, data.classes, converged=bool(rounds < options.max_iter))


def centred(weight: Floats, bias: Floats, seen: Ints, classes: int, *, converged: bool) -> Weights:
    """Weights for all classes out of those for the classes that were seen; the others are never answered."""
    # A softmax does not mind what all classes have in common. Without it the largest logit is never below 0, and so
    # far above that of a class that was never seen; and float32 keeps more digits of what differs.
    weight, bias = weight - weight.mean(axis=1, keepdims=True), bias - bias.mean()
    every_weight, every_bias = np.zeros((len(weight), classes)), np.full(classes, UNSEEN)
    every_weight[:, seen], every_bias[seen] = weight, bias
    return Weights(every_weight, every_bias, converged)


def _estimator(options: Classifying, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.svm import LinearSVC

    weights = "balanced" if options.balanced else None
    if options.classifier == "nb":
        return MultinomialNB(alpha=options.alpha)
    if options.classifier == "svm":
        return LinearSVC(C=options.c, class_weight=weights, max_iter=options.max_iter, random_state=seed)
    return LogisticRegression(C=options.c, class_weight=weights, max_iter=options.max_iter, random_state=seed)


def calibrated(weights: Weights, held: Labelled) -> Weights:
    """The same classifier with softmax(a * margin + b) in place of margins: Platt's scaling, for any number of classes.

    `a` and `b` (one a class) are those with the least log loss on held-back rows, `b` drawn lightly towards 0.
    """
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    margins = weights.bias + times(held.rows, weights.weight)
    there = weights.bias > UNSEEN

    def loss(given: Floats) -> float:
        scale, shift = np.exp(given[0]), np.where(there, given[1:], 0)
        return log_loss(held.labels, _softmax(scale * margins + shift)) + 1e-3 * float(shift @ shift)

    found = minimize(loss, np.zeros(1 + len(there)), method="L-BFGS-B", bounds=[(-3, 4)] + [(-5, 5)] * len(there)).x
    scale, shift = np.exp(found[0]), np.where(there, found[1:], 0)
    bias = np.where(there, scale * weights.bias + shift, UNSEEN)
    return Weights(weights.weight * scale, bias, weights.converged)


def learn(train: Labelled, validation: Labelled, options: Classifying, run: Run) -> tuple[Weights, tuple[Point, ...]]:
    """The classifier fitted on all rows, and its learning curve, whose last point that is."""
    order = np.random.default_rng(run.seed).permutation(len(train.labels))
    names = [str(i) for i in range(train.classes)]
    shares = CURVE if options.curve else CURVE[-1:]
    curve: list[Point] = []
    fitted: Weights | None = None
    for i, share in enumerate(shares):
        part = train if share == 1 else train.picked(np.sort(order[: max(2, round(share * len(order)))]))
        if share < 1 and len(np.unique(part.labels)) < 2:
            continue
        run.progress("fitting", i / len(shares), {"texts": float(len(part.labels))})
        fitted = classify(part, options, run.seed)
        if options.classifier == "svm":
            fitted = calibrated(fitted, validation)
        score = measure(validation.labels, fitted.probabilities(validation.rows), names).macro_f1
        curve.append(Point(len(part.labels), log_loss(part.labels, fitted.probabilities(part.rows)), score))
    if fitted is None:
        raise ConfigError("nothing was fitted")
    run.progress("fitting", 1.0, {"score": curve[-1].score or 0.0})
    return fitted, tuple(curve)


def write(run: Run, terms: Terms, weights: Weights, *, idf: Floats | None, chosen: Ints | None = None) -> None:
    """The files of a linear bundle."""
    tensors: dict[str, Any] = {run.head + WEIGHT: weights.weight, run.head + BIAS: weights.bias}
    if idf is not None:
        tensors[IDF] = idf
    if chosen is not None:
        tensors[CHOSEN] = chosen
    write_tensors(run.bundle / WEIGHTS, tensors)
    (run.bundle / TERMS).write_text(json.dumps(to_json(terms), ensure_ascii=False) + "\n", encoding="utf-8")


def note(weights: Weights, options: Classifying, width: int) -> str:
    """One sentence for the card."""
    kind = {"lr": "Logistic regression", "svm": "Linear support vector machine, calibrated by Platt's scaling",
            "nb": "Multinomial naive Bayes"}[options.classifier]  # fmt: skip
    rest = "" if weights.converged else f"; NOT CONVERGED within max_iter = {options.max_iter}"
    return f"{kind} over {width:,} features{rest}."
