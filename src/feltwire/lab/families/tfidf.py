"""TF-IDF of n-grams, the most frequent ones, with logistic regression, a linear SVM or naive Bayes."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import Field

from feltwire.lab.families._classifiers import Classifying, Labelled, learn, note, write
from feltwire.lab.families._features import MAX_TOKENS, Lengths, counted, idf_of, vocabulary, words_of
from feltwire.lab.interfaces import Dataset, Fitted, Run
from feltwire.models._terms import Terms

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "lr": {"classifier": "lr", "c": 4.0},
    "svm": {"classifier": "svm", "c": 0.1},
    "nb": {"classifier": "nb", "alpha": 0.05},
}


class Options(Classifying):
    """Which terms count, and how."""

    ngrams: Annotated[Lengths, Field(description="the shortest and the longest n-gram: 1-4")] = (1, 4)
    features: Annotated[int, Field(ge=1, le=2**22, description="the most frequent terms, at most so many")] = 50_000
    sublinear: Annotated[bool, Field(description="1 + ln(count) in place of the count")] = True


def fit(train: Dataset, validation: Dataset, options: Options, run: Run) -> Fitted:
    """See `lab.interfaces.Family`. The validation rows give the learning curve, and the scale of an SVM's margins."""
    run.progress("counting terms", 0.0, {})
    texts = words_of(train, run.profile)
    terms = Terms(
        ngrams=options.ngrams,
        terms=vocabulary(texts, options.ngrams, options.features),
        sublinear=options.sublinear,
    )
    counts = counted(texts, terms)
    idf = idf_of(counts, terms.width)
    rows = counts.weighed(idf, sublinear=options.sublinear, norm=True)
    held = counted(words_of(validation, run.profile), terms).weighed(idf, sublinear=options.sublinear, norm=True)
    width, classes = terms.width, len(train.names)
    weights, curve = learn(
        Labelled(rows, train.labels, width, classes), Labelled(held, validation.labels, width, classes), options, run
    )
    write(run, terms, weights, idf=idf)
    return Fitted(format="linear", max_tokens=MAX_TOKENS, curve=curve, note=note(weights, options, terms.width))
