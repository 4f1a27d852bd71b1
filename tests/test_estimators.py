"""The estimators are scikit-learn's in every number, warning and error; they work wherever its own do; and their extras."""

import contextlib
import copy
import functools
import io
import itertools
import pickle
import threading
import warnings
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn
from sklearn import neural_network
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import BaggingClassifier
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, GroupShuffleSplit, ShuffleSplit, cross_val_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import compute_sample_weight

import nnaccel.estimators.data
from nnaccel import MLPClassifier, MLPRegressor
from nnaccel.activations import ACTIVATIONS as OUR_ACTIVATIONS
from nnaccel.activations import LeakyReLU
from nnaccel.losses import Huber, Poisson
from nnaccel.schedules import Cosine
from tests.test_against_sklearn import ACTIVATIONS, BATCH, ROWS, SOLVERS, task_of
from tests.tolerance import SAME_OPTIMUM, assert_equals_oracle, assert_trajectory_close, assert_within

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")

EPOCHS = 100
OURS = {neural_network.MLPClassifier: MLPClassifier, neural_network.MLPRegressor: MLPRegressor}
TASKS = ("binary", "multiclass", "multilabel", "regression", "multi-output", "poisson")
both_backends = pytest.mark.parametrize("backend", ["cpu", "numba"])


def problem(task, **settings):
    """Rows, targets and scikit-learn's estimator for a task, with settings under which it learns."""
    x, y, estimator, *_ = task_of(task)
    common = {
        "hidden_layer_sizes": (7, 5), "activation": "tanh", "batch_size": BATCH, "learning_rate_init": 0.02,
        "max_iter": EPOCHS, "random_state": 3, "tol": 0, "n_iter_no_change": EPOCHS,
    }  # fmt: skip
    return x, y, estimator.set_params(**{**common, **settings})


def ours_like(theirs, **more):
    """Our estimator with the parameters of theirs."""
    return OURS[type(theirs)](**theirs.get_params(), **more)


def ours_for(task, backend="numba", **settings):
    """Rows, targets and our estimator; settings may be extras."""
    x, y, theirs = problem(task)
    return x, y, ours_like(theirs, backend=backend).set_params(**settings)


class Events(NamedTuple):
    """What a call did besides its result. NumPy's own warnings, of overflows, aren't part of it."""

    error: Any
    warned: list
    printed: str


def events_of(action):
    """What an action raised, warned of and printed."""
    error, printed = None, io.StringIO()
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(printed), np.errstate(all="ignore"):
        warnings.simplefilter("always")
        try:
            action()
        except Exception as raised:
            error = raised
    warned = [(w.category, str(w.message)) for w in caught if w.category is not RuntimeWarning]
    return Events(error, warned, printed.getvalue())


def assert_same(got, want):
    """Two attributes or results are equal, numbers as closely as an oracle can tell."""
    if isinstance(want, (list, tuple)) and not all(isinstance(one, (int, float)) for one in want):
        assert len(got) == len(want)
        for a, b in zip(got, want, strict=True):
            assert_same(a, b)
    elif want is None or isinstance(want, str):
        assert got == want
    elif np.asarray(want).dtype.kind == "f":
        assert np.asarray(got).dtype == np.asarray(want).dtype
        if len(np.ravel(want)) and np.isfinite(want).all():
            assert_equals_oracle(got, want)
        else:
            np.testing.assert_array_equal(got, want)
    else:
        assert np.asarray(got).dtype == np.asarray(want).dtype
        np.testing.assert_array_equal(got, want)


def assert_same_estimator(ours, theirs, x):
    """All public attributes that scikit-learn's has ours has as well, and it predicts the same."""
    public = {name for name in vars(theirs) if name.endswith("_") and not name.startswith("_")}
    assert public <= set(vars(ours))
    for name in sorted(public):
        assert_same(getattr(ours, name), getattr(theirs, name))
    assert_same(ours.predict(x), theirs.predict(x))
    if hasattr(theirs, "predict_proba"):
        assert_same(ours.predict_proba(x), theirs.predict_proba(x))


@functools.cache
def fit_of_theirs(task, settings, prepare):
    """Scikit-learn's fit, which both backends are compared with."""
    x, y, theirs = problem(task, **dict(settings))
    arguments = prepare(x, y) if prepare else (x, y)
    return theirs, arguments, events_of(lambda: theirs.fit(*arguments))


def assert_fits_like_theirs(backend, task, settings, prepare=None):
    theirs, arguments, events = fit_of_theirs(task, tuple(settings.items()), prepare)
    assert events.error is None
    ours = ours_like(theirs, backend=backend)
    assert events_of(lambda: ours.fit(*arguments)) == events
    assert_same_estimator(ours, theirs, arguments[0])
    return ours, theirs


# --- equal to scikit-learn's ---

STEPS = {name: {"solver": rule.split(",")[0], **settings} for name, (rule, settings) in SOLVERS.items()}
RULES = {
    **STEPS,
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.2},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.005, "n_iter_no_change": 3, "momentum": 0.5},
    "adaptive without nesterov": {**STEPS["momentum"], "learning_rate": "adaptive", "tol": 0.01, "n_iter_no_change": 4},
    "other moments": {"solver": "adam", "beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-5},
}
# Every rule meets every task, every activation meets every task, and every rule meets every activation.
TRAININGS = {
    f"{rule}, {activation}, {task}": (task, {**RULES[rule], "activation": activation})
    for (i, rule), (j, task) in itertools.product(enumerate(RULES), enumerate(TASKS))
    for activation in [list(ACTIVATIONS)[(i + j) % len(ACTIVATIONS)]]
} | {
    f"{rule}, {activation}, {task}": (task, {**RULES[rule], "activation": activation})
    for activation, (rule, task) in itertools.product(
        ACTIVATIONS, [("adam", task) for task in TASKS] + [(rule, "multiclass") for rule in STEPS]
    )
}


@both_backends
@pytest.mark.parametrize("training", TRAININGS)
def test_a_hundred_epochs_are_theirs(training, backend):
    task, settings = TRAININGS[training]
    ours, _ = assert_fits_like_theirs(backend, task, settings)
    if "adaptive" not in training:
        assert ours.n_iter_ == EPOCHS


SGD, ADAM = STEPS["nesterov"], STEPS["adam"]
STOPS_EARLY = {"early_stopping": True, "validation_fraction": 0.25, "n_iter_no_change": 5, "tol": 1e-3}
PARAMETERS = {
    "an odd batch size": {"batch_size": 17},
    "the batch size that is auto": {"batch_size": "auto"},
    "a batch larger than the data": {"batch_size": 1000},
    "one row a batch": {"batch_size": 1, "max_iter": 5, "learning_rate_init": 0.001},
    "the order of the data": {"shuffle": False},
    "no penalty": {"alpha": 0},
    "a large penalty": {"alpha": 20.0},
    "early stopping": STOPS_EARLY,
    "early stopping that never stops": {"early_stopping": True, "max_iter": 20},
    "early stopping, clipped batches": {**STOPS_EARLY, "batch_size": 80},
    "early stopping with text": {**STOPS_EARLY, "verbose": True},
    "an integer fraction of none": {"early_stopping": True, "validation_fraction": 0.1, "shuffle": False},
    "one idle epoch": {"n_iter_no_change": 1, "tol": 0.01},
    "idle epochs without end": {"n_iter_no_change": np.inf, "tol": 10.0},
    "a high tolerance": {"n_iter_no_change": 4, "tol": 0.05},
    "text": {"verbose": True, "max_iter": 4},
    "text of a stop": {"verbose": 2, "n_iter_no_change": 2, "tol": 1.0},
    "one epoch": {"max_iter": 1},
    "no hidden layer": {"hidden_layer_sizes": ()},
    "a number of units": {"hidden_layer_sizes": 6},
    "four hidden layers": {"hidden_layer_sizes": (6, 5, 4, 3)},
    "one unit": {"hidden_layer_sizes": (1,)},
    "the defaults but for the seed": {
        "hidden_layer_sizes": (100,), "activation": "relu", "batch_size": "auto", "learning_rate_init": 0.001,
        "tol": 1e-4, "n_iter_no_change": 10,
    },
}  # fmt: skip


@both_backends
@pytest.mark.parametrize("task", ["binary", "multiclass", "multi-output"])
@pytest.mark.parametrize("parameters", PARAMETERS)
def test_every_parameter_means_what_theirs_means(parameters, task, backend):
    rule = SGD if task == "binary" else ADAM
    assert_fits_like_theirs(backend, task, {**rule, **PARAMETERS[parameters]})


@both_backends
@pytest.mark.parametrize("sizes", [[6, 5], np.array([6, 5]), np.int64(6)])
def test_hidden_layer_sizes_of_every_kind(sizes, backend):
    x, y, theirs = problem("multiclass", hidden_layer_sizes=sizes, max_iter=5)
    ours = ours_like(theirs, backend=backend)
    assert_same_estimator(ours.fit(x, y), theirs.fit(x, y), x)


@both_backends
def test_an_adaptive_learning_rate_stops_when_it_is_small(backend):
    settings = {**SGD, "learning_rate": "adaptive", "tol": 10.0, "n_iter_no_change": 1, "verbose": True}
    ours, _ = assert_fits_like_theirs(backend, "multiclass", settings)
    assert ours.n_iter_ < EPOCHS


