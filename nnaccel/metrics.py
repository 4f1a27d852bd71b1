"""Metrics: how good predictions are, in numbers that people compare. Losses are for training, metrics for judging."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nnaccel.errors import InputError
from nnaccel.losses import BinaryCrossEntropy, Loss


@dataclass(frozen=True)
class Metric:
    """A number that judges predictions.

    Attributes
    ----------
    name : str
        How history, summaries and early stopping call it.
    function : callable
        Takes the targets, the predictions as `Loss.predict` gives them (probabilities, for classes) and the weights of
        the rows, or None; returns a number.
    greater_is_better : bool

    Examples
    --------
    >>> import numpy as np
    >>> within = Metric("within_1", lambda y, p, w: float(np.mean(np.abs(y - p) <= 1)), greater_is_better=True)
    >>> within.function(np.array([[1.0], [5.0]]), np.array([[1.5], [9.0]]), None)
    0.5
    """

    name: str
    function: Callable[[np.ndarray, np.ndarray, np.ndarray | None], float]
    greater_is_better: bool


def accuracy(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The part of the rows whose most probable class is right or, with several labels a row, whose labels all are.

    Parameters
    ----------
    targets : integer array (n,) or array (n, outputs)
        Class labels; or for each output 1 or 0.
    predictions : array (n, outputs)
        Probabilities.
    """
    if targets.ndim == 1:
        right = np.argmax(predictions, axis=1) == targets
    else:
        right = np.all((predictions > 0.5) == (targets > 0.5), axis=1)
    return float(np.average(right, weights=weights))


def r2(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The coefficient of determination: 1 is perfect, 0 no better than the mean; averaged over the outputs.

    An output that is the same in every row has 1 if it is met exactly, else 0.
    """
    mean = np.average(targets, axis=0, weights=weights)
    residual = np.average((targets - predictions) ** 2, axis=0, weights=weights)
    total = np.average((targets - mean) ** 2, axis=0, weights=weights)
    varies = total > 0
    explained = 1 - residual / np.where(varies, total, 1)
    return float(np.mean(np.where(varies, explained, residual == 0)))


def root_mean_squared_error(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The root of the mean squared error over rows and outputs, in the units of the target."""
    return float(np.sqrt(np.average(np.mean((targets - predictions) ** 2, axis=1), weights=weights)))


def mean_absolute_error(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The mean distance over rows and outputs, in the units of the target."""
    return float(np.average(np.mean(np.abs(targets - predictions), axis=1), weights=weights))


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", accuracy, greater_is_better=True),
        Metric("r2", r2, greater_is_better=True),
        Metric("root_mean_squared_error", root_mean_squared_error, greater_is_better=False),
        Metric("mean_absolute_error", mean_absolute_error, greater_is_better=False),
    )
}


def is_classification(loss: Loss) -> bool:
    """Whether the loss is one for classes or labels, so that accuracy makes sense."""
    return loss.targets == "labels" or isinstance(loss, BinaryCrossEntropy)


def default_metrics(loss: Loss) -> tuple[Metric, ...]:
    """What to report where the user asks for nothing: accuracy for classes, else R2 and the error in the target's units."""
    names = ("accuracy",) if is_classification(loss) else ("r2", "root_mean_squared_error", "mean_absolute_error")
    return tuple(METRICS[name] for name in names)


def as_metric(given: str | Metric) -> Metric:
    """The metric that `given` is or names."""
    if isinstance(given, Metric):
        return given
    if given not in METRICS:
        raise InputError(f"unknown metric {given!r}; known: {', '.join(METRICS)}, or give a nnaccel.Metric.")
    return METRICS[given]


def evaluate(
    loss: Loss, metrics: tuple[Metric, ...], targets: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None = None
) -> dict[str, float]:
    """The loss, averaged over rows, and each metric, of a network's outputs on the host.

    Parameters
    ----------
    outputs : array (n, outputs)
        At the link scale, as `Run.predict` gives them.
    """
    outputs = outputs.astype(np.float64)
    with np.errstate(all="ignore"):
        losses, _ = loss.value_and_gradient(outputs, targets, np)
        predictions = loss.predict(outputs, np)
        values = {"loss": float(np.average(losses, weights=weights))}
        return values | {metric.name: metric.function(targets, predictions, weights) for metric in metrics}
