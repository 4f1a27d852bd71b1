"""How good predictions are, beyond one number: beside the best constant prediction, class by class, and by their errors."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nnaccel.losses import Loss
from nnaccel.metrics import Metric, evaluate
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


def confusion_matrix(
    truth: np.ndarray, predicted: np.ndarray, classes: int, weights: np.ndarray | None = None
) -> np.ndarray:
    """How many rows of each class, down, are predicted as each class, across: int (classes, classes); their weight, if any.

    Examples
    --------
    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    array([[1, 1],
           [0, 1]])
    """
    counts: np.ndarray = np.bincount(truth * classes + predicted, weights=weights, minlength=classes * classes)
    return counts.reshape(classes, classes)


def error_quantiles(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None = None) -> list[float]:
    """The spread of predicted minus true numbers, (n,): its `QUANTILES`."""
    errors = predicted - truth
    if weights is None:
        return list(map(float, np.quantile(errors, QUANTILES)))
    return list(map(float, np.quantile(errors, QUANTILES, weights=weights, method="inverted_cdf")))


@dataclass(frozen=True)
class Assessment:
    """How good predictions of some rows are.

    Attributes
    ----------
    rows : int
    metrics : dict of str to float
        In the target's own units.
    baseline : dict of str to float
        The same of the constant prediction that `constant_prediction` gives, where that is known.
    confusion : dict, optional
        Of a classification: its "classes" and "counts", a list of rows; see `confusion_matrix`.
    error_quantiles : dict, optional
        Of a regression: for each target the quantiles of predicted minus true, by name and quantile.
    """

    rows: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    baseline: dict[str, float] = field(default_factory=dict)
    confusion: dict[str, Any] | None = None
    error_quantiles: dict[str, dict[str, float]] | None = None


def assess(
    target: Target,
    loss: Loss,
    metrics: Sequence[Metric],
    y: np.ndarray,
    outputs: np.ndarray,
    weights: np.ndarray | None = None,
    constant: np.ndarray | None = None,
) -> Assessment:
    """Judge a network's outputs.

    Parameters
    ----------
    target : Target
    loss : Loss
    metrics : sequence of Metric
    y : int32 array (n,) or float array (n, outputs)
        Encoded targets.
    outputs : array (n, outputs)
        Of the network, at the link scale.
    weights : array (n,), optional
    constant : array (1, outputs), optional
        What `constant_prediction` gives for the training rows: the baseline.
    """
    metrics = in_own_units(metrics, target)
    beaten = {} if constant is None else baseline(metrics, constant, y, weights)
    assessment = Assessment(len(y), evaluate(loss, metrics, y, outputs, weights), beaten)
    if target.task == "classification":
        counts = confusion_matrix(y, np.argmax(outputs, axis=1), len(target.classes), weights)
        return replace(assessment, confusion={"classes": list(target.classes), "counts": counts.tolist()})
    if target.task == "multilabel":
        return assessment
    truth, predicted = target.decode(y), target.decode(loss.predict(outputs, np))
    spread = {
        name: dict(zip(map(str, QUANTILES), error_quantiles(t, p, weights), strict=True))
        for name, t, p in zip(target.names, truth.T, predicted.T, strict=True)
    }
    return replace(assessment, error_quantiles=spread)
