"""The in-memory twin of a model: a function from a text to its answer."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from feltwire.interfaces import Predictions, Span

SENTIMENT = ("negative", "neutral", "positive")


class FunctionModel:
    """A model of one text at a time; counts its calls. The function may raise."""

    def __init__(
        self,
        answer: Callable[[str], Mapping[str, Sequence[float] | list[Span]]],
        heads: Mapping[str, tuple[str, ...]] | None = None,
        *,
        spans: tuple[str, ...] = (),
        languages: frozenset[str] | None = None,
        name: str = "twin@1",
    ) -> None:
        self.name = name
        self.languages = languages
        self.heads = {"sentiment": SENTIMENT} if heads is None else heads
        self.profile = "plain"
        self.calls: list[int] = []
        self._answer = answer
        self._spans = spans

    def predict(self, texts: Sequence[str]) -> Predictions:
        self.calls.append(len(texts))
        answers = [self._answer(text) for text in texts]
        given: Predictions = {}
        for head in answers[0] if answers else self.heads:
            if head in self._spans:
                given[head] = [list(answer[head]) for answer in answers]  # type: ignore[arg-type]
            else:
                given[head] = np.array([answer[head] for answer in answers], np.float32)
        return given


def by_word(text: str) -> dict[str, Sequence[float]]:
    """Negative where `bad` stands, positive where `good` stands, and a fault where `fault` stands."""
    if "fault" in text:
        raise ValueError(f"cannot read {text}")
    if "bad" in text:
        return {"sentiment": (0.8, 0.15, 0.05)}
    if "good" in text:
        return {"sentiment": (0.05, 0.15, 0.8)}
    return {"sentiment": (0.1, 0.8, 0.1)}
