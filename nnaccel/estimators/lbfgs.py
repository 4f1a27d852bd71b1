"""Fitting by L-BFGS: SciPy's, over the gradient of all rows that a program computes."""

import time
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.optimize
from sklearn.utils.fixes import parse_version, sp_version
from sklearn.utils.optimize import _check_optimize_result

from nnaccel.estimators.data import Data
from nnaccel.estimators.stochastic import as_layers, as_vector
from nnaccel.program import Program, TrainingState

STOPPED = 99
"""SciPy's status after a callback said stop."""


def fit_lbfgs(estimator: Any, program: Program, x: Any, targets: np.ndarray, sample_weight: np.ndarray | None) -> None:
    """Minimise the loss over all rows, and leave the parameters with the estimator.

    The search moves the flat vector of the parameters, in which they lie in another order than in scikit-learn's and with
    zeros between; to the search that makes no difference but for rounding.
    """
    plan, network = program.plan, program.plan.network
    vector = as_vector(network, estimator.coefs_, estimator.intercepts_, plan.dtype)
    mask, strength = network.weight_mask("float64"), plan.l2.strength
    data = Data(program, TrainingState(vector, (), 0, 0), x, targets, sample_weight, 1, estimator.threads)
    share = 1 / plan.outputs if plan.loss.name == "half_squared_error" else 1.0

    def loss_and_gradient(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        data.run.restore(TrainingState(parameters.astype(plan.dtype), (), 0, 0))
        sums = data.gradient()
        weights = mask * parameters
        loss = share * sums.loss + 0.5 * strength * float(weights @ weights)
        return loss / sums.weight, (sums.gradient + strength * weights) / sums.weight

    deadline = time.perf_counter() + (estimator.time_limit or np.inf)
    estimator.n_iter_ = 0

    def after_iteration(intermediate_result: Any) -> None:
        estimator.coefs_, estimator.intercepts_ = as_layers(network, intermediate_result.x.astype(plan.dtype))
        estimator.n_iter_ += 1
        estimator.loss_ = float(intermediate_result.fun)
        wishes = [callback(estimator) for callback in estimator.callbacks or ()]
        if any(wishes) or time.perf_counter() > deadline:
            raise StopIteration

    watched = estimator.callbacks or estimator.time_limit
    limits = {"maxfun": estimator.max_fun, "maxiter": estimator.max_iter, "gtol": estimator.tol}
    try:
        result = scipy.optimize.minimize(
            loss_and_gradient,
            vector.astype(np.float64),
            method="L-BFGS-B",
            jac=True,
            callback=after_iteration if watched else None,
            options=limits | _printing(estimator),
        )
    finally:
        data.run.close()
    stopped = result.status == STOPPED
    estimator.n_iter_ = result.nit if stopped else _check_optimize_result("lbfgs", result, estimator.max_iter)
    estimator.loss_ = result.fun
    estimator.coefs_, estimator.intercepts_ = as_layers(network, result.x.astype(plan.dtype))
    estimator._coef_indptr, estimator._intercept_indptr = _places(estimator.coefs_)


def _places(weights: list[np.ndarray]) -> tuple[list[Any], list[Any]]:
    """Where scikit-learn's own methods find weights and biases in a packed vector: all weights first."""
    ends = np.cumsum([0, *(w.size for w in weights), *(w.shape[1] for w in weights)]).tolist()
    spans, count = list(pairwise(ends)), len(weights)
    return [(*span, w.shape) for span, w in zip(spans, weights, strict=False)], spans[count:]


def _printing(estimator: Any) -> dict[str, int]:
    """The option that has SciPy's solver print; from 1.15 on it prints nothing, and later warns of it."""
    return {} if sp_version >= parse_version("1.15") else {"iprint": 1 if estimator.verbose else -1}