def test_early_stopping_returns_to_its_best_epoch():
    """Without this the tables might compare two fits that end with their best epoch anyway."""
    for task in ("multiclass", "multi-output"):
        theirs, *_ = fit_of_theirs(task, tuple({**ADAM, **PARAMETERS["early stopping"]}.items()), None)
        assert theirs.n_iter_ < EPOCHS
        assert theirs.validation_scores_[-1] < theirs.best_validation_score_


def weights_for(x):
    return np.random.default_rng(1).uniform(0.2, 2, len(x))


def with_words(x, y):
    return x, np.array(["setosa", "versicolor", "virginica"])[y]


# What the data may be; each makes the arguments of fit out of rows and targets.
DATA = {
    "csr": lambda x, y: (scipy.sparse.csr_matrix(np.where(x > 0, x, 0)), y),
    "csc": lambda x, y: (scipy.sparse.csc_matrix(np.where(x > 0, x, 0)), y),
    "csr_array": lambda x, y: (scipy.sparse.csr_array(np.where(x > 0, x, 0)), y),
    "integers": lambda x, y: (np.round(3 * x).astype(int), y),
    "booleans": lambda x, y: (x > 0, y),
    "columns first": lambda x, y: (np.asfortranarray(x), y),
    "every second row": lambda x, y: (np.repeat(x, 2, axis=0)[::2], np.repeat(y, 2)[::2]),
    "backwards": lambda x, y: (x[::-1, ::-1], y[::-1]),
    "lists": lambda x, y: (x.tolist(), y.tolist()),
    "a table": lambda x, y: (pd.DataFrame(x, columns=[f"f{i}" for i in range(x.shape[1])]), pd.Series(y)),
    "a table whose columns are numbers": lambda x, y: (pd.DataFrame(x), pd.Series(y, index=range(7, 7 + len(y)))),
    "a column of targets": lambda x, y: (x, y[:, None]),
    "half precision": lambda x, y: (x.astype(np.float16), y),
    "objects": lambda x, y: (x.astype(object), y),
    "weights": lambda x, y: (x, y, weights_for(x)),
    "a list of whole weights": lambda x, y: (x, y, [1 + i % 3 for i in range(len(x))]),
    "rows of no weight": lambda x, y: (x, y, np.arange(len(x)) > 1),
    "one weight": lambda x, y: (x, y, 2.0),
    "weights and csr": lambda x, y: (scipy.sparse.csr_matrix(x), y, weights_for(x)),
    "two rows": lambda x, y: (x[:2], y[:2]),
    "one feature": lambda x, y: (x[:, :1], y),
}  # fmt: skip


@both_backends
@pytest.mark.parametrize("task", ["multiclass", "regression"])
@pytest.mark.parametrize("data", DATA)
def test_data_of_every_form(data, task, backend):
    assert_fits_like_theirs(backend, task, {**ADAM, "max_iter": 20}, DATA[data])


@both_backends
@pytest.mark.parametrize("data", ["csr", "csc", "weights", "weights and csr", "a table", "a column of targets"])
@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_early_stopping_with_data_of_every_form(task, data, backend):
    assert_fits_like_theirs(backend, task, {**ADAM, **STOPS_EARLY}, DATA[data])


LABELS = {
    "words": with_words,
    "objects": lambda x, y: (x, with_words(x, y)[1].astype(object)),
    "far numbers": lambda x, y: (x, np.array([-7, 5, 100])[y]),
    "whole floats": lambda x, y: (x, y.astype(float)),
    "truth values": lambda x, y: (x, y == 1),
    "two words": lambda x, y: (x, np.where(y == 1, "yes", "no")),
    "a single class": lambda x, y: (x, np.full_like(y, 4)),
}


@both_backends
@pytest.mark.parametrize("early", [{}, STOPS_EARLY])
@pytest.mark.parametrize("labels", LABELS)
def test_labels_of_every_form(labels, early, backend):
    assert_fits_like_theirs(backend, "multiclass", {**ADAM, "max_iter": 20, **early}, LABELS[labels])


@both_backends
@pytest.mark.parametrize("task", ["multilabel", "multi-output"])
@pytest.mark.parametrize("early", [{}, STOPS_EARLY])
def test_weights_of_rows_with_several_targets(task, early, backend):
    assert_fits_like_theirs(backend, task, {**SGD, "max_iter": 30, **early}, DATA["weights"])


def unscaled(x, y):
    return 1000 * x + 500, y


@both_backends
@pytest.mark.parametrize("activation", ["identity", "relu"])
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_the_loss_of_hopeless_predictions_is_clipped_like_theirs(task, activation, backend):
    settings = {**ADAM, "activation": activation, "max_iter": 5}
    ours, _ = assert_fits_like_theirs(backend, task, settings, unscaled)
    assert ours.loss_curve_[0] > 1, "nothing was clipped"


@both_backends
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "regression", "multi-output"])
@pytest.mark.parametrize("rule", ["adam", "nesterov"])
def test_float32_stays_float32_and_loses_no_more_than_theirs(rule, task, backend):
    x, y, exact = problem(task, **RULES[rule], max_iter=10)
    x = x.astype(np.float32)
    working, ours = clone(exact), ours_like(exact, backend=backend)
    for estimator, rows in ((exact, x.astype(np.float64)), (working, x), (ours, x)):
        estimator.fit(rows, y)
    for name in ("coefs_", "intercepts_"):
        triples = [getattr(estimator, name) for estimator in (ours, working, exact)]
        for got, single, double in zip(*triples, strict=True):
            assert got.dtype == single.dtype == np.float32
            assert_trajectory_close(got, single, double)
    method = "predict_proba" if hasattr(ours, "predict_proba") else "predict"
    assert getattr(ours, method)(x).dtype == getattr(working, method)(x).dtype


LBFGS = {
    "five iterations": {"max_iter": 5},
    "a large penalty": {"max_iter": 5, "alpha": 10.0},
    "logistic": {"max_iter": 5, "activation": "logistic"},
    "relu": {"max_iter": 5, "activation": "relu"},
    "no hidden layer": {"max_iter": 5, "hidden_layer_sizes": ()},
    "few evaluations": {"max_fun": 3},
    "a high tolerance": {"tol": 0.5},
}


@both_backends
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("parameters", LBFGS)
def test_the_first_iterations_of_lbfgs_are_theirs(parameters, task, backend):
    settings = {"solver": "lbfgs", "tol": 1e-4, **LBFGS[parameters]}
    ours, _ = assert_fits_like_theirs(backend, task, settings)
    assert not hasattr(ours, "loss_curve_")


@both_backends
@pytest.mark.parametrize("data", ["csr", "weights", "weights and csr", "a table"])
@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_lbfgs_with_data_of_every_form(task, data, backend):
    assert_fits_like_theirs(backend, task, {"solver": "lbfgs", "max_iter": 5}, DATA[data])


@both_backends
@pytest.mark.parametrize("task", TASKS)
def test_lbfgs_reaches_the_optimum_of_theirs(task, backend):
    """With a penalty under which the optimum is the same wherever rounding leads the search."""
    x, y, theirs = problem(task, solver="lbfgs", alpha=5.0, max_iter=500, tol=1e-4)
    ours = ours_like(theirs, backend=backend)
    assert events_of(lambda: ours.fit(x, y)) == events_of(lambda: theirs.fit(x, y))
    assert_within(ours.loss_, theirs.loss_, SAME_OPTIMUM * theirs.loss_)


STREAMS = {
    "all epochs": {"max_iter": 7},
    "a stop by the loss": {"tol": 0.05, "n_iter_no_change": 2},
    "an adaptive rate": {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.01, "n_iter_no_change": 2},
    "early stopping": STOPS_EARLY,
    "no shuffle": {"shuffle": False, "max_iter": 7},
    "lbfgs": {"solver": "lbfgs", "max_iter": 3},
}


@both_backends
@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
@pytest.mark.parametrize("settings", STREAMS)
def test_a_random_stream_is_left_where_theirs_leaves_it(settings, backend):
    after = []
    x, y, theirs = problem("multiclass", **STREAMS[settings])
    for estimator in (theirs, ours_like(theirs, backend=backend)):
        stream = np.random.RandomState(8)
        estimator.set_params(random_state=stream).fit(x, y)
        if estimator.solver != "lbfgs" and not estimator.early_stopping:
            estimator.partial_fit(x, y)
        np.random.seed(9)
        estimator.set_params(random_state=None).fit(x, y)
        after.append((stream.randint(1 << 30), np.random.randint(1 << 30)))
    assert after[0] == after[1]


WARM = {
    "adam": ADAM,
    "sgd": SGD,
    "invscaling": RULES["invscaling"],
    "a stop": {**ADAM, "tol": 0.05, "n_iter_no_change": 2},
    "early stopping": {**ADAM, **STOPS_EARLY},
    "lbfgs": {"solver": "lbfgs", "max_iter": 2},
}


