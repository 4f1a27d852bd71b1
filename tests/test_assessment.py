"""Assessments: the baseline is scikit-learn's dummy, and numbers are judged in the units they were given in."""

import numpy as np
import pytest
import sklearn.metrics
from sklearn.dummy import DummyClassifier, DummyRegressor

from nnaccel.assessment import (
    QUANTILES,
    assess,
    baseline,
    confusion_matrix,
    constant_prediction,
    error_quantiles,
    in_own_units,
)
from nnaccel.losses import LOSSES, as_loss
from nnaccel.metrics import METRICS, Metric
from nnaccel.targets import Target
from tests.tables import read
from tests.tolerance import assert_within, tolerance

RNG = np.random.default_rng(0)
CLASSES, ROWS = 3, 60
TRAINING, HELD_OUT = RNG.choice(CLASSES, ROWS, p=[0.5, 0.3, 0.2]), RNG.integers(0, CLASSES, ROWS)
WEIGHTS = RNG.random((2, ROWS))

SKLEARN = {
    "accuracy": lambda y, p, w: sklearn.metrics.accuracy_score(y, p.argmax(axis=1), sample_weight=w),
    "balanced_accuracy": lambda y, p, w: sklearn.metrics.balanced_accuracy_score(y, p.argmax(axis=1), sample_weight=w),
    "f1": lambda y, p, w: sklearn.metrics.f1_score(y, p.argmax(axis=1), average="macro", sample_weight=w),
    "log_loss": lambda y, p, w: sklearn.metrics.log_loss(y, p, sample_weight=w),
    "roc_auc": lambda y, p, w: 0.5,
    "r2": lambda y, p, w: sklearn.metrics.r2_score(y, p, sample_weight=w),
    "root_mean_squared_error": lambda y, p, w: sklearn.metrics.mean_squared_error(y, p, sample_weight=w) ** 0.5,
    "mean_absolute_error": lambda y, p, w: sklearn.metrics.mean_absolute_error(y, p, sample_weight=w),
    "median_absolute_error": lambda y, p, w: sklearn.metrics.median_absolute_error(y, p, sample_weight=w),
}


def judged(task):
    return [metric for metric in METRICS.values() if metric.task == task]


@pytest.mark.parametrize("weighted", [False, True])
def test_the_baseline_of_classes_is_sklearns_dummy(weighted):
    training, held_out = WEIGHTS if weighted else (None, None)
    constant = constant_prediction(as_loss("softmax_cross_entropy"), TRAINING, CLASSES, training)
    dummy = DummyClassifier(strategy="prior").fit(np.zeros((ROWS, 1)), TRAINING, training)
    want = dummy.predict_proba(np.zeros((ROWS, 1)))
    assert_within(constant, want[:1], tolerance(1, ROWS, np.float64, equal_terms=True))
    got = baseline(judged("classification"), constant, HELD_OUT, held_out)
    for name, value in got.items():
        assert_within(value, SKLEARN[name](HELD_OUT, want, held_out), tolerance(10, ROWS, np.float64, equal_terms=True))
    assert set(got) == {"accuracy", "balanced_accuracy", "f1", "roc_auc", "log_loss"}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("outputs", [1, 2])
def test_the_baseline_of_numbers_is_sklearns_dummy(weighted, outputs):
    y = np.random.default_rng(1).normal(5, 3, (2, ROWS, outputs))
    training, held_out = WEIGHTS if weighted else (None, None)
    constant = constant_prediction(as_loss("mean_squared_error"), y[0], outputs, training)
    want = DummyRegressor().fit(np.zeros((ROWS, 1)), y[0], training).predict(np.zeros((ROWS, 1))).reshape(ROWS, outputs)
    got = baseline(judged("regression"), constant, y[1], held_out)
    for name, value in got.items():
        assert_within(value, SKLEARN[name](y[1], want, held_out), tolerance(20, ROWS, np.float64, equal_terms=True))
    assert set(got) == {"r2", "root_mean_squared_error", "mean_absolute_error", "median_absolute_error"}


def test_the_baseline_of_labels_is_how_frequent_each_is():
    labels = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 1.0]])
    constant = constant_prediction(as_loss("binary_cross_entropy"), labels, 2, None)
    np.testing.assert_array_equal(constant, [[0.75, 0.75]])
    assert baseline([METRICS["accuracy"]], constant, labels, None) == {"accuracy": 0.5}


def test_a_class_that_no_row_has_is_given_no_chance():
    constant = constant_prediction(as_loss("softmax_cross_entropy"), np.array([0, 0, 2]), 4, None)
    np.testing.assert_allclose(constant, [[2 / 3, 0, 1 / 3, 0]])


