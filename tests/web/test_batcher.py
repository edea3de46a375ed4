"""Probabilities are written under the model's own labels, whatever signs these have."""

import json

import msgspec
import pytest

from feltwire.web.batcher import _shape


@pytest.mark.parametrize(
    "labels", [("negative", "positive"), ("😂", "", "p0"), ('says "no"', "back\\slash", "two\nlines")]
)
def test_any_label_can_be_written(labels: tuple[str, ...]) -> None:
    p = [number / 8 for number in range(len(labels))]
    assert json.loads(msgspec.json.encode(_shape(labels)(*p))) == dict(zip(labels, p, strict=True))


def test_too_few_probabilities_are_noticed() -> None:
    for labels in (("a", "b"), ('a"', "b")):
        with pytest.raises((TypeError, ValueError)):
            _shape(labels)(0.5)