@both_backends
@pytest.mark.parametrize("task", ["binary", "multiclass", "multi-output"])
@pytest.mark.parametrize("settings", WARM)
def test_a_warm_start_goes_on_like_theirs(settings, task, backend):
    x, y, theirs = problem(task, **{"max_iter": 12, **WARM[settings]}, warm_start=True)
    ours = ours_like(theirs, backend=backend)
    weights = weights_for(x)
    for weighted in (None, None, weights):
        happened = [events_of(lambda e=e, w=weighted: e.fit(x, y, sample_weight=w)) for e in (ours, theirs)]
        assert happened[0] == happened[1]
        assert happened[0].error is None
        assert_same_estimator(ours, theirs, x)
        # Theirs would go on with the very arrays that it remembers as the best, and overwrite them.
        theirs._best_coefs, theirs._best_intercepts = (
            [a.copy() for a in b] for b in (theirs.coefs_, theirs.intercepts_)
        )


def test_a_warm_start_may_go_on_with_another_solver():
    x, y, theirs = problem("multiclass", max_iter=3, warm_start=True)
    ours = ours_like(theirs)
    for solver in ("adam", "sgd", "lbfgs"):
        for estimator in (ours, theirs):
            events_of(lambda e=estimator, s=solver: e.set_params(solver=s).fit(x, y))
        assert_same_estimator(ours, theirs, x)


PARTS = {
    "adam": ADAM,
    "sgd": SGD,
    "invscaling": RULES["invscaling"],
    "adaptive": {**RULES["adaptive"], "tol": 1.0},
    "no shuffle": {**ADAM, "shuffle": False},
    "larger batches": {**ADAM, "batch_size": 50},
    "text": {**ADAM, "verbose": True},
}


@both_backends
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("settings", PARTS)
def test_a_stream_of_parts_is_learnt_like_theirs(settings, task, backend):
    x, y, theirs = problem(task, **PARTS[settings])
    ours = ours_like(theirs, backend=backend)
    classes = {"binary": [0, 1], "multiclass": [0, 1, 2], "multilabel": [0, 1, 2]}.get(task)
    for turn in range(8):
        part = slice(turn % 4 * 20, turn % 4 * 20 + 23)
        arguments = {"sample_weight": weights_for(x)[part] if turn % 2 else None}
        if turn == 0 and classes:
            arguments["classes"] = classes
        calls = [lambda e=e, p=part, a=arguments: e.partial_fit(x[p], y[p], **a) for e in (ours, theirs)]
        happened = [events_of(call) for call in calls]
        assert happened[0] == happened[1]
        assert happened[0].error is None
    assert_same_estimator(ours, theirs, x)


@both_backends
@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_matrix, scipy.sparse.csc_matrix])
def test_a_class_may_be_missing_from_the_first_part(form, backend):
    x, y, theirs = problem("multiclass")
    ours = ours_like(theirs, backend=backend)
    words = with_words(x, y)[1]
    for wanted in (y < 2, y == 2, y >= 0):
        for estimator in (ours, theirs):
            estimator.partial_fit(form(x[wanted]), words[wanted], classes=np.unique(words))
    assert_same_estimator(ours, theirs, x)


@both_backends
@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_parts_go_on_where_a_fit_ended(task, backend):
    x, y, theirs = problem(task, max_iter=5)
    ours = ours_like(theirs, backend=backend)
    for estimator in (ours, theirs):
        estimator.fit(x, y).partial_fit(x[:30], y[:30]).partial_fit(x[30:], y[30:])
    assert_same_estimator(ours, theirs, x)
    for estimator in (ours, theirs):
        estimator.fit(x[:50], y[:50])
    assert_same_estimator(ours, theirs, x)


@both_backends
@pytest.mark.parametrize("settings", [{}, {"solver": "lbfgs", "max_iter": 5}, {"shuffle": False}])
def test_a_sparse_matrix_that_is_too_large_to_be_dense(settings, backend, monkeypatch):
    """It goes block by block through the same arithmetic."""
    monkeypatch.setattr(nnaccel.estimators.data, "DENSE_BYTES", 0)
    row = np.dtype(float).itemsize * task_of("multiclass")[0].shape[1]
    for block_rows in (1, 45, ROWS):
        monkeypatch.setattr(nnaccel.estimators.data, "BLOCK_BYTES", block_rows * row)
        assert_fits_like_theirs(backend, "multiclass", {"max_iter": 10, **settings}, DATA["weights and csr"])


def test_the_signatures_begin_like_theirs_and_share_their_defaults():
    for theirs, ours in OURS.items():
        shared, own = theirs().get_params(), ours().get_params()
        assert {name: own[name] for name in shared} == shared
        assert [name for name in dir(theirs) if not name.startswith("_") and not hasattr(ours, name)] == []


# --- wrong input ---


class Misuse(NamedTuple):
    """A call that must fail as scikit-learn's does."""

    call: Any
    task: str = "multiclass"
    settings: dict = {}  # noqa: RUF012


def fit(x, y, estimator):
    estimator.fit(x, y)


def after_fit(call):
    """The misuse of a fitted estimator."""

    def misuse(x, y, estimator):
        events_of(lambda: estimator.set_params(max_iter=2).fit(x, y))
        call(x, y, estimator)

    return misuse


def with_nan(x):
    return np.where(np.arange(x.size).reshape(x.shape) == 7, np.nan, x)


BAD_VALUES = {
    "hidden_layer_sizes": [-1, (3, -1), (3, 0), "a", 0, None, (3.5,)],
    "activation": [3, None],
    "solver": ["a", 3, "ADAM"],
    "alpha": [-1, "a", None, np.nan],
    "batch_size": [0, -1, 1.5, "a"],
    "learning_rate_init": [0, -0.1, "a", None],
    "power_t": [-1, "a"],
    "max_iter": [0, -1, 2.5, "a"],
    "shuffle": ["a", 2, None],
    "random_state": [-1, "a", 1.5],
    "tol": [-1, "a"],
    "verbose": [-1, "a"],
    "warm_start": ["a", 2],
    "momentum": [-0.1, 1.1, "a"],
    "nesterovs_momentum": ["a", 2],
    "early_stopping": ["a", 2],
    "validation_fraction": [-0.1, 1.0, None],
    "beta_1": [-0.1, 1.0, "a"],
    "beta_2": [-0.1, 1.0, "a"],
    "epsilon": [0, -1, "a"],
    "n_iter_no_change": [0, -1, 2.5, "a"],
    "max_fun": [0, -1, 2.5],
}
MISUSES = {
    **{
        f"{name}={value!r}": Misuse(fit, settings={name: value})
        for name, values in BAD_VALUES.items()
        for value in values
    },
    "NaN in X": Misuse(lambda x, y, e: e.fit(with_nan(x), y)),
    "infinity in X": Misuse(lambda x, y, e: e.fit(np.where(x > 1, np.inf, x), y)),
    "NaN in sparse X": Misuse(lambda x, y, e: e.fit(scipy.sparse.csr_matrix(with_nan(x)), y)),
    "coo, which becomes csr": Misuse(lambda x, y, e: e.fit(scipy.sparse.csr_matrix(x)[:0], y[:0])),
    "X of one dimension": Misuse(lambda x, y, e: e.fit(x[:, 0], y)),
    "X of three dimensions": Misuse(lambda x, y, e: e.fit(x[None], y)),
    "no rows": Misuse(lambda x, y, e: e.fit(x[:0], y[:0])),
    "no features": Misuse(lambda x, y, e: e.fit(x[:, :0], y)),
    "X of words": Misuse(lambda x, y, e: e.fit(np.full(x.shape, "a"), y)),
    "X of complex numbers": Misuse(lambda x, y, e: e.fit(x + 1j, y)),
    "y too short": Misuse(lambda x, y, e: e.fit(x, y[:-1])),
    "no y": Misuse(lambda x, y, e: e.fit(x, None)),
    "NaN in y": Misuse(lambda x, y, e: e.fit(x, with_nan(y.astype(float)))),
    "NaN in y of a regression": Misuse(lambda x, y, e: e.fit(x, with_nan(y)), "regression"),
    "infinity in y of a regression": Misuse(lambda x, y, e: e.fit(x, y + np.inf), "regression"),
    "y of words for a regression": Misuse(lambda x, y, e: e.fit(x, np.full(len(y), "a")), "regression"),
    "y of numbers for a classification": Misuse(lambda x, y, e: e.fit(x, x[:, 0])),
    "y of mixed labels": Misuse(lambda x, y, e: e.fit(x, np.array([*y[:-1], "a"], object))),
    "several columns of classes": Misuse(lambda x, y, e: e.fit(x, np.stack([y, y], axis=1))),
    "y of three dimensions": Misuse(lambda x, y, e: e.fit(x, y[:, None, None])),
    "an unknown loss": Misuse(fit, "regression", {"loss": 3}),
    "weights too short": Misuse(lambda x, y, e: e.fit(x, y, sample_weight=np.ones(3))),
    "weights of two dimensions": Misuse(lambda x, y, e: e.fit(x, y, sample_weight=np.ones((len(x), 1)))),
    "NaN in the weights": Misuse(lambda x, y, e: e.fit(x, y, sample_weight=with_nan(weights_for(x)))),
    "words as weights": Misuse(lambda x, y, e: e.fit(x, y, sample_weight=["a"] * len(x))),
    "zero weights": Misuse(lambda x, y, e: e.fit(x, y, sample_weight=np.zeros(len(x)))),
    "zero weights, lbfgs": Misuse(
        lambda x, y, e: e.fit(x, y, sample_weight=np.zeros(len(x))), settings={"solver": "lbfgs"}
    ),
    "a validation set of one row": Misuse(
        lambda x, y, e: e.fit(x[:10], y[:10]), "regression", {"early_stopping": True, "validation_fraction": 0.01}
    ),
    "a validation set of no rows": Misuse(fit, "regression", {"early_stopping": True, "validation_fraction": 0.0}),
    "a class too rare to be held out": Misuse(
        lambda x, y, e: e.fit(x, np.arange(len(y)) == 0), settings={"early_stopping": True}
    ),
    "divergence": Misuse(fit, "regression", {**STEPS["sgd"], "learning_rate_init": 1e9, "max_iter": 20}),
    "divergence of classes": Misuse(
        lambda x, y, e: e.fit(1e200 * x, y), settings={**SGD, "activation": "relu", "learning_rate_init": 1e200}
    ),
    "parts without classes": Misuse(lambda x, y, e: e.partial_fit(x, y)),
    "parts with early stopping": Misuse(lambda x, y, e: e.partial_fit(x, y), "regression", {"early_stopping": True}),
    "parts for lbfgs": Misuse(lambda x, y, e: e.partial_fit(x, y, classes=[0, 1, 2]), settings={"solver": "lbfgs"}),
    "parts with an unseen class": Misuse(lambda x, y, e: e.partial_fit(x, y, classes=[0, 1])),
    "parts with a class unseen before": Misuse(after_fit(lambda x, y, e: e.partial_fit(x, y + 1))),
    "parts with other classes": Misuse(after_fit(lambda x, y, e: e.partial_fit(x, y, classes=[0, 1]))),
    "parts with other features": Misuse(after_fit(lambda x, y, e: e.partial_fit(x[:, 1:], y))),
    "parts of other outputs": Misuse(after_fit(lambda x, y, e: e.partial_fit(x, np.stack([y, y], axis=1))), "regression"),
    "a warm start with other classes": Misuse(after_fit(lambda x, y, e: e.fit(x, y + 1)), settings={"warm_start": True}),
    "a warm start with fewer classes": Misuse(
        after_fit(lambda x, y, e: e.fit(x[y > 0], y[y > 0])), settings={"warm_start": True}
    ),
    "a warm start with other features": Misuse(
        after_fit(lambda x, y, e: e.fit(x[:, 1:], y)), settings={"warm_start": True}
    ),
    "predicting before fitting": Misuse(lambda x, y, e: e.predict(x)),
    "probabilities before fitting": Misuse(lambda x, y, e: e.predict_proba(x)),
    "predicting numbers before fitting": Misuse(lambda x, y, e: e.predict(x), "regression"),
    "predicting other features": Misuse(after_fit(lambda x, y, e: e.predict(x[:, 1:]))),
    "predicting NaN": Misuse(after_fit(lambda x, y, e: e.predict(with_nan(x)))),
    "predicting one dimension": Misuse(after_fit(lambda x, y, e: e.predict_proba(x[0]))),
    "predicting no rows": Misuse(after_fit(lambda x, y, e: e.predict(x[:0]))),
    "predicting nothing": Misuse(after_fit(lambda x, y, e: e.predict(None))),
    "predicting words": Misuse(after_fit(lambda x, y, e: e.predict(np.full(x.shape, "a")))),
    "scoring another length": Misuse(after_fit(lambda x, y, e: e.score(x, y[:-1]))),
}  # fmt: skip
# Where there is more to choose from here the sentence says so.
OWN_CHOICES = ("activation=", "solver=", "validation_fraction=", "an unknown loss")
# These die in the middle of scikit-learn's arithmetic, with a message from NumPy.
CLEARER = {"parts of other outputs", "y of words for a regression"}


