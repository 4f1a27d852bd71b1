"""The estimators learn what scikit-learn's learn, in every number, warning and attribute."""

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.base import clone

import nnaccel.estimators.data
from tests.pairs_of_estimators import (
    ADAM,
    EPOCHS,
    OURS,
    RULES,
    SGD,
    STEPS,
    STOPS_EARLY,
    TASKS,
    assert_fits_like_theirs,
    assert_same_estimator,
    both_backends,
    events_of,
    fit_of_theirs,
    ours_like,
    problem,
    refuses_words_early,
    weights_for,
    with_words,
)
from tests.test_against_sklearn import ACTIVATIONS, ROWS, task_of
from tests.tolerance import SAME_OPTIMUM, assert_trajectory_close, assert_within

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")


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
    if early and labels in ("words", "objects", "two words"):
        refuses_words_early()
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
