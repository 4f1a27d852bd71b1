"""Metrics: what scikit-learn computes, weights that count as rows, and NaN where nothing can be said."""

import math
import warnings

import hypothesis.strategies as st
import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given

from nnaccel.errors import InputError
from nnaccel.losses import LOSSES, BinaryCrossEntropy, MeanSquaredError, SoftmaxCrossEntropy
from nnaccel.metrics import METRICS, Metric, as_metric, check_metrics, default_metrics, evaluate, is_classification
from nnaccel.network import Dense, Network
from nnaccel.training import train
from tests.tolerance import assert_within, tolerance

CLASSIFICATION = ["accuracy", "balanced_accuracy", "f1", "roc_auc", "log_loss"]
REGRESSION = [name for name in METRICS if name not in CLASSIFICATION]
LARGEST = 40
"""As far from 0 as a metric or what it adds up can be here: -log(eps) is 36, the numbers are standard normal."""


def compute(name, targets, predictions, weights=None):
    return METRICS[name].function(targets, predictions, weights)


def assert_same(got, want, rows):
    """Equal but for the rounding of sums over the rows."""
    assert_within(got, want, tolerance(LARGEST, 4 * rows, np.float64, equal_terms=True))


def sklearn_says(name, *arguments, **options):
    """What scikit-learn's function of this name says; it warns of what it can't compute, which is expected here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(sklearn.metrics, name)(*arguments, **options)


class Rows:
    """Random targets, weights and predictions, many of which are equal, so that there are ties."""

    def __init__(self, seed, rows, outputs, weighted):
        random = np.random.default_rng(seed)
        few = random.integers(1, rows + 1)
        self.labels = random.integers(0, outputs, rows).astype(np.int32)
        self.ones = random.integers(0, 2, (rows, outputs)).astype(float)
        self.numbers = random.normal(size=(rows, outputs))
        pick = random.integers(0, few, rows)
        self.of_classes = random.dirichlet(np.ones(outputs), few)[pick]
        self.of_labels = random.random((few, outputs))[pick]
        self.of_numbers = random.normal(size=(few, outputs))[pick]
        self.weights = random.random(rows) + 0.1 if weighted else None

    def of(self, kind):
        """The targets and predictions of one kind."""
        return {
            "classes": (self.labels, self.of_classes),
            "labels": (self.ones, self.of_labels),
            "numbers": (self.numbers, self.of_numbers),
        }[kind]


data = st.builds(Rows, st.integers(0, 2**32), st.integers(2, 40), st.integers(2, 5), st.booleans())
one_output = st.builds(Rows, st.integers(0, 2**32), st.integers(2, 40), st.just(1), st.booleans())
KINDS = [
    *((name, kind) for name in CLASSIFICATION for kind in ("classes", "labels")),
    *((name, "numbers") for name in REGRESSION),
]


@given(data)
def test_classes_are_judged_as_by_sklearn(rows):
    targets, p, w = rows.labels, rows.of_classes, rows.weights
    chosen = p.argmax(axis=1)
    for name, want in {
        "accuracy": sklearn_says("accuracy_score", targets, chosen, sample_weight=w),
        "balanced_accuracy": sklearn_says("balanced_accuracy_score", targets, chosen, sample_weight=w),
        "f1": sklearn_says("f1_score", targets, chosen, average="macro", sample_weight=w),
        "log_loss": sklearn_says("log_loss", targets, p, labels=range(p.shape[1]), sample_weight=w),
    }.items():
        assert_same(compute(name, targets, p, w), want, len(targets))


@given(data)
def test_roc_auc_of_classes_is_sklearns(rows):
    p, w = rows.of_classes, rows.weights
    classes = p.shape[1]
    targets = np.concatenate([np.arange(classes, dtype=np.int32), rows.labels])[: len(p)]
    present = np.unique(targets)
    if len(present) < classes:
        # scikit-learn refuses these; the mean over the classes that are there is made of what it says of each.
        want = np.mean([sklearn_says("roc_auc_score", targets == j, p[:, j], sample_weight=w) for j in present])
    else:
        scores = p[:, 1] if classes == 2 else p
        want = sklearn_says("roc_auc_score", targets, scores, multi_class="ovr", average="macro", sample_weight=w)
    assert_same(compute("roc_auc", targets, p, w), want, len(p))


@given(data)
def test_labels_are_judged_as_by_sklearn(rows):
    targets, p, w = rows.ones, rows.of_labels, rows.weights
    assert_same(
        compute("accuracy", targets, p, w),
        sklearn_says("accuracy_score", targets, p > 0.5, sample_weight=w),
        len(p),
    )
    # Labels without ones in targets and predictions say nothing.
    f1 = sklearn_says("f1_score", targets, p > 0.5, average="macro", sample_weight=w, zero_division=np.nan)
    np.testing.assert_equal(math.isnan(compute("f1", targets, p, w)), math.isnan(f1))
    if not math.isnan(f1):
        assert_same(compute("f1", targets, p, w), f1, len(p))
    columns = [(targets[:, j], p[:, j]) for j in range(targets.shape[1])]
    balanced = [sklearn_says("balanced_accuracy_score", t, q > 0.5, sample_weight=w) for t, q in columns]
    assert_same(compute("balanced_accuracy", targets, p, w), np.mean(balanced), len(p))
    losses = [sklearn_says("log_loss", t, q, labels=[0, 1], sample_weight=w) for t, q in columns]
    assert_same(compute("log_loss", targets, p, w), np.mean(losses), len(p))
    judged = [(t, q) for t, q in columns if len(np.unique(t)) == 2]
    if judged:
        areas = [sklearn_says("roc_auc_score", t, q, sample_weight=w) for t, q in judged]
        assert_same(compute("roc_auc", targets, p, w), np.mean(areas), len(p))
    else:
        assert math.isnan(compute("roc_auc", targets, p, w))


@given(one_output)
def test_one_output_is_judged_as_two_classes(rows):
    targets, p = rows.ones, rows.of_labels
    classes, both = targets[:, 0].astype(np.int32), np.hstack([1 - p, p])
    for name in CLASSIFICATION:
        one, two = compute(name, targets, p, rows.weights), compute(name, classes, both, rows.weights)
        if math.isnan(two):
            assert math.isnan(one)
        else:
            assert_same(one, two, len(p))
    want = sklearn_says("f1_score", classes, p[:, 0] > 0.5, average="macro", sample_weight=rows.weights)
    assert_same(compute("f1", targets, p, rows.weights), want, len(p))


@given(data)
def test_numbers_are_judged_as_by_sklearn(rows):
    y, p, w = rows.numbers, rows.of_numbers, rows.weights
    for name, want in {
        "r2": sklearn_says("r2_score", y, p, sample_weight=w),
        "root_mean_squared_error": math.sqrt(sklearn_says("mean_squared_error", y, p, sample_weight=w)),
        "mean_absolute_error": sklearn_says("mean_absolute_error", y, p, sample_weight=w),
        "median_absolute_error": sklearn_says("median_absolute_error", y, p, sample_weight=w),
    }.items():
        # r2 divides by a variance, which may be small.
        scale = 1 + abs(want) / np.var(y, axis=0).min() if name == "r2" else 1
        assert_same(compute(name, y, p, w) / scale, want / scale, len(y))


@pytest.mark.parametrize(("name", "kind"), KINDS)
@given(rows=data, seed=st.integers(0, 2**32))
def test_a_weight_counts_as_so_many_rows(name, kind, rows, seed):
    """Also none: a row of weight 0 may as well be absent."""
    targets, predictions = rows.of(kind)
    repeats = np.random.default_rng(seed).integers(0, 4, len(targets))
    repeats[:2] = 1
    weighted = compute(name, targets, predictions, 0.1 * repeats)
    repeated = compute(name, np.repeat(targets, repeats, axis=0), np.repeat(predictions, repeats, axis=0))
    assert math.isnan(weighted) == math.isnan(repeated)
    if not math.isnan(repeated):
        scale = 1 + abs(repeated) / np.var(targets[:2], axis=0).min() if name == "r2" else 1
        assert_same(weighted / scale, repeated / scale, repeats.sum())


@pytest.mark.parametrize(("name", "kind"), KINDS)
@pytest.mark.parametrize("weights", [None, np.array([])])
def test_nothing_can_be_said_of_no_rows(name, kind, weights):
    targets, predictions = Rows(0, 2, 3, weighted=False).of(kind)
    assert math.isnan(compute(name, targets[:0], predictions[:0], weights))


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_nothing_can_be_said_of_rows_without_weight(name, kind):
    targets, predictions = Rows(0, 5, 3, weighted=False).of(kind)
    assert math.isnan(compute(name, targets, predictions, np.zeros(5)))


@pytest.mark.parametrize("weights", [None, np.array([0.5, 0.5, 2.0])])
@pytest.mark.parametrize(
    ("targets", "predictions"),
    [
        (np.array([1, 1, 1], np.int32), np.array([[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]])),
        (np.array([2, 2, 2], np.int32), np.full((3, 3), 1 / 3)),
        (np.ones((3, 1)), np.array([[0.5], [0.2], [0.9]])),
        (np.array([[0.0, 1.0]] * 3), np.array([[0.5, 0.1], [0.2, 0.2], [0.9, 0.3]])),
        (np.array([0, 1, 1], np.int32), np.full((3, 2), np.nan)),
    ],
)
def test_roc_auc_needs_two_classes_and_numbers(targets, predictions, weights):
    assert math.isnan(compute("roc_auc", targets, predictions, weights))


def test_of_two_classes_the_probability_of_the_second_is_judged():
    """Where it is rounded to 1, that of the first would still tell the rows apart."""
    assert compute("roc_auc", np.array([0, 1], np.int32), np.array([[1e-20, 1.0], [1e-30, 1.0]])) == 0.5


def test_classes_that_are_absent_are_left_out():
    targets = np.array([0, 0, 2, 2], np.int32)
    p = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.2, 0.2, 0.6], [0.1, 0.1, 0.8]])
    assert compute("roc_auc", targets, p) == 1.0
    assert compute("balanced_accuracy", targets, p) == (1 / 2 + 1) / 2
    assert compute("f1", targets, p) == pytest.approx((2 / 3 + 4 / 5) / 2)
    # Class 1 is predicted now, though it is no row's: it counts for F1, with 0.
    p[1] = [0.2, 0.5, 0.3]
    assert compute("balanced_accuracy", targets, p) == (1 / 2 + 1) / 2
    assert compute("f1", targets, p) == pytest.approx((2 / 3 + 0 + 1) / 3)


def test_labels_without_ones_are_left_out_of_f1():
    targets = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    p = np.array([[0.9, 0.1], [0.1, 0.2], [0.2, 0.3]])
    assert compute("f1", targets, p) == pytest.approx(2 / 3)
    assert math.isnan(compute("f1", targets[:, [1, 1]], p[:, [1, 1]]))


@pytest.mark.parametrize("name", CLASSIFICATION)
@pytest.mark.parametrize("weights", [None, np.array([0.5, 3.0, 1.0, 1.0])])
def test_perfect_probabilities(name, weights):
    labels = np.array([0, 1, 2, 1], np.int32)
    best = {"log_loss": 0.0}.get(name, 1.0)
    for targets, p in [
        (labels, np.eye(3)[labels]),
        (np.eye(3)[labels], np.eye(3)[labels]),
        (np.eye(3)[labels][:, :1], np.eye(3)[labels][:, :1]),
    ]:
        assert_same(compute(name, targets, p, weights), best, len(p))


@pytest.mark.parametrize("name", REGRESSION)
def test_perfect_numbers(name):
    y = np.array([[1.0, 5.0], [2.0, 5.0]])
    assert compute(name, y, y) == {"r2": 1.0}.get(name, 0.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("balanced_accuracy", 1 / 3), ("f1", 1 / 2 / 3), ("roc_auc", 1 / 2), ("log_loss", math.log(3))],
)
def test_constant_probabilities(name, value):
    """Always the first of three classes, which is a third of the rows: its F1 is 1/2."""
    targets = np.array([0, 1, 2, 0, 1, 2], np.int32)
    assert compute(name, targets, np.full((6, 3), 1 / 3)) == pytest.approx(value)


def test_wrong_certainty_has_a_finite_log_loss():
    for dtype in (np.float32, np.float64):
        worst = -math.log(np.finfo(dtype).eps)
        assert compute("log_loss", np.array([1], np.int32), np.array([[1, 0]], dtype)) == pytest.approx(worst)
        assert compute("log_loss", np.array([[1.0]]), np.array([[0]], dtype)) == pytest.approx(worst)
        assert compute("log_loss", np.array([[0.0]]), np.array([[1]], dtype)) == pytest.approx(worst)


def test_r2_of_one_number():
    """The mean of three times 0.1 isn't 0.1 in binary numbers: the output is the same in every row all the same."""
    constant = np.full((3, 1), 0.1)
    assert np.mean(constant) != 0.1
    for w in (None, np.array([1.0, 1.0, 1.0]), np.array([1.0, 2.0, 3.0])):
        assert compute("r2", constant, constant, w) == 1
        assert compute("r2", constant, constant + 1, w) == 0
    assert math.isnan(compute("r2", constant[:1], constant[:1]))
    assert math.isnan(compute("r2", np.array([[1.0], [2.0]]), np.array([[1.0], [3.0]]), np.array([0.0, 1.0])))