@both_backends
@pytest.mark.parametrize("name", MISUSES)
def test_wrong_input_fails_as_theirs_does(name, backend):
    misuse = MISUSES[name]
    happened = []
    for extras in (None, {"backend": backend}):
        x, y, estimator = problem(misuse.task, **misuse.settings)
        if extras:
            estimator = ours_like(estimator, **extras)
        happened.append(events_of(lambda e=estimator, x=x, y=y: misuse.call(x, y, e)))
    theirs, ours = happened
    assert theirs.error is not None, "it isn't wrong at all"
    assert isinstance(ours.error, ValueError if name in CLEARER else type(theirs.error))
    assert ours.warned == theirs.warned
    if name.startswith(OWN_CHOICES):
        assert str(ours.error).partition("must be")[0] == str(theirs.error).partition("must be")[0]
    elif name not in CLEARER:
        assert str(ours.error).startswith(str(theirs.error).rstrip("."))


# --- wherever scikit-learn's estimators work ---


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def pair(task="multiclass", **settings):
    """Rows, targets, and both estimators, which are quick."""
    x, y, theirs = problem(task, **{"max_iter": 15, "hidden_layer_sizes": (6,), **settings})
    return x, y, ours_like(theirs, backend="numba"), theirs


def table():
    """Rows with names, one column of words and one of numbers that need no change."""
    x, y = task_of("multiclass")[:2]
    frame = pd.DataFrame(x, columns=["sepal length", "sepal width", "petal length", "petal width"])
    return frame.assign(color=np.array(["red", "green", "blue"])[np.arange(len(x)) % 3]), with_words(x, y)[1]


def prepared(estimator):
    """The estimator behind a preparation of the table's columns."""
    numbers, words = ["sepal length", "petal width"], ["color"]
    columns = ColumnTransformer([("n", StandardScaler(), numbers), ("w", OneHotEncoder(sparse_output=False), words)])
    return make_pipeline(columns, estimator)


@pytest.mark.parametrize("output", ["default", "pandas"])
@pytest.mark.parametrize("early", [{}, STOPS_EARLY])
def test_a_pipeline_of_a_table(early, output):
    frame, words = table()
    _, _, ours, theirs = pair(**early)
    pipelines = [prepared(estimator).set_output(transform=output).fit(frame, words) for estimator in (ours, theirs)]
    assert_same(*[pipeline.predict_proba(frame) for pipeline in pipelines])
    assert_same(*[pipeline.score(frame, words) for pipeline in pipelines])
    assert hasattr(ours, "feature_names_in_") == (output == "pandas")
    assert "MLPClassifier" in pipelines[0]._repr_html_()
    again = clone(pipelines[0]).fit(frame, words)
    assert_same(again.predict_proba(frame), pipelines[0].predict_proba(frame))


def test_columns_of_other_names_are_refused():
    frame, words = table()
    numbers = frame.drop(columns="color")
    _, _, ours, theirs = pair()
    for call in (
        lambda e: e.predict(numbers[numbers.columns[::-1]]),
        lambda e: e.predict(numbers.rename(columns={"petal width": "width"})),
        lambda e: e.predict_proba(numbers.to_numpy()),
    ):
        happened = [events_of(lambda e=e, c=call: c(e.fit(numbers, words))) for e in (ours, theirs)]
        assert str(happened[0].error) == str(happened[1].error)
        assert happened[0].warned == happened[1].warned


@pytest.mark.parametrize("jobs", [1, 2])
def test_searches_and_cross_validation_choose_what_theirs_choose(jobs):
    x, y, ours, theirs = pair()
    grid = {"alpha": [0.01, 1.0], "solver": ["adam", "sgd"]}
    searches = [GridSearchCV(estimator, grid, cv=3, n_jobs=jobs).fit(x, y) for estimator in (ours, theirs)]
    assert_same(*[search.cv_results_["mean_test_score"] for search in searches])
    assert searches[0].best_params_ == searches[1].best_params_
    assert_same(*[search.predict_proba(x) for search in searches])
    assert_same(*[cross_val_score(estimator, x, y, n_jobs=jobs) for estimator in (ours, theirs)])
    regressors = pair("regression")
    assert_same(*[cross_val_score(estimator, *regressors[:2], n_jobs=jobs) for estimator in regressors[2:]])


def test_a_search_goes_through_the_extras():
    x, y, ours, _ = pair()
    grid = {"dropout": [0.0, [0.3]], "activation": ["gelu", ["silu"]], "class_weight": [None, "balanced"]}
    search = GridSearchCV(ours, grid, cv=2, error_score="raise").fit(x, y)
    assert search.best_estimator_.get_params() == ours.get_params() | search.best_params_


@pytest.mark.parametrize(
    "around",
    [
        lambda e: CalibratedClassifierCV(e, cv=3),
        lambda e: BaggingClassifier(e, n_estimators=3, random_state=0, max_samples=0.8, max_features=0.7),
        lambda e: BaggingClassifier(e, n_estimators=3, random_state=0, n_jobs=2),
    ],
)
def test_ensembles_are_what_theirs_make(around):
    x, y, ours, theirs = pair(batch_size="auto")  # theirs can't train on a batch that was drawn not once
    y = with_words(x, y)[1]
    assert_same(*[around(estimator).fit(x, y).predict_proba(x) for estimator in (ours, theirs)])


def test_other_meta_estimators():
    x, y, ours, theirs = pair()
    several = np.stack([y, y == 1], axis=1)
    assert_same(*[MultiOutputClassifier(estimator).fit(x, several).predict_proba(x) for estimator in (ours, theirs)])
    x, y, ours, theirs = pair("regression")
    targets = [TransformedTargetRegressor(e, transformer=StandardScaler()).fit(x, y) for e in (ours, theirs)]
    assert_same(*[target.predict(x) for target in targets])


