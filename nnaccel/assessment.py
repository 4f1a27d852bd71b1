"""How good predictions are, beyond one number: beside the best constant prediction, class by class, and by their errors."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nnaccel.losses import Loss
from nnaccel.metrics import Metric
from nnaccel.targets import Target

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of the errors' spread."""


def in_own_units(metrics: Sequence[Metric], target: Target) -> tuple[Metric, ...]:
    """The metrics, such that standardised targets and predictions are judged in the units they were given in."""
    if target.mean is None:
        return tuple(metrics)

    def judge(metric: Metric) -> Metric:
        return replace(
            metric, function=lambda y, p, weights: metric.function(target.decode(y), target.decode(p), weights)
        )

    return tuple(map(judge, metrics))


def constant_prediction(loss: Loss, targets: np.ndarray, outputs: int, weights: np.ndarray | None) -> np.ndarray:
    """What to predict knowing nothing of a row, (1, outputs): how frequent each class or label is, or the mean.

    Parameters
    ----------
    targets : array
        Those of the training rows, encoded.
    """
    if loss.targets == "labels":
        counts = np.bincount(targets, weights=weights, minlength=outputs)
        frequencies: np.ndarray = (counts / counts.sum())[None]
        return frequencies
    mean: np.ndarray = np.average(targets.reshape(len(targets), -1), axis=0, weights=weights)[None]
    return mean


def baseline(
    metrics: Sequence[Metric], constant: np.ndarray, targets: np.ndarray, weights: np.ndarray | None
) -> dict[str, float]:
    """Each metric of the constant prediction: what has to be beaten for something to be learnt."""
    predictions = np.broadcast_to(constant, (len(targets), constant.shape[1]))
    return {metric.name: metric.function(targets, predictions, weights) for metric in metrics}


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """How many rows of each class, down, are predicted as each class, across: int (classes, classes).

    Examples
    --------
    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    array([[1, 1],
           [0, 1]])
    """
    counts: np.ndarray = np.bincount(truth * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)


def error_quantiles(truth: np.ndarray, predicted: np.ndarray) -> list[float]:
    """The spread of predicted minus true numbers: its `QUANTILES`, over rows and outputs."""
    return [float(value) for value in np.quantile(predicted - truth, QUANTILES)]
