"""MLlib's classifiers, and what they learned as the weights and trees of a bundle: no model of Spark's is kept."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from feltwire.lab.families._classifiers import Weights, centred
from feltwire.lab.families._features import Many
from feltwire.models._terms import Floats, Ints
from feltwire.models._trees import LEAF, Forest


class Classifying(BaseModel):
    """The options of MLlib's classifiers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    classifier: Literal["lr", "svm", "nb", "rf", "dt"] = "lr"
    regs: Annotated[
        tuple[Annotated[float, Field(ge=0)], ...],
        Many,
        Field(min_length=1, description="of lr and svm: regParam; several make a grid"),
    ] = (0.1,)
    smoothings: Annotated[
        tuple[Annotated[float, Field(gt=0)], ...],
        Many,
        Field(min_length=1, description="of nb: additive smoothing; several make a grid"),
    ] = (1.0,)
    max_iter: Annotated[int, Field(ge=1, le=100_000, description="of lr and svm: at most so many rounds")] = 100
    trees: Annotated[int, Field(ge=1, le=1_000, description="of rf")] = 20
    depth: Annotated[int, Field(ge=1, le=30, description="of rf and dt: questions from root to leaf")] = 5

    @property
    def strengths(self) -> tuple[float, ...]:
        """What a grid goes over, of this classifier."""
        return {"lr": self.regs, "svm": self.regs, "nb": self.smoothings}.get(self.classifier, (0.0,))


class OneAgainstRest:
    """Spark's OneVsRest without its Python part, which would need Python and NumPy on every executor."""

    def __init__(self, models: Sequence[Any]) -> None:
        self.models = models

    def transform(self, frame: Any) -> Any:
        """With `margins`, an array of one number a class, and `prediction`, the class of the largest."""
        from pyspark.ml.functions import vector_to_array
        from pyspark.sql import functions as f

        margins = []
        for i, model in enumerate(self.models):
            names = {model.rawPredictionCol: f"of{i}", model.predictionCol: f"is{i}"}
            frame = model.copy(names).transform(frame)
            margins.append(vector_to_array(f.col(f"of{i}"))[1])
        place = f.array_position("margins", f.array_max("margins")) - 1
        return frame.withColumn("margins", f.array(*margins)).withColumn("prediction", place.cast("double"))


def _one_class(frame: Any, label: int) -> Any:
    from pyspark.sql import functions as f

    return frame.withColumn("label", (f.col("label") == label).cast("double"))


class Learned(NamedTuple):
    """A fitted model of Spark's. It knows the classes that were seen, by their places among these."""

    model: Any
    converged: bool


def classify(frame: Any, options: Classifying, strength: float, classes: int, seed: int) -> Learned:
    """Fit on a table with `features` and `label` (0 to `classes` - 1, each of which occurs)."""
    from pyspark.ml import classification as of

    match options.classifier:
        case "lr":
            family = "binomial" if classes == 2 else "multinomial"
            found = of.LogisticRegression(regParam=strength, maxIter=options.max_iter, family=family).fit(frame)
            return Learned(found, found.summary.totalIterations < options.max_iter)
        case "svm":
            machine = of.LinearSVC(regParam=strength, maxIter=options.max_iter)
            if classes == 2:
                found = machine.fit(frame)
                return Learned(found, found.summary().totalIterations < options.max_iter)
            machines = [machine.fit(_one_class(frame, label)) for label in range(classes)]
            quick = [one.summary().totalIterations < options.max_iter for one in machines]
            return Learned(OneAgainstRest(machines), all(quick))
        case "nb":
            return Learned(of.NaiveBayes(smoothing=strength, modelType="multinomial").fit(frame), True)
        case "rf":
            forest = of.RandomForestClassifier(numTrees=options.trees, maxDepth=options.depth, seed=seed)
            return Learned(forest.fit(frame), True)
        case "dt":
            return Learned(of.DecisionTreeClassifier(maxDepth=options.depth, seed=seed).fit(frame), True)


def weights_of(learned: Learned, options: Classifying, idf: Floats, seen: Ints, classes: int) -> Weights:
    """What a linear model says of counts: logits whose softmax are Spark's probabilities.

    A support vector machine has margins and no probabilities: of two classes the logit is the margin, of more each
    class has the margin of its own machine against the rest.
    """
    model = learned.model
    match options.classifier:
        case "lr" if len(seen) == 2:
            weight, bias = _of_two(model)
        case "lr":
            weight, bias = model.coefficientMatrix.toArray().T, model.interceptVector.toArray()
        case "svm" if len(seen) == 2:
            weight, bias = _of_two(model)
        case "svm":
            weight = np.stack([one.coefficients.toArray() for one in model.models], axis=1)
            bias = np.array([one.intercept for one in model.models])
        case _:
            weight, bias = model.theta.toArray().T, model.pi.toArray()
    # Counts times idf times weight: one number a term holds both, and is rounded once.
    return centred(weight * idf[:, None], bias, seen, classes, converged=learned.converged)


def _of_two(model: Any) -> tuple[Floats, Floats]:
    """The logit of the second class, the first being 0."""
    weight = model.coefficients.toArray()[:, None]
    return np.hstack([np.zeros_like(weight), weight]), np.array([0.0, model.intercept])


def forest_of(learned: Learned, idf: Floats, chosen: Ints, seen: Ints, classes: int) -> Forest:
    """The trees of a random forest or a decision tree, over counts in place of TF-IDF."""
    model = learned.model
    feature: list[int] = []
    threshold: list[float] = []
    children: list[tuple[int, int]] = []
    value: list[Floats] = []
    roots: list[int] = []

    def add(node: Any) -> int:
        """The number of a node, behind which come those below it."""
        number = len(feature)
        shares = np.zeros(classes)
        feature.append(LEAF)
        threshold.append(0.0)
        children.append((LEAF, LEAF))
        value.append(shares)
        if node.subtreeDepth() == 0:
            stats = np.array(list(node.impurityStats().stats()))
            shares[seen[: len(stats)]] = stats / stats.sum()
            return number
        at = int(node.split().featureIndex())
        feature[number] = int(chosen[at])
        threshold[number] = float(node.split().threshold()) / idf[at]
        children[number] = (add(node.leftChild()), add(node.rightChild()))
        return number

    for tree in getattr(model, "trees", [model]):
        roots.append(add(tree._call_java("rootNode")))
    return Forest(np.array(feature), np.array(threshold), np.array(children), np.array(value), np.array(roots))