@pytest.mark.usefixtures("routing")
def test_sample_weights_are_routed_through_pipelines_and_searches():
    x, y, ours, theirs = pair()
    weights, got = weights_for(x), []
    scaler = StandardScaler().set_fit_request(sample_weight=False)
    for estimator in (ours, theirs):
        estimator.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        search = GridSearchCV(make_pipeline(scaler, estimator), {"mlpclassifier__alpha": [0.01, 10.0]}, cv=2)
        search.fit(x, y, sample_weight=weights)
        got.append((search.cv_results_["mean_test_score"], search.predict_proba(x)))
    assert_same(*got)
    unweighted = clone(search).set_params(estimator__mlpclassifier=ours.set_fit_request(sample_weight=False))
    assert (unweighted.fit(x, y, sample_weight=weights).predict_proba(x) != got[0][1]).any()


@pytest.mark.usefixtures("routing")
def test_a_validation_set_is_routed_as_well():
    x, y, ours, _ = pair()
    ours.set_fit_request(eval_set=True)
    pipeline = make_pipeline(StandardScaler(), ours).fit(x, y, eval_set=(x[:9], y[:9]))
    assert len(pipeline[-1].validation_scores_) == pipeline[-1].n_iter_


def through_pickle(estimator, _):
    return pickle.loads(pickle.dumps(estimator))


def through_joblib(estimator, folder):
    joblib.dump(estimator, folder / "estimator")
    return joblib.load(folder / "estimator")


def through_a_mapped_file(estimator, folder):
    joblib.dump(estimator, folder / "estimator")
    return joblib.load(folder / "estimator", mmap_mode="r")


@both_backends
@pytest.mark.parametrize("through", [through_pickle, through_joblib, through_a_mapped_file])
@pytest.mark.parametrize("settings", [{}, SGD, {"random_state": np.random.RandomState(4)}, {"dropout": 0.3}])
def test_what_was_pickled_goes_on_as_if_it_never_had_been(through, settings, backend, tmp_path):
    x, y, ours = ours_for("multiclass", backend, **settings)
    ours.partial_fit(x[:40], y[:40], classes=[0, 1, 2])
    twin = through(ours, tmp_path)
    for estimator in (ours, twin):
        estimator.partial_fit(x[40:], y[40:]).partial_fit(x, y)
    assert vars(twin).keys() == vars(ours).keys()
    for name in ("coefs_", "intercepts_", "loss_curve_", "t_"):
        assert_same(getattr(twin, name), getattr(ours, name))
    np.testing.assert_array_equal(twin.predict_proba(x), ours.predict_proba(x))


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_parameters_round_trip(kind):
    changed = {
        "hidden_layer_sizes": [3, 2], "activation": ["tanh", LeakyReLU(0.2)], "solver": "sgd", "dropout": [0.1, 0.2],
        "learning_rate": Cosine(warmup=2.0), "callbacks": [print], "validation_fraction": ShuffleSplit(1), "threads": 2,
    }  # fmt: skip
    estimator = kind().set_params(**changed)
    assert estimator.get_params() == kind().get_params() | changed
    assert kind(**estimator.get_params()).get_params() == estimator.get_params()
    assert clone(estimator).get_params().keys() == estimator.get_params().keys()
    assert "threads=2" in repr(estimator)
    assert "warmup" in estimator._repr_html_()


@both_backends
def test_threads_fit_and_predict_at_once(backend):
    x, y, ours = ours_for("multiclass", backend, max_iter=20)
    fitted = clone(ours).fit(x, y)
    want, results = fitted.predict_proba(x), []

    def work(seed):
        own = clone(ours).set_params(random_state=seed % 2).fit(x, y)
        results.append((seed % 2, own.predict_proba(x), fitted.predict_proba(x)))

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    alone = [clone(ours).set_params(random_state=seed).fit(x, y).predict_proba(x) for seed in (0, 1)]
    assert len(results) == len(workers)
    for seed, own, shared in results:
        np.testing.assert_array_equal(own, alone[seed])
        np.testing.assert_array_equal(shared, want)


# --- the extras ---

CLASS_WEIGHTS = {
    "a dict": ("multiclass", {0: 1.0, 1: 3.0, 2: 0.5}),
    "balanced": ("multiclass", "balanced"),
    "a class that isn't named": ("multiclass", {1: 3.0}),
    "dicts of labels": ("multilabel", [{0: 1, 1: 2}, {0: 3, 1: 1}, {0: 1, 1: 1}]),
}


@both_backends
@pytest.mark.parametrize("settings", [{"max_iter": 20}, STOPS_EARLY, {"solver": "lbfgs", "max_iter": 5}])
@pytest.mark.parametrize("weights", CLASS_WEIGHTS)
def test_a_class_weight_is_the_sample_weights_it_means(weights, settings, backend):
    task, class_weight = CLASS_WEIGHTS[weights]
    for own in (None, weights_for(range(ROWS))):
        x, y, theirs = problem(task, **settings)
        ours = ours_like(theirs, backend=backend, class_weight=class_weight)
        meant = compute_sample_weight(class_weight, y) * (1 if own is None else own)
        calls = [functools.partial(ours.fit, x, y, own), functools.partial(theirs.fit, x, y, meant)]
        happened = [events_of(call) for call in calls]
        assert happened[0] == happened[1]
        assert_same_estimator(ours, theirs, x)


@pytest.mark.parametrize("weights", [{0: 1.0, 1: 3.0, 2: 0.5}, {1: 3.0}])
def test_class_weights_in_parts(weights):
    x, y, ours = ours_for("multiclass", class_weight=weights)
    theirs = problem("multiclass")[2]
    for part in (slice(50), slice(50, None)):
        ours.partial_fit(x[part], y[part], classes=[0, 1, 2])
        theirs.partial_fit(x[part], y[part], compute_sample_weight(ours.class_weight, y[part]), classes=[0, 1, 2])
    assert_same_estimator(ours, theirs, x)
    rest = y != 1
    ours.partial_fit(x[rest], y[rest])
    theirs.partial_fit(x[rest], y[rest], [weights.get(label, 1.0) for label in y[rest]])
    assert_same_estimator(ours, theirs, x)


def smoothed(y, classes, smoothing):
    """The rows that label smoothing means: each again for every class, with what this is wanted as its weight."""
    wanted = np.tile(np.arange(classes), len(y))
    weights = (1 - smoothing) * (np.repeat(y, classes) == wanted) + smoothing / classes
    return np.repeat(np.arange(len(y)), classes), wanted, weights


@both_backends
@pytest.mark.parametrize(("task", "classes"), [("binary", 2), ("multiclass", 3)])
def test_label_smoothing_wants_every_class_a_little(task, classes, backend):
    x, y, theirs = problem(task, batch_size=1000, shuffle=False, max_iter=50, **SGD)
    ours = ours_like(theirs, backend=backend, label_smoothing=0.3)
    rows, wanted, weights = smoothed(y, classes, 0.3)
    events_of(lambda: ours.fit(x, y))
    events_of(lambda: theirs.fit(x[rows], wanted, weights))
    assert_same(ours.coefs_, theirs.coefs_)
    assert_same(ours.predict_proba(x), theirs.predict_proba(x))
    assert_same(ours.loss_curve_, theirs.loss_curve_)


def half_cosine(begin, end, time):
    return end + (begin - end) * (1 + np.cos(np.pi * time)) / 2