def test_r2_of_numbers_whose_variance_underflows():
    assert compute("r2", np.array([[0.0], [1e-200]]), np.ones((2, 1))) == 0


def test_median_between_two_distances():
    y, zero = np.array([[1.0], [2.0], [30.0], [400.0]]), np.zeros((4, 1))
    assert compute("median_absolute_error", y, zero) == 16
    assert compute("median_absolute_error", y, zero, np.array([1.0, 1.0, 1.0, 1.5])) == 30
    assert compute("median_absolute_error", y, zero, np.array([3.0, 1.0, 1.0, 1.0])) == 1.5
    # Half of the weight lies below 1 and above 30; between them is no row that counts.
    assert compute("median_absolute_error", y, zero, np.array([1.0, 0.0, 1.0, 0.0])) == 15.5
    assert math.isnan(compute("median_absolute_error", y, np.array([[0.0], [0.0], [0.0], [np.nan]])))


@pytest.mark.parametrize("name", LOSSES)
def test_metrics_must_fit_the_loss(name):
    loss = LOSSES[name]()
    good, bad = (CLASSIFICATION, REGRESSION) if is_classification(loss) else (REGRESSION, CLASSIFICATION)
    own = Metric("own", lambda targets, predictions, weights: 0.0, greater_is_better=True)
    check_metrics(loss, (*map(as_metric, good), own, *default_metrics(loss)))
    for metric in bad:
        with pytest.raises(InputError, match=f"the metric {metric} is for .*{name} is for .*: take one of") as caught:
            check_metrics(loss, [as_metric(metric)])
        assert str(caught.value).endswith(f"take one of {', '.join(good)}.")


