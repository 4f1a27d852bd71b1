"""scikit-learn's own training loop, by its public interface."""

import warnings
from typing import Any

import numpy as np

from nnaccel.bench.cases import Case, Work
from nnaccel.bench.contender import Peer, Task, Training

_LOSSES = {"softmax_cross_entropy": 1.0, "mean_squared_error": 2.0}
"""How many times the gradient of scikit-learn's loss each of these has: its squared error is halved, ours isn't."""


class SklearnPeer(Peer):
    """MLPClassifier and MLPRegressor, fitted once over the rows of all steps in a row.

    With `shuffle=False` it takes the rows in the order in which they lie, so that one call of `fit` makes the steps that
    all others make, and checks its input once. Twice the gradient, for the squared error that isn't halved, is twice the
    learning rate of SGD; to Adam it is half the epsilon.
    """

    name, module = "scikit-learn", "sklearn"
    install = "pip install scikit-learn"
    note = (
        "fit with shuffle=False on the rows of all steps, gathered beforehand within the time; also computes the loss"
    )

    def cannot(self, case: Case) -> str | None:
        if case.output_activation != "identity" or not case.bias or case.loss not in _LOSSES:
            return "it has no network without biases, nor this loss"
        return None

    def start(self, task: Task, threads: int | None) -> "SklearnTraining":
        return SklearnTraining(task)


class SklearnTraining(Training):
    """An estimator whose coefficients are set before each fit; `warm_start` keeps them, with a new optimizer."""

    def __init__(self, task: Task) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        self._warning, self._task = ConvergenceWarning, task
        kind: Any = MLPClassifier if task.labels else MLPRegressor
        self.kernel = kind.__name__
        self._model = kind(**_settings(task.case))
        if task.labels:  # every class must be there when the estimator first sees labels
            _, first = np.unique(task.rows.targets, return_index=True)
            rows = np.resize(first, max(len(first), task.case.batch))
        else:
            rows = np.arange(task.case.batch)
        self._fit(rows.astype(np.int32))
        self.restart()

    def restart(self) -> None:
        layers = self._task.layers()
        self._model.coefs_ = [layer[0] for layer in layers]
        self._model.intercepts_ = [layer[1] for layer in layers]

    def train(self, work: Work) -> None:
        self._fit(work.order[work.bounds[0] : work.bounds[-1]])

    def parameters(self) -> np.ndarray:
        return self._task.pack(list(zip(self._model.coefs_, self._model.intercepts_, strict=True)))

    def _fit(self, order: np.ndarray) -> None:
        x, targets, _ = self._task.rows
        with warnings.catch_warnings():
            # One pass over the rows is all that is wanted of it.
            warnings.simplefilter("ignore", self._warning)
            self._model.fit(x[order], targets[order] if self._task.labels else targets[order].squeeze(axis=1))


def _settings(case: Case) -> dict[str, Any]:
    factor, optimizer = _LOSSES[case.loss], case.optimizer
    settings: dict[str, Any] = {
        "hidden_layer_sizes": case.hidden, "activation": case.activation, "solver": optimizer.name, "alpha": 0.0,
        "batch_size": case.batch, "shuffle": False, "max_iter": 1, "warm_start": True,
    }  # fmt: skip
    if optimizer.name == "adam":
        epsilon = getattr(optimizer, "epsilon") / factor  # noqa: B009  (only Adam has one)
        return settings | {"learning_rate_init": optimizer.learning_rate, "epsilon": epsilon}
    rate = optimizer.learning_rate * factor
    return settings | {"learning_rate_init": rate, "momentum": 0.0, "nesterovs_momentum": False}