SCHEDULES = {
    "constant": lambda epoch, last: 1.0,
    "cosine": lambda epoch, last: half_cosine(1, 0, epoch / (last + 1)),
    "cosine,warmup=4": lambda epoch, last: half_cosine(1, 0, epoch / (last + 1)) * min(1, (epoch + 1) / 4),
    "step,every=3": lambda epoch, last: 0.1 ** (epoch // 3),
    "step,every=3,factor=0.5": lambda epoch, last: 0.5 ** (epoch // 3),
    "one_cycle": lambda epoch, last: (
        half_cosine(0.04, 1, epoch / last / 0.3)
        if epoch / last < 0.3
        else half_cosine(1, 4e-6, (epoch / last - 0.3) / 0.7)
    ),
}


@both_backends
@pytest.mark.parametrize("rule", ["sgd", "nesterov", "adam"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_multiplies_the_learning_rate(schedule, rule, backend):
    """As if scikit-learn's learning rate were set by hand before each epoch of one batch."""
    count = 12
    x, y, theirs = problem("multiclass", batch_size=ROWS, shuffle=False, max_iter=count, **STEPS[rule])
    ours = ours_like(theirs, backend=backend).set_params(learning_rate=schedule).fit(x, y)
    rate = theirs.learning_rate_init
    for epoch in range(count):
        factor = SCHEDULES[schedule](epoch, count - 1)
        if epoch == 0:  # Without an optimizer yet, whose learning rate could be set.
            theirs.learning_rate_init = rate * factor
        else:
            theirs._optimizer.learning_rate = theirs._optimizer.learning_rate_init = rate * factor
        theirs.partial_fit(x, y, classes=[0, 1, 2])
    assert_same(ours.coefs_, theirs.coefs_)
    assert_same(ours.loss_curve_, theirs.loss_curve_)


@both_backends
@pytest.mark.parametrize("name", OUR_ACTIVATIONS)
def test_every_activation_learns_and_predicts_what_its_formula_says(name, backend):
    x, y, ours = ours_for("multiclass", backend, activation=name, max_iter=30)
    ours.fit(x, y)
    assert ours.loss_curve_[-1] < ours.loss_curve_[0] / 2
    activation, rows = OUR_ACTIVATIONS[name](), x
    for weights, biases in zip(ours.coefs_[:-1], ours.intercepts_[:-1], strict=True):
        rows = activation.value(rows @ weights + biases, np)
    exponentials = np.exp(rows @ ours.coefs_[-1] + ours.intercepts_[-1])
    assert_same(ours.predict_proba(x), exponentials / exponentials.sum(axis=1, keepdims=True))


@both_backends
@pytest.mark.parametrize("several", [["tanh", "tanh"], ("tanh", "tanh")])
def test_each_layer_may_have_its_activation(several, backend):
    x, y, ours = ours_for("multiclass", backend, max_iter=10)
    one = clone(ours).fit(x, y)
    each = clone(ours).set_params(activation=several).fit(x, y)
    assert_same(each.coefs_, one.coefs_)
    mixed = clone(ours).set_params(activation=["tanh", LeakyReLU(0.2)]).fit(x, y)
    hidden = np.tanh(x @ mixed.coefs_[0] + mixed.intercepts_[0]) @ mixed.coefs_[1] + mixed.intercepts_[1]
    hidden = np.where(hidden > 0, hidden, 0.2 * hidden)
    exponentials = np.exp(hidden @ mixed.coefs_[2] + mixed.intercepts_[2])
    assert_same(mixed.predict_proba(x), exponentials / exponentials.sum(axis=1, keepdims=True))


@both_backends
@pytest.mark.parametrize("dropout", [0.3, [0.3, 0.1], (0.0, 0.5)])
def test_dropout(dropout, backend):
    x, y, plain = ours_for("multiclass", backend, max_iter=60)
    fits = [clone(plain).set_params(dropout=dropout, random_state=seed).fit(x, y) for seed in (3, 3, 4)]
    assert_same(fits[0].coefs_, fits[1].coefs_)
    assert fits[0].loss_curve_[-1] != fits[2].loss_curve_[-1]
    assert fits[0].loss_curve_[-1] > plain.fit(x, y).loss_curve_[-1], "what is dropped can't help"
    assert fits[0].score(x, y) > 0.8
    np.testing.assert_array_equal(fits[0].predict_proba(x), fits[0].predict_proba(x))


@both_backends
def test_a_clipped_gradient_moves_the_parameters_no_further_than_it_is_long(backend):
    x, y, ours = ours_for("multiclass", backend, batch_size=ROWS, max_iter=1, **STEPS["sgd"])
    start = clone(ours).set_params(learning_rate_init=1e-300).fit(x, y)
    moved = []
    for norm in (None, 0.01, 1e9):
        stepped = clone(ours).set_params(clip_norm=norm).fit(x, y)
        pairs = zip(stepped.coefs_ + stepped.intercepts_, start.coefs_ + start.intercepts_, strict=True)
        moved.append(np.concatenate([(after - before).ravel() for after, before in pairs]))
    assert np.linalg.norm(moved[0]) > 0.02 * 0.01
    assert_same(np.linalg.norm(moved[1]), np.float64(0.02 * 0.01))
    assert_same(moved[1] / np.linalg.norm(moved[1]), moved[0] / np.linalg.norm(moved[0]))
    assert_same(moved[2], moved[0])


@both_backends
@pytest.mark.parametrize("task", ["multiclass", "multilabel", "regression", "multi-output"])
def test_a_validation_set_of_ones_own_is_watched_and_never_trained_on(task, backend):
    x, y, ours = ours_for(task, backend, max_iter=30)
    held = slice(60, None)
    alone = clone(ours).fit(x[:60], y[:60])
    watched = clone(ours).fit(x[:60], y[:60], eval_set=(x[held], y[held]))
    assert_same(watched.coefs_, alone.coefs_)
    assert_same(watched.loss_curve_, alone.loss_curve_)
    assert len(watched.validation_scores_) == 30
    assert_same(watched.validation_scores_[-1], float(alone.score(x[held], y[held])))
    settings = {"early_stopping": True, "n_iter_no_change": 3, "tol": 0.01, "max_iter": 500}
    weights = weights_for(x)
    stopped = clone(ours).set_params(**settings).fit(x[:60], y[:60], eval_set=(x[held], y[held], weights[held]))
    assert stopped.n_iter_ < 500
    assert stopped.best_validation_score_ == max(stopped.validation_scores_)
    assert_same(stopped.best_validation_score_, float(stopped.score(x[held], y[held], weights[held])))
    best = int(np.argmax(stopped.validation_scores_)) + 1
    assert_same(stopped.coefs_, clone(ours).set_params(max_iter=best).fit(x[:60], y[:60]).coefs_)


def test_a_validation_set_may_have_words_for_labels_and_rows_of_every_form():
    x, y, ours = ours_for("multiclass", max_iter=5)
    words = with_words(x, y)[1]
    want = clone(ours).fit(x, words, eval_set=(x[:20], words[:20])).validation_scores_
    for rows in (scipy.sparse.csr_matrix(x[:20]), pd.DataFrame(x[:20]), x[:20].tolist(), np.asfortranarray(x[:20])):
        assert_same(clone(ours).fit(x, words, eval_set=(rows, words[:20].tolist())).validation_scores_, want)


def test_a_validation_set_may_have_sparse_labels_or_no_weights():
    x, y, ours = ours_for("multilabel", max_iter=3)
    want = clone(ours).fit(x, y, eval_set=(x, y)).validation_scores_
    for given in ((x, scipy.sparse.csr_matrix(y)), (x, y, None)):
        assert clone(ours).fit(x, y, eval_set=given).validation_scores_ == want


@both_backends
def test_a_splitter_says_which_rows_are_held_out(backend):
    x, y, ours = ours_for("multiclass", backend, **STOPS_EARLY)
    splitter = ShuffleSplit(3, test_size=0.3, random_state=1)
    training, held = next(splitter.split(x))
    words = with_words(x, y)[1]
    split = clone(ours).set_params(validation_fraction=splitter).fit(x, words)
    given = clone(ours).fit(x[training], words[training], eval_set=(x[held], words[held]))
    assert_same(split.validation_scores_, given.validation_scores_)
    assert_same(split.coefs_, given.coefs_)
    with pytest.raises(ValueError, match="'groups'"):
        clone(ours).set_params(validation_fraction=GroupShuffleSplit(1)).fit(x, y)


def test_scoring_says_what_is_watched():
    x, y, ours = ours_for("multiclass", **STOPS_EARLY)
    fits = {
        scoring: clone(ours).set_params(scoring=scoring).fit(x, y)
        for scoring in (None, "accuracy", "neg_log_loss", "balanced_accuracy")
    }
    assert_same(fits["accuracy"].validation_scores_, fits[None].validation_scores_)
    assert max(fits["neg_log_loss"].validation_scores_) < 0
    negative = clone(ours).set_params(scoring=lambda e, x, y: -e.score(x, y), max_iter=3).fit(x, y)
    assert_same(negative.validation_scores_, [-score for score in fits[None].validation_scores_[:3]])
    made = make_scorer(sklearn.metrics.log_loss, response_method="predict_proba", greater_is_better=False)
    assert_same(
        clone(ours).set_params(scoring=made).fit(x, y).validation_scores_, fits["neg_log_loss"].validation_scores_
    )


def test_callbacks_are_called_after_each_epoch_and_may_stop():
    x, y, ours = ours_for("multiclass", max_iter=12)
    seen = []

    def note(estimator):
        seen.append((estimator.n_iter_, estimator.loss_curve_[-1], estimator.predict_proba(x)))

    ours.set_params(callbacks=[note, lambda e: e.n_iter_ == 5, note]).fit(x, y)
    assert [epoch for epoch, *_ in seen] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert [loss for _, loss, _ in seen[::2]] == ours.loss_curve_
    shorter = clone(ours).set_params(callbacks=None, max_iter=3).fit(x, y)
    assert_same(seen[5][2], shorter.predict_proba(x))
    seen.clear()
    ours.partial_fit(x, y)
    assert len(seen) == 2


def test_a_copy_from_a_callback_is_not_in_the_middle_of_a_fit():
    x, y, ours = ours_for("multiclass", max_iter=3)
    copies = []
    ours.set_params(callbacks=[lambda e: copies.append(copy.copy(e))]).fit(x, y, eval_set=(x, y))
    assert len(copies) == 3
    for one in copies:
        scores = one.validation_scores_
        assert one.set_params(callbacks=None).partial_fit(x, y).validation_scores_ == scores


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
def test_callbacks_see_how_far_lbfgs_is():
    x, y, ours = ours_for("multiclass", solver="lbfgs", max_iter=4)
    seen = []
    ours.set_params(callbacks=[lambda e: seen.append((e.n_iter_, e.loss_))])
    for _ in range(2):
        ours.fit(x, y)
        assert [iteration for iteration, _ in seen] == [1, 2, 3, 4]
        assert seen[-1][1] == ours.loss_
        seen.clear()


@both_backends
@pytest.mark.parametrize("early", [{}, {"early_stopping": True}])
def test_a_time_limit_ends_a_fit(early, backend):
    x, y, ours = ours_for("multiclass", backend, max_iter=10**7, n_iter_no_change=np.inf, time_limit=0.2, **early)
    ours.fit(x, y)
    assert 0 < ours.n_iter_ < 10**7
    assert len(ours.loss_curve_) == ours.n_iter_
    assert ours.score(x, y) > 0.5


@both_backends
@pytest.mark.parametrize("rule", ["sgd", "nesterov", "adam", "invscaling"])
def test_two_fits_that_resume_are_one(rule, backend):
    x, y, ours = ours_for("multiclass", backend, shuffle=False, max_iter=10, **RULES[rule])
    whole = clone(ours).fit(x, y)
    halves = clone(ours).set_params(max_iter=5, warm_start=True, resume=True).fit(x, y).fit(x, y)
    assert_same(halves.coefs_, whole.coefs_)
    assert_same(halves.loss_curve_, whole.loss_curve_)
    cold = clone(ours).set_params(max_iter=5, warm_start=True).fit(x, y).fit(x, y)
    assert rule in ("sgd", "invscaling") or (cold.coefs_[0] != whole.coefs_[0]).any()


@both_backends
def test_dtype_and_threads(backend):
    x, y, ours = ours_for("multiclass", backend, max_iter=10)
    single = clone(ours).set_params(dtype="float32").fit(x, y)
    assert {a.dtype for a in single.coefs_ + single.intercepts_} == {np.dtype(np.float32)}
    assert_same(single.coefs_, clone(ours).fit(x.astype(np.float32), y).coefs_)
    double = clone(ours).set_params(dtype="float64").fit(x.astype(np.float32), y)
    assert_same(double.coefs_, clone(ours).fit(x.astype(np.float32).astype(float), y).coefs_)
    fits = [clone(ours).set_params(threads=threads).fit(x, y) for threads in (None, 1, 2)]
    assert_same(fits[1].coefs_, fits[0].coefs_)
    assert_same(fits[2].coefs_, fits[0].coefs_)


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "huber,delta=0.5", Huber(0.5), "mean_squared_error"])
def test_other_losses_are_learnt(loss):
    x, y, ours = ours_for("regression", loss=loss, max_iter=60)
    assert ours.fit(x, y).score(x, y) > 0.3
    assert ours.loss_curve_[-1] < ours.loss_curve_[0]


# A bad value of each extra, and what its sentence says.
REFUSED = {
    "class_weight": [
        ("typo", "class_weight"), (3, "class_weight"), ({7: 1.0}, "class_weight"),
    ],
    "label_smoothing": [(1.0, "label_smoothing"), (-0.1, "label_smoothing"), ("a", "label_smoothing")],
    "dropout": [
        (1.0, "dropout"), (-0.1, "dropout"), ("a", "dropout"), (None, "dropout"), ([0.1], "1 entries for 2 hidden layers"),
        ([0.1, 2.0], "dropout must be at least 0"), (["a", 0.1], "dropout must be a number"),
    ],
    "activation": [
        ("typo", "unknown activation 'typo'"), (["relu"], "1 entries for 2 hidden layers"), (["relu", "typo"], "'typo'"),
        ("leaky_relu,slope=a", "slope"), ([1, 2], "1 is no activation"), (3, "activation"),
    ],
    "learning_rate": [
        ("typo", "unknown schedule 'typo'"), ("step,every=0", "every"), ("cosine,foo=3", "foo=3"), (3, "learning_rate"),
        (LeakyReLU(0.1), "no schedule"),
    ],
    "weight_decay": [(-1, "weight_decay"), ("a", "weight_decay")],
    "clip_norm": [(0, "clip_norm"), (-1, "clip_norm"), ("a", "clip_norm")],
    "validation_fraction": [(1.0, "validation_fraction"), (None, "validation_fraction")],
    "scoring": [("typo", "'typo' is not a valid scoring value"), (3, "scoring")],
    "callbacks": [(print, "callbacks"), (3, "callbacks")],
    "time_limit": [(0, "time_limit"), (-1, "time_limit"), ("a", "time_limit")],
    "resume": [("a", "resume"), (None, "resume")],
    "backend": [("typo", "unknown backend 'typo'"), (None, "backend")],
    "dtype": [("float16", "dtype"), (3, "dtype")],
    "threads": [(0, "threads"), (1.5, "threads"), ("a", "threads")],
    "solver": [("typo", "solver")],
}  # fmt: skip
REFUSALS = [(name, value, words) for name, pairs in REFUSED.items() for value, words in pairs]


def assert_refuses(action, words):
    with pytest.raises(ValueError, match=words) as raised:
        action()
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(("name", "value", "words"), REFUSALS, ids=[f"{name}={value!r}" for name, value, _ in REFUSALS])
def test_bad_values_of_extras_are_refused_in_one_sentence(name, value, words):
    x, y, ours = ours_for("multiclass", early_stopping=True, **{name: value})
    assert_refuses(lambda: ours.fit(x, y), words)


@pytest.mark.parametrize("loss", ["typo", "softmax_cross_entropy", "huber,delta=-1"])
def test_a_bad_loss_is_refused_in_one_sentence(loss):
    x, y, ours = ours_for("regression", loss=loss)
    assert_refuses(lambda: ours.fit(x, y), loss.partition(",")[0])


EVAL_SETS = {
    "a number": (lambda x, y: 5, "eval_set takes"),
    "only rows": (lambda x, y: (x,), "eval_set takes"),
    "another number of features": (lambda x, y: (x[:, 1:], y), "features"),
    "too few targets": (lambda x, y: (x, y[:5]), "rows"),
    "one target": (lambda x, y: (x, 1), "rows"),
    "too few weights": (lambda x, y: (x, y, [1.0]), "sample_weight.shape"),
}


@pytest.mark.parametrize("given", EVAL_SETS)
def test_a_bad_validation_set_is_refused_in_one_sentence(given):
    make, words = EVAL_SETS[given]
    x, y, ours = ours_for("multiclass")
    assert_refuses(lambda: ours.fit(x, y, eval_set=make(x, y)), words)
    assert "_eval_set" not in vars(ours)


def test_balanced_classes_need_all_rows():
    x, y, ours = ours_for("multiclass", class_weight="balanced")
    assert_refuses(lambda: ours.partial_fit(x, y, classes=[0, 1, 2]), "'balanced' is not supported for partial_fit")


# --- what an optimizer remembers; what the extras mean at their edges ---


@both_backends
def test_adamw_takes_the_decay_off_the_weights_apart_from_the_gradient(backend):
    x, y, adam = ours_for("multiclass", backend, batch_size=ROWS, max_iter=1, alpha=0.0)
    start = clone(adam).set_params(learning_rate_init=1e-300).fit(x, y)
    free, decayed = (clone(adam).set_params(solver="adamw", weight_decay=decay).fit(x, y) for decay in (0.0, 0.5))
    shrunk = [w - 0.02 * 0.5 * first for w, first in zip(free.coefs_, start.coefs_, strict=True)]
    assert_same(decayed.coefs_, shrunk)
    assert_same(decayed.intercepts_, free.intercepts_)
    longer = [clone(adam).set_params(solver=s, weight_decay=0.0, max_iter=50).fit(x, y) for s in ("adam", "adamw")]
    assert longer[1].loss_ == pytest.approx(longer[0].loss_, rel=SAME_OPTIMUM)
    assert clone(decayed).partial_fit(x, y, classes=[0, 1, 2]).n_iter_ == 1
    stopped = clone(adam).set_params(solver="adamw", **STOPS_EARLY, batch_size=20, max_iter=200).fit(x, y)
    assert stopped.best_validation_score_ == max(stopped.validation_scores_)
    assert stopped.loss_curve_[-1] < stopped.loss_curve_[0]


def test_scoring_knows_the_names_of_columns():
    frame, words = table()
    _, _, ours = ours_for("multiclass", max_iter=3, early_stopping=True, scoring="accuracy")
    ours.fit(frame.drop(columns="color"), words)
    assert len(ours.validation_scores_) == 3


def test_resuming_means_nothing_without_a_warm_start():
    x, y, ours = ours_for("multiclass", max_iter=5, resume=True)
    first = clone(ours).fit(x, y)
    assert_same(ours.fit(x, y).fit(x, y).coefs_, first.coefs_)


def test_a_time_limit_that_is_over_at_once():
    x, y, ours = ours_for("multiclass", time_limit=1e-9)
    ours.fit(x, y)
    assert ours.n_iter_ == len(ours.loss_curve_) == 0
    assert not np.isfinite(ours.loss_)


@pytest.mark.parametrize("several", [{"activation": np.array(["tanh", "tanh"])}, {"dropout": np.array([0.3, 0.1])}])
def test_an_array_may_name_what_each_layer_has(several):
    """The parameter is documented and checked as array-like."""
    x, y, ours = ours_for("multiclass", max_iter=5)
    lists = {name: values.tolist() for name, values in several.items()}
    assert_same(*[clone(ours).set_params(**given).fit(x, y).coefs_ for given in (several, lists)])


def test_plateau_lowers_the_learning_rate():
    x, y, ours = ours_for("multiclass", **SGD)
    constant = clone(ours).fit(x, y)
    lowered = clone(ours).set_params(learning_rate="plateau,patience=0,tolerance=1").fit(x, y)
    assert lowered.loss_ > constant.loss_


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", "step,every=3", "plateau,patience=0,tolerance=1"])
def test_parts_follow_a_schedule(schedule):
    x, y, ours = ours_for("multiclass", max_iter=10, shuffle=False, learning_rate=schedule)
    whole = clone(ours).fit(x, y)
    for _ in range(10):
        ours.partial_fit(x, y, classes=[0, 1, 2])
    assert_same(ours.coefs_, whole.coefs_)


@pytest.mark.parametrize("schedule", ["step,every=3", "plateau,patience=0,tolerance=1"])
def test_a_schedule_goes_on_when_a_fit_resumes(schedule):
    """A fit that resumes knows neither how many epochs it will have had, so another answer may be right; restarting isn't."""
    x, y, ours = ours_for("multiclass", shuffle=False, learning_rate=schedule, max_iter=10)
    whole = clone(ours).fit(x, y)
    halves = clone(ours).set_params(max_iter=5, warm_start=True, resume=True).fit(x, y).fit(x, y)
    assert_same(halves.coefs_, whole.coefs_)


@pytest.mark.parametrize(
    ("solver", "parameters"),
    [
        ("sgd", {"momentum": 0.0, "power_t": 1.0}),
        ("adam", {"beta_1": 0.5, "epsilon": 0.1}),
        ("adamw", {"weight_decay": 0.5}),
    ],
)
def test_a_fit_that_resumes_goes_by_its_own_parameters(solver, parameters):
    x, y, ours = ours_for("multiclass", solver=solver, max_iter=5, warm_start=True, resume=True)
    steps = ours.fit(x, y)._optimizer.t
    ours.set_params(**parameters).fit(x, y)
    assert ours._optimizer.t == 2 * steps
    assert parameters.items() <= vars(ours._optimizer).items()


def test_huge_numbers_are_predicted_with_the_same_warnings():
    x, y, ours, theirs = pair()
    huge = np.full((10, 4), 1e308)
    for estimator in (ours, theirs):
        estimator.fit(x, y)
    assert events_of(lambda: ours.predict(huge)) == events_of(lambda: theirs.predict(huge))


@pytest.mark.parametrize(
    "bad", [{"backend": "typo"}, {"learning_rate": "typo"}, {"activation": "typo"}, {"dropout": [2.0]}]
)
def test_a_fit_that_was_refused_leaves_nothing_fitted(bad):
    x, y, ours = ours_for("multiclass", **bad)
    with pytest.raises(ValueError, match=r"typo|dropout"):
        ours.fit(x, y)
    with pytest.raises(sklearn.exceptions.NotFittedError):
        ours.predict(x)


def test_a_warm_start_may_forget_the_sizes_that_no_longer_count():
    """Theirs goes on with the network that is there; or let ours refuse it in words about hidden_layer_sizes."""
    x, y, theirs = problem("multiclass", max_iter=5, warm_start=True)
    ours = ours_like(theirs)
    for estimator in (ours, theirs):
        estimator.fit(x, y).set_params(hidden_layer_sizes=(4, 3)).fit(x, y)
    assert_same_estimator(ours, theirs, x)


@pytest.mark.parametrize("change", [{"momentum": 0.1}, {"momentum": 0}, {"nesterovs_momentum": False}])
def test_an_optimizer_keeps_its_momentum_between_parts(change):
    x, y, theirs = problem("multiclass", **SGD)
    ours = ours_like(theirs)
    for estimator in (ours, theirs):
        estimator.partial_fit(x, y, classes=[0, 1, 2]).set_params(**change).partial_fit(x, y)
    assert_same_estimator(ours, theirs, x)


@pytest.mark.parametrize("change", [{"beta_1": 0.1}, {"beta_2": 0.1}, {"solver": "sgd"}])
def test_an_optimizer_keeps_its_rule_between_parts(change):
    x, y, theirs = problem("multiclass")
    ours = ours_like(theirs)
    for estimator in (ours, theirs):
        estimator.partial_fit(x, y, classes=[0, 1, 2]).set_params(**change).partial_fit(x, y).partial_fit(x, y)
    assert_same_estimator(ours, theirs, x)


def test_lbfgs_works_in_float64_as_theirs_does():
    x, y, theirs = problem("multiclass", solver="lbfgs", max_iter=5)
    ours, x = ours_like(theirs), x.astype(np.float32)
    assert events_of(lambda: ours.fit(x, y)) == events_of(lambda: theirs.fit(x, y))
    assert [w.dtype for w in ours.coefs_] == [w.dtype for w in theirs.coefs_]
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=SAME_OPTIMUM)


@pytest.mark.parametrize(
    "extra", [{"callbacks": [lambda estimator: True]}, {"time_limit": 1e-9}, {"dropout": 0.5}, {"clip_norm": 1e-9}]
)
def test_lbfgs_obeys_an_extra_or_refuses_it(extra):
    x, y, ours = ours_for("multiclass", solver="lbfgs", max_iter=50)
    plain, other = clone(ours), clone(ours).set_params(**extra)
    events = [events_of(lambda e=e: e.fit(x, y)) for e in (plain, other)]
    assert events[1].error is not None or plain.loss_ != other.loss_


def test_lbfgs_refuses_a_learning_rate_that_does_not_exist():
    x, y, ours = ours_for("multiclass", solver="lbfgs", learning_rate="typo")
    assert_refuses(lambda: ours.fit(x, y), "'typo'")


def test_what_comes_out_is_named_for_a_loss_that_is_an_object():
    x, y, ours = ours_for("poisson", loss=Poisson())
    assert ours.fit(x, y).out_activation_ == "exp"


def test_divergence_that_a_scorer_cannot_score():
    """Without `scoring` such a score is NaN, and scikit-learn's rules go on."""
    x, y, ours = ours_for("regression", **STEPS["sgd"])
    ours.set_params(learning_rate_init=1e9, early_stopping=True, max_iter=5)
    plain, scored = (events_of(lambda s=s: clone(ours).set_params(scoring=s).fit(x, y)) for s in (None, "r2"))
    assert plain.error is None
    assert scored.error is None


class SplitsNothing:
    """A splitter without a split."""

    def split(self, x, y):
        return iter(())


class SplitsAllOff(SplitsNothing):
    """A splitter that leaves no rows to train on."""

    def split(self, x, y):
        return iter([(np.arange(0), np.arange(len(y)))])


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"callbacks": ["a"]}, "callbacks"),
        ({"validation_fraction": "a"}, "validation_fraction"),
        ({"validation_fraction": SplitsNothing()}, "validation_fraction|split"),
        ({"validation_fraction": SplitsAllOff()}, "validation_fraction|split|rows"),
        ({"scoring": lambda e, x, y: "a"}, "scoring|score"),
    ],
)
def test_bad_values_are_refused_in_one_sentence(bad, words):
    x, y, ours = ours_for("multiclass", early_stopping=True, **bad)
    assert_refuses(lambda: ours.fit(x, y), words)


