"""50 epochs in float64 equal scikit-learn's MLP, an oracle that shares no code with this project."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.neural_network import _base as their_losses
from sklearn.neural_network import _multilayer_perceptron as theirs
from sklearn.preprocessing import scale

from nnaccel.backends import get_backend
from nnaccel.losses import as_loss
from nnaccel.network import Dense, Network
from nnaccel.optimizers import L2, as_optimizer
from nnaccel.order import batch_bounds
from nnaccel.plan import Plan
from nnaccel.program import Rows, TrainingState
from nnaccel.schedules import Plateau, PlateauState, Timeline, as_schedule
from tests.tolerance import assert_equals_oracle, assert_within, tolerance

EPOCHS, ROWS, BATCH = 50, 83, 20  # the last batch of an epoch has 3 rows
ACTIVATIONS = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
SOLVERS = {
    "sgd": ("sgd", {"momentum": 0.0, "nesterovs_momentum": False}),
    "momentum": ("sgd,momentum=0.9", {"momentum": 0.9, "nesterovs_momentum": False}),
    "nesterov": ("sgd,momentum=0.9,nesterov=true", {"momentum": 0.9, "nesterovs_momentum": True}),
    "adam": ("adam", {}),
}

SCHEDULES = {
    "constant": {"learning_rate": "constant"},
    "inverse_scaling,power=0.3": {"learning_rate": "invscaling", "power_t": 0.3},
    "plateau,patience=5,tolerance=0.006,minimum=0": {"learning_rate": "adaptive", "n_iter_no_change": 5, "tol": 0.006},
}


def iris():
    x, y = load_iris(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(x))[:ROWS]
    return scale(x[rows]), y[rows]


def task_of(name):
    """Data, their estimator and our loss, with the targets as ours takes them."""
    if name in ("regression", "multi-output", "poisson"):
        x, y = load_diabetes(return_X_y=True)
        x, y = scale(x[:ROWS]), y[:ROWS] / 50
        if name == "poisson":
            return x, y, MLPRegressor(loss="poisson"), "poisson", y[:, None]
        targets = np.stack([y, x[:, 0] - y], axis=1) if name == "multi-output" else y[:, None]
        return x, targets if name == "multi-output" else y, MLPRegressor(), "half_squared_error", targets
    x, y = iris()
    if name == "multiclass":
        return x, y, MLPClassifier(), "softmax_cross_entropy", y
    if name == "binary":
        y = (y == 1).astype(int)
        return x, y, MLPClassifier(), "binary_cross_entropy", y[:, None]
    y = np.stack([y == 0, y > 0, x[:, 1] > 0], axis=1).astype(int)
    return x, y, MLPClassifier(), "binary_cross_entropy", y


class Recorder:
    """What their fit began with and the orders that it drew."""

    def __init__(self, monkeypatch):
        self.orders, self.layers = [], []
        shuffle, fit = theirs.shuffle, theirs.BaseMultilayerPerceptron._fit_stochastic

        def noting_shuffle(rows, **options):
            self.orders.append(shuffle(rows, **options))
            return self.orders[-1]

        def noting_fit(estimator, *arguments):
            pairs = zip(estimator.coefs_, estimator.intercepts_, strict=True)
            self.layers = [(w.copy(), b.copy()) for w, b in pairs]
            return fit(estimator, *arguments)

        monkeypatch.setattr(theirs, "shuffle", noting_shuffle)
        monkeypatch.setattr(theirs.BaseMultilayerPerceptron, "_fit_stochastic", noting_fit)


def assert_trains_like_theirs(
    monkeypatch, task, activation="tanh", solver="adam", alpha=1e-4, weighted=False, schedule="constant"
):
    x, y, estimator, loss, targets = task_of(task)
    optimizer, settings = SOLVERS[solver]
    weights = np.random.default_rng(1).uniform(0.2, 2, ROWS) if weighted else None
    estimator.set_params(
        hidden_layer_sizes=(7, 5), activation=activation, solver=optimizer.split(",")[0], alpha=alpha, batch_size=BATCH,
        learning_rate_init=0.02, max_iter=EPOCHS, random_state=3, **{"tol": 0, "n_iter_no_change": EPOCHS, **settings, **SCHEDULES[schedule]},
    )  # fmt: skip
    recorder = Recorder(monkeypatch)
    with pytest.warns(ConvergenceWarning):
        estimator.fit(x, y, sample_weight=weights)

    hidden = [Dense(units, ACTIVATIONS[activation]) for units in (7, 5)]
    network = Network(x.shape[1], [*hidden, Dense(estimator.n_outputs_)])
    rule = as_optimizer(f"{optimizer},learning_rate=0.02")
    plan = Plan(network, as_loss(loss), rule, L2(alpha, "row"), dtype="float64")
    state = TrainingState.initial(plan, 0, network.pack(recorder.layers, "float64"))
    run = get_backend("cpu").compile(plan).start(state, Rows(x, targets, weights))

    bounds = batch_bounds(ROWS, BATCH)
    timeline = Timeline(EPOCHS, len(bounds) - 1, ROWS)
    rates, plateau = as_schedule(schedule), PlateauState()
    factors = rates.factors(np.arange(float(timeline.steps)), timeline, np)
    # They add up the squares of a row's outputs in the gradient, but report their mean.
    reported = targets.shape[1] if loss == "half_squared_error" else 1
    curve = []
    for epoch, order in enumerate(recorder.orders):
        steps = np.tile(rule.base_step, (timeline.steps_per_epoch, 1))
        steps[:, 0] *= factors[epoch * timeline.steps_per_epoch :][: timeline.steps_per_epoch] * plateau.factor
        losses, weight, penalties = run.train(order.astype(np.int32), bounds, steps).T
        # They count a batch by its rows, whatever these weigh.
        curve.append(np.sum((losses / weight / reported + penalties) * np.diff(bounds)) / ROWS)
        if isinstance(rates, Plateau):
            plateau = rates.after_epoch(plateau, curve[-1])

    assert len(curve) == EPOCHS
    assert (plateau.factor < 1) == isinstance(rates, Plateau), "the plateau was never reached"
    assert_equals_oracle(curve, estimator.loss_curve_)
    got = network.unpack(run.state().parameters, np)
    for layer, w, b in zip(got, estimator.coefs_, estimator.intercepts_, strict=True):
        assert_equals_oracle(layer["weight"], w)
        assert_equals_oracle(layer["bias"], b)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "regression", "multi-output", "poisson"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_task_and_solver(monkeypatch, task, solver):
    assert_trains_like_theirs(monkeypatch, task, solver=solver, alpha=0.01)


@pytest.mark.parametrize("task", ["multiclass", "regression"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_activation(monkeypatch, activation, solver, task):
    assert_trains_like_theirs(monkeypatch, task, activation, solver)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_sample_weights_and_penalty(monkeypatch, task, solver):
    assert_trains_like_theirs(monkeypatch, task, solver=solver, alpha=1.0, weighted=True)


@pytest.mark.parametrize("schedule", [schedule for schedule in SCHEDULES if schedule != "constant"])
@pytest.mark.parametrize("solver", ["sgd", "momentum", "nesterov"])
def test_every_schedule_of_theirs(monkeypatch, solver, schedule):
    assert_trains_like_theirs(monkeypatch, "multiclass", solver=solver, schedule=schedule)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_clipped_cross_entropies_are_their_loss_values(dtype):
    outputs = np.random.default_rng(0).normal(0, 60, (400, 4)).astype(dtype)
    labels = np.arange(400) % 4
    multiclass, multilabel = as_loss("softmax_cross_entropy,clip=true"), as_loss("binary_cross_entropy,clip=true")
    each, several = np.eye(4, dtype=dtype)[labels], (outputs[::-1] > 0).astype(dtype)
    cases = [
        (multiclass, labels, each, their_losses.log_loss),
        (multilabel, several, several, their_losses.binary_log_loss),
    ]
    for loss, ours, wanted, their_loss in cases:
        values, gradient = loss.value_and_gradient(outputs, ours, np)
        want = their_loss(wanted, loss.predict(outputs, np))
        assert_within(values.mean(), want, tolerance(want, len(values), dtype))
        free, gradient_of_free = as_loss(loss.name).value_and_gradient(outputs, ours, np)
        assert values.max() < free.max()
        np.testing.assert_array_equal(gradient, gradient_of_free)
