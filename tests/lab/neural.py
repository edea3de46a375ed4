"""What the tests of the neural families share: invented texts, a run, and the bundle that comes of it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from feltwire import text
from feltwire.lab.interfaces import Dataset, Family, Fitted, Run
from feltwire.models._formats import open_bundle

NAMES = ("negative", "neutral", "positive")
SAYINGS = (
    ("the flight was late again", "worst crew ever :(", "they lost my bag, never again"),
    ("the train left at nine", "we land in Berlin", "gate 12 is open now"),
    ("what a lovely flight", "great crew, thanks!", "so happy with the seats"),
)
LONG = "the crew was great and the flight was late and " * 4

Progress = Callable[[str, float, Mapping[str, float]], None]


def silent(what: str, share: float, figures: Mapping[str, float]) -> None:
    assert what
    assert 0 <= share <= 1


def dataset(rows: int = 24, seed: int = 0) -> Dataset:
    random = np.random.default_rng(seed)
    labels = np.arange(rows, dtype=np.int64) % len(NAMES)
    texts = [" ".join(random.permutation(SAYINGS[label])[: random.integers(1, 3)]) for label in labels]
    return Dataset("invented", tuple(texts), labels, NAMES, "0" * 64)


def a_run(folder: Path, *, profile: str = "social", progress: Progress = silent, seed: int = 3) -> Run:
    (folder / "bundle").mkdir(parents=True, exist_ok=True)
    return Run(folder / "run", folder / "bundle", "sentiment", profile, seed, 1, progress)


def sealed(run: Run, fitted: Fitted) -> Any:
    """The model in the bundle, once `model.json` is there."""
    manifest = {
        "schema_version": 1,
        "format": fitted.format,
        "name": "made",
        "version": "1",
        "profile": run.profile,
        "max_tokens": fitted.max_tokens,
        "heads": {run.head: {"labels": NAMES}},
    }
    (run.bundle / "model.json").write_text(json.dumps(manifest))
    return open_bundle(run.bundle)


def learned(model: Any, data: Dataset) -> float:
    """The share of texts whose class the served bundle finds."""
    found = model.predict(text.clean(data.texts, model.profile))["sentiment"]
    return float((found.argmax(axis=1) == data.labels).mean())


def rows_stand_alone(model: Any, head: str = "sentiment") -> None:
    texts = text.clean(["late", "", LONG, "great crew, thanks!"], model.profile)
    together = model.predict(texts)[head]
    for row, one in enumerate(texts):
        assert np.abs(model.predict([one])[head][0] - together[row]).max() < 0.005


class StoppedError(Exception):
    """Thrown into a training to stop it."""


def stopped_and_gone_on(family: Family, options: Any, tmp_path: Path, *, after: int) -> tuple[bytes, bytes]:
    """The graphs of a training that went through, and of one that was stopped after so many updates."""
    data, known = dataset(), dataset(9, seed=1)
    whole = a_run(tmp_path / "whole")
    curve = family.fit(data, known, options, whole).curve
    left = after

    def stop(what: str, share: float, figures: Mapping[str, float]) -> None:
        nonlocal left
        left -= what.startswith("training")
        if not left:
            raise StoppedError

    try:
        family.fit(data, known, options, a_run(tmp_path / "stopped", progress=stop))
    except StoppedError:
        pass
    else:
        raise AssertionError("the training was over before it could be stopped")
    again = a_run(tmp_path / "stopped")
    assert family.fit(data, known, options, again).curve == curve
    return (whole.bundle / "model.onnx").read_bytes(), (again.bundle / "model.onnx").read_bytes()