def test_metrics_are_found_by_name():
    assert as_metric("roc-auc") is as_metric("ROC_AUC") is METRICS["roc_auc"]
    with pytest.raises(InputError, match=r"unknown metric 'auc' \(did you mean 'roc_auc'\?\); known: accuracy, "):
        as_metric("auc")
    with pytest.raises(InputError, match="unknown metric 3; known: accuracy, "):
        as_metric(3)


@pytest.mark.parametrize(
    ("loss", "outputs"), [(SoftmaxCrossEntropy(), 3), (BinaryCrossEntropy(), 1), (BinaryCrossEntropy(), 2)]
)
def test_a_training_reports_any_metric(loss, outputs):
    rows = Rows(1, 30, outputs, weighted=True)
    targets = rows.labels if loss.targets == "labels" else rows.ones
    held_out = (rows.numbers[:20], targets[:20], rows.weights[:20])
    network = Network(outputs, [Dense(outputs)])
    settings = {"epochs": 2, "metrics": CLASSIFICATION, "backend": "cpu"}  # the one that models predict with
    model = train(network, rows.numbers, targets, loss=loss, validation=held_out, **settings)
    p = loss.predict(model.outputs(held_out[0]).astype(np.float64), np)
    for name in CLASSIFICATION:
        assert model.report.history[f"validation_{name}"][-1] == compute(name, targets[:20], p, held_out[2])
        assert math.isfinite(model.report.metrics[name])


def test_evaluate_weighs_the_loss_too():
    outputs, weights = np.array([[1.0], [3.0]]), np.array([3.0, 1.0])
    values = evaluate(MeanSquaredError(), (METRICS["mean_absolute_error"],), np.zeros((2, 1)), outputs, weights)
    assert values == {"loss": 3.0, "mean_absolute_error": 1.5}