def regression_target(y):
    table = read({f"y{k}": column for k, column in enumerate(y.T)})
    return table, Target.learn(table, tuple(f"y{k}" for k in range(y.shape[1])), np.arange(len(y)), "regression")


@pytest.mark.parametrize("metric", judged("regression"), ids=lambda metric: metric.name)
@pytest.mark.parametrize("weights", [None, WEIGHTS[0]], ids=["plain", "weighted"])
def test_numbers_are_judged_in_the_units_they_were_given_in(metric, weights):
    y = np.random.default_rng(2).normal([100, -5], [20, 0.1], (ROWS, 2))
    table, target = regression_target(y)
    guesses = y + np.random.default_rng(3).normal(size=y.shape)
    standardised = (guesses - target.mean) / target.scale
    (own,) = in_own_units([metric], target)
    assert own.name == metric.name
    assert own.greater_is_better == metric.greater_is_better
    got = own.function(target.encode(table), standardised, weights)
    assert_within(got, metric.function(y, guesses, weights), tolerance(1e6, ROWS, np.float64))


def test_each_metric_keeps_its_own_function():
    """A closure over a loop's variable would judge all by the last."""
    _, target = regression_target(np.array([[0.0], [2.0]]))
    first, last = in_own_units([Metric("a", lambda y, p, w: 1.0, True), Metric("b", lambda y, p, w: 2.0, True)], target)
    y = np.zeros((2, 1))
    assert (first.function(y, y, None), last.function(y, y, None)) == (1.0, 2.0)


def test_classes_and_counts_have_no_other_units():
    for target in (Target(("y",), "classification", (0, 1)), Target(("y",), "regression")):
        assert in_own_units(METRICS.values(), target) == tuple(METRICS.values())


def test_the_confusion_matrix_is_sklearns():
    truth, predicted = TRAINING.astype(np.int32), HELD_OUT
    np.testing.assert_array_equal(
        confusion_matrix(truth, predicted, 4), sklearn.metrics.confusion_matrix(truth, predicted, labels=range(4))
    )


def test_many_classes_do_not_overflow():
    matrix = confusion_matrix(np.array([999], np.int32), np.array([998], np.int32), 1000)
    assert np.argwhere(matrix).tolist() == [[999, 998]]


def test_the_spread_of_errors():
    truth = np.zeros((101, 1))
    errors = np.random.default_rng(0).permutation(np.arange(101.0))[:, None]
    assert_within(error_quantiles(truth, errors), 100 * np.array(QUANTILES), tolerance(100, 1, np.float64))
    assert error_quantiles(errors, truth)[0] < 0


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "softmax_cross_entropy"])
def test_every_loss_has_a_constant_prediction(loss):
    y = np.array([[0.0, 1.0], [1.0, 1.0]])
    np.testing.assert_array_equal(constant_prediction(as_loss(loss), y, 2, None), [[0.5, 1.0]])


def test_weights_count_in_the_confusion_matrix_and_the_quantiles():
    y, p, w = np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([1.0, 0.5, 2.0])
    np.testing.assert_array_equal(confusion_matrix(y, p, 2, w), sklearn.metrics.confusion_matrix(y, p, sample_weight=w))
    errors = np.array([0.0, 1.0, 2.0, 3.0])
    repeated = np.repeat(errors, [5, 1, 1, 5])
    assert error_quantiles(np.zeros(4), errors, np.array([5, 1, 1, 5])) == list(
        np.quantile(repeated, QUANTILES, method="inverted_cdf")
    )


def test_an_assessment_has_what_suits_the_task():
    target = Target(("y",), "regression", (), np.array([10.0]), np.array([2.0]))
    outputs, y = np.array([[0.0], [1.0], [-1.0]]), np.array([[0.0], [0.5], [-1.0]])
    loss, metrics = as_loss("mean_squared_error"), [METRICS["mean_absolute_error"]]
    found = assess(target, loss, metrics, y, outputs, constant=np.array([[0.0]]))
    assert (found.rows, found.confusion) == (3, None)
    assert found.metrics["mean_absolute_error"] == pytest.approx(1 / 3)
    assert found.baseline == pytest.approx({"mean_absolute_error": (0 + 1 + 2) / 3})
    assert list(found.error_quantiles["y"].values()) == pytest.approx(list(np.quantile([0, 1, 0], QUANTILES)))

    target = Target(("y",), "classification", ("a", "b"))
    found = assess(target, as_loss("softmax_cross_entropy"), [METRICS["accuracy"]], np.array([0, 1]), np.eye(2)[[0, 0]])
    assert (found.metrics["accuracy"], found.baseline, found.error_quantiles) == (0.5, {}, None)
    assert found.confusion == {"classes": ["a", "b"], "counts": [[1, 0], [1, 0]]}
