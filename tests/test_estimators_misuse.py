"""Wrong input fails as it does with scikit-learn's estimators: the same exceptions, messages at least as clear."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.sparse

from tests.pairs_of_estimators import (
    SGD,
    STEPS,
    both_backends,
    events_of,
    needs_sklearn,
    ours_like,
    problem,
    weights_for,
)

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")


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
    if name.startswith("zero weights"):
        needs_sklearn("1.8", "goes on with NaN")
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
