"""Words to features by Spark's own transformers, and the same features as a bundle names them."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from feltwire.errors import ConfigError
from feltwire.models._terms import Floats, Ints, Terms

Kind: TypeAlias = Literal["hashing", "count", "ngrams"]

LONGEST = 3  # of `ngrams`: words


class Features(NamedTuple):
    """Fitted features: feature i is the term (or bucket) `chosen[i]`, and its value the count times `idf[i]`."""

    stages: tuple[Any, ...]
    """Spark's transformers, in their order: from `words` to `features`."""
    terms: Terms
    chosen: Ints
    """Ascending."""
    idf: Floats

    def of(self, frame: Any) -> Any:
        """`label` and `features` of a table with `label` and `words`."""
        from pyspark.sql import functions as f

        for stage in self.stages:
            frame = stage.transform(frame)
        # Without what Spark notes of every single feature: its trees would take those that were selected for classes.
        return frame.select("label", f.col(self.stages[-1].getOutputCol()).alias("features", metadata={}))


def fit(frame: Any, kind: Kind, *, size: int, min_doc_freq: int, select: int) -> Features:
    """The features of a table with `label` and `words`.

    `hashing`: HashingTF into `size` buckets. `count`: CountVectorizer's `size` most frequent words. `ngrams`: as many
    words, as many pairs and as many triples, side by side. Then IDF, which makes 0 of what stands in fewer texts than
    `min_doc_freq`, and the `select` features that chi-square says most of (0: all).
    """
    match kind:
        case "hashing":
            found = _hashed(frame, size, min_doc_freq)
        case "count":
            found = _counted(frame, 1, size, min_doc_freq)
        case "ngrams":
            found = _joined([_counted(frame, n, size, min_doc_freq) for n in range(1, LONGEST + 1)])
    return _selected(frame, found, select) if 0 < select < len(found.idf) else found


def _hashed(frame: Any, size: int, min_doc_freq: int) -> Features:
    from pyspark.ml.feature import IDF, HashingTF

    counts = HashingTF(numFeatures=size, inputCol="words", outputCol="counts")
    idf = IDF(minDocFreq=min_doc_freq, inputCol="counts", outputCol="features").fit(counts.transform(frame))
    terms = Terms(buckets=size, hash="murmur3", norm="none")
    return Features((counts, idf), terms, np.arange(size), idf.idf.toArray())


def _counted(frame: Any, n: int, size: int, min_doc_freq: int) -> Features:
    """Of the n-grams of n words alone; the columns are named after n."""
    from pyspark.ml.feature import IDF, CountVectorizerModel, NGram

    grams, counts, features = f"grams{n}", f"counts{n}", f"features{n}"
    cutter = NGram(n=n, inputCol="words", outputCol=grams)
    frame = cutter.transform(frame)
    words = _most_frequent(frame, grams, size)
    if not words:
        raise ConfigError(f"no text has {n} words in a row: there is too little to learn from; try features=count")
    counter = CountVectorizerModel.from_vocabulary(words, inputCol=grams, outputCol=counts)
    idf = IDF(minDocFreq=min_doc_freq, inputCol=counts, outputCol=features).fit(counter.transform(frame))
    terms = Terms(ngrams=(n, n), terms=tuple(words), norm="none")
    return Features((cutter, counter, idf), terms, np.arange(len(words)), idf.idf.toArray())


def _most_frequent(frame: Any, column: str, size: int) -> list[str]:
    """What CountVectorizer would choose; of equals, it takes any, and other ones every time."""
    from pyspark.sql import functions as f

    counted = frame.select(f.explode(column).alias("term")).groupBy("term").count()
    best = counted.orderBy(f.desc("count"), "term").limit(size).select("term")
    return [str(row[0]) for row in best.collect()]


def _joined(parts: Sequence[Features]) -> Features:
    """Side by side, the shorter n-grams first."""
    from pyspark.ml.feature import VectorAssembler

    join = VectorAssembler(inputCols=[part.stages[-1].getOutputCol() for part in parts], outputCol="features")
    stages = [stage for part in parts for stage in part.stages]
    words = [word for part in parts for word in part.terms.terms or ()]
    terms = Terms(ngrams=(1, len(parts)), terms=tuple(words), norm="none")
    idf = np.concatenate([part.idf for part in parts])
    return Features((*stages, join), terms, np.arange(len(words)), idf)


def _selected(frame: Any, features: Features, select: int) -> Features:
    """The `select` features of the least p-value. ChiSqSelector is deprecated; this is what took its place."""
    from pyspark.ml.feature import UnivariateFeatureSelector

    selector = UnivariateFeatureSelector(
        featuresCol="features", labelCol="label", outputCol="selected", selectionMode="numTopFeatures"
    )
    selector = selector.setFeatureType("categorical").setLabelType("categorical").setSelectionThreshold(select)
    model = selector.fit(features.of(frame))
    kept = np.sort(np.array(model.selectedFeatures, np.int64))  # as they come out, whatever their list says
    stages = (*features.stages, model.setFeaturesCol(features.stages[-1].getOutputCol()))
    return features._replace(stages=stages, chosen=features.chosen[kept], idf=features.idf[kept])


def options_of(kind: Kind) -> Mapping[str, Any]:
    """Size, least number of texts and selection that a kind has by default."""
    if kind == "ngrams":
        return {"features": kind, "size": 2**14, "min_doc_freq": 5, "selects": (2**14,)}
    return {"features": kind, "size": 2**18}