def test_class_weights_leave_wrong_targets_to_their_checks():
    """Ours fails while it computes the weights, before scikit-learn's own words can come."""
    x, y, ours = ours_for("multiclass", class_weight="balanced")
    plain = clone(ours).set_params(class_weight=None)
    for targets, weights in (
        (y[:5], weights_for(x)),
        (np.where(y == 0, np.nan, y), None),
        (None, None),
        (x[:, 0], None),
    ):
        got, want = (events_of(lambda e=e, t=targets, w=weights: e.fit(x, t, w)) for e in (ours, plain))
        assert type(got.error) is type(want.error)
        assert str(got.error) == str(want.error)


@pytest.mark.parametrize("name", ["learning_rate", "scoring"])
def test_a_word_is_checked_as_a_parameter(name):
    with pytest.raises(sklearn.utils._param_validation.InvalidParameterError, match=name):
        MLPClassifier(**{name: "typo"}).fit([[0.0], [1.0]], [0, 1])


@pytest.mark.parametrize(
    "rules", [(True, False), (False, True)], ids=["stopping early, then not", "then stopping early"]
)
def test_a_warm_start_may_change_what_it_watches(rules):
    x, y, ours = ours_for("multiclass", max_iter=3, warm_start=True)
    for early in rules:
        ours.set_params(early_stopping=early).fit(x, y)
    assert len(ours.validation_scores_) == 3
    assert len(ours.loss_curve_) == 6


def test_a_new_network_forgets_the_optimizer_of_the_one_before():
    x, y, ours = ours_for("multiclass", max_iter=3)
    fresh = clone(ours).set_params(solver="lbfgs", hidden_layer_sizes=(4,), tol=10).fit(x, y)
    ours.fit(x, y).set_params(solver="lbfgs", hidden_layer_sizes=(4,), tol=10).fit(x, y)
    for estimator in (ours, fresh):
        estimator.set_params(solver="adam").partial_fit(x, y)
    assert_same(ours.coefs_, fresh.coefs_)


def test_a_dtype_may_be_one_of_numpy():
    x, y, ours = ours_for("multiclass", max_iter=3, dtype=np.float32)
    assert ours.fit(x, y).coefs_[0].dtype == np.float32
