"""The measures are those of scikit-learn, and the temperature is the one with the least loss."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feltwire.lab import metrics

NAMES = ("a", "b", "c")


def drawn(seed: int, rows: int = 40, classes: int = 3) -> tuple[Any, Any]:
    """Labels, and probabilities that know something of them; coarse, so that there are ties."""
    dice = np.random.default_rng(seed)
    labels = dice.integers(classes, size=rows)
    logits = dice.normal(size=(rows, classes)) + 1.2 * np.eye(classes)[labels]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, np.round(p, 1) + 1e-9 * np.arange(classes)


@pytest.mark.parametrize("seed", range(8))
def test_as_scikit_learn_has_them(seed: int) -> None:
    from sklearn import metrics as theirs

    labels, p = drawn(seed)
    p /= p.sum(axis=1, keepdims=True)
    got = metrics.measure(labels, p, NAMES)
    answers = p.argmax(axis=1)
    macro = theirs.precision_recall_fscore_support(labels, answers, average="macro", zero_division=0)
    assert (got.macro_precision, got.macro_recall, got.macro_f1) == pytest.approx(macro[:3])
    each = theirs.precision_recall_fscore_support(labels, answers, labels=[0, 1, 2], zero_division=0)
    for i, name in enumerate(NAMES):
        one = got.classes[name]
        assert (one.precision, one.recall, one.f1, one.rows) == pytest.approx([column[i] for column in each])
    assert got.accuracy == pytest.approx(theirs.accuracy_score(labels, answers))
    assert got.confusion == theirs.confusion_matrix(labels, answers, labels=[0, 1, 2]).tolist()
    assert got.roc_auc == pytest.approx(theirs.roc_auc_score(labels, p, multi_class="ovr"))
    for i in range(3):
        false, true = metrics.roc_curve(labels == i, p[:, i])
        expected = theirs.roc_curve(labels == i, p[:, i], drop_intermediate=False)
        assert np.allclose(false, expected[0])
        assert np.allclose(true, expected[1])
    assert metrics.log_loss(labels, p) == pytest.approx(theirs.log_loss(labels, p))


def test_a_class_that_nobody_means_or_says_does_not_count() -> None:
    got = metrics.measure([0, 1, 0], [[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.3, 0.7, 0.0]], NAMES)
    assert got.macro_recall == pytest.approx((0.5 + 1) / 2)
    assert got.classes["c"] == metrics.OfClass(0, 0, 0, 0)
    assert got.roc_auc == pytest.approx(1.0)


def test_one_class_alone_has_no_roc() -> None:
    got = metrics.measure([0, 0], [[1.0, 0.0], [0.4, 0.6]], ("a", "b"))
    assert got.roc_auc is None
    assert "roc_auc" not in got.numbers()


def test_calibration_error_by_hand() -> None:
    """Two bins: of four at 0.9 three are right, of two at 0.6 one."""
    p = [[0.9, 0.1]] * 4 + [[0.6, 0.4]] * 2
    got = metrics.calibration_error(np.array([0, 0, 0, 1, 0, 1]), np.array(p))
    assert got == pytest.approx((4 * 0.15 + 2 * 0.1) / 6)


def test_bins_are_open_below_and_closed_above() -> None:
    _, _, rows = metrics.reliability(np.array([0, 0, 0]), np.array([[0.6, 0.4], [0.61, 0.39], [1.0, 0.0]]), 5)
    assert rows.tolist() == [0, 0, 1, 1, 1]


@given(st.integers(0, 1000), st.floats(0.3, 4))
def test_a_temperature_is_found_again(seed: int, temperature: float) -> None:
    """Labels drawn from probabilities: the fitted temperature loses no more than the true one and its neighbours."""
    dice = np.random.default_rng(seed)
    p = dice.dirichlet(np.ones(3), 60)
    labels = np.array([dice.choice(3, p=row) for row in metrics.heated(p, temperature)])

    def loss(at: float) -> float:
        return float(metrics.log_loss(labels, metrics.heated(p, at)) + np.log(at) ** 2 / 60)

    fitted = metrics.fit_temperature(labels, p)
    for other in (temperature, fitted * 1.02, fitted / 1.02, 1.0):
        if 0.05 <= other <= 20:
            assert loss(fitted) <= loss(other) + 1e-6


def test_few_texts_do_not_make_it_sure() -> None:
    p = np.array([[0.6, 0.4], [0.4, 0.6]])
    few, many = metrics.fit_temperature([0, 1], p), metrics.fit_temperature([0, 1] * 1000, np.tile(p, (1000, 1)))
    assert many < 0.2 < few < 1


def test_heating_keeps_the_order_and_one_changes_nothing() -> None:
    _, p = drawn(3)
    p = (p + 0.01) / (p + 0.01).sum(axis=1, keepdims=True)
    assert np.allclose(metrics.heated(p, 1.0), p)
    assert (metrics.heated(p, 2.5).argmax(axis=1) == p.argmax(axis=1)).all()


def test_shapes_are_checked() -> None:
    for labels, p in ((np.zeros(0), np.zeros((0, 2))), (np.zeros(1), np.ones((1, 3)))):
        with pytest.raises(ValueError, match="for 2 classes"):
            metrics.measure(labels, p, ("a", "b"))
