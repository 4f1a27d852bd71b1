"""Our estimators and scikit-learn's on the same tasks, and how to tell whether both did the same."""

import contextlib
import functools
import io
import warnings
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn import neural_network
from sklearn.utils.fixes import parse_version

from nnaccel import MLPClassifier, MLPRegressor
from tests.test_against_sklearn import BATCH, SOLVERS, task_of
from tests.tolerance import assert_equals_oracle

EPOCHS = 100
OURS = {neural_network.MLPClassifier: MLPClassifier, neural_network.MLPRegressor: MLPRegressor}
TASKS = ("binary", "multiclass", "multilabel", "regression", "multi-output", "poisson")
STEPS = {name: {"solver": rule.split(",")[0], **settings} for name, (rule, settings) in SOLVERS.items()}
RULES = {
    **STEPS,
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.2},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.005, "n_iter_no_change": 3, "momentum": 0.5},
    "adaptive without nesterov": {**STEPS["momentum"], "learning_rate": "adaptive", "tol": 0.01, "n_iter_no_change": 4},
    "other moments": {"solver": "adam", "beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-5},
}
SGD, ADAM = STEPS["nesterov"], STEPS["adam"]
STOPS_EARLY = {"early_stopping": True, "validation_fraction": 0.25, "n_iter_no_change": 5, "tol": 1e-3}
both_backends = pytest.mark.parametrize("backend", ["cpu", "numba"])


def needs_sklearn(version, otherwise):
    """Skip a test that compares with what scikit-learn does since this version."""
    if parse_version(sklearn.__version__) < parse_version(version):
        pytest.skip(f"scikit-learn before {version} {otherwise}")


def refuses_words_early():
    """Skip a test of labels as text that stops early."""
    needs_sklearn("1.9", "asks labels of text whether they are NaN when it stops early")


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


def weights_for(x):
    return np.random.default_rng(1).uniform(0.2, 2, len(x))


def with_words(x, y):
    return x, np.array(["setosa", "versicolor", "virginica"])[y]


def pair(task="multiclass", **settings):
    """Rows, targets, and both estimators, which are quick."""
    x, y, theirs = problem(task, **{"max_iter": 15, "hidden_layer_sizes": (6,), **settings})
    return x, y, ours_like(theirs, backend="numba"), theirs


def table():
    """Rows with names, one column of words and one of numbers that need no change."""
    x, y = task_of("multiclass")[:2]
    frame = pd.DataFrame(x, columns=["sepal length", "sepal width", "petal length", "petal width"])
    return frame.assign(color=np.array(["red", "green", "blue"])[np.arange(len(x)) % 3]), with_words(x, y)[1]
