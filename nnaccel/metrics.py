"""Metrics: how good predictions are, in numbers that people compare. Losses are for training, metrics for judging.

Each takes the targets, the predictions as `Loss.predict` gives them and the weights of the rows, if there are any. For
classes, targets are their numbers, (n,), and predictions their probabilities, (n, classes). For labels, targets are ones
and zeros, (n, labels), and predictions the probability of each one; a single label is taken for the two classes 0 and 1.
For numbers, both are (n, outputs). Rows of weight 0 don't count. What can't be computed of the rows at hand is NaN.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nnaccel.description import suggestion
from nnaccel.errors import InputError, check
from nnaccel.losses import BinaryCrossEntropy, Loss

_BLOCK_ROWS = 1 << 16


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
    task : "classification", "regression" or "any"
        What kind of predictions it can judge: probabilities of classes or labels, or numbers.

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
    task: Literal["classification", "regression", "any"] = "any"


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
    return _mean(right, weights)


def balanced_accuracy(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The recall of each class that occurs in the targets, averaged: no class counts more for having more rows.

    The recall of a class is the part of its rows that are predicted to be of it. Several labels a row are judged one by
    one, as two classes each, and averaged. From 0 to 1, which is perfect; guessing has 1 / classes (Brodersen et al.
    2010, doi:10.1109/ICPR.2010.764).

    Parameters
    ----------
    targets : integer array (n,) or array (n, labels)
    predictions : array (n, classes) or (n, labels)
        Probabilities.
    weights : array (n,), optional

    Examples
    --------
    >>> import numpy as np
    >>> balanced_accuracy(np.array([0, 0, 0, 1]), np.array([[0.9, 0.1]] * 4))  # accuracy is 0.75
    0.5
    """
    if targets.ndim == 2 and targets.shape[1] > 1:
        labels = (slice(j, j + 1) for j in range(targets.shape[1]))
        return _mean_of_known(balanced_accuracy(targets[:, j], predictions[:, j], weights) for j in labels)
    hits, wanted, _ = _tally(targets, predictions, weights)
    return _mean_of_known(_ratio(hits, wanted))


def f1(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The F1 score of each class, or of each label, averaged: the macro mean.

    That of a class is 2 * hits / (rows of the class + rows predicted to be of it), the harmonic mean of precision and
    recall (van Rijsbergen, Information Retrieval, 2nd edition, 1979, chapter 7); the mean is over the classes, or the
    labels, that occur in the targets or the predictions (of the two macro means, that of the scores: Opitz and Burst
    2019, arXiv:1911.03347). From 0 to 1, which is perfect.

    Parameters
    ----------
    targets : integer array (n,) or array (n, labels)
    predictions : array (n, classes) or (n, labels)
        Probabilities. A label is predicted where its probability is above 1/2.
    weights : array (n,), optional

    Examples
    --------
    Class 0 has 2 hits in 2 + 3 rows, class 1 has 1 hit in 2 + 1 rows; that is 4/5 and 2/3.

    >>> import numpy as np
    >>> f1(np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.1, 0.9]]))
    0.7333333333333334
    """
    hits, wanted, predicted = _tally(targets, predictions, weights)
    return _mean_of_known(_ratio(2 * hits, wanted + predicted))


def roc_auc(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The area under the ROC curve: how probably a row of a class has a higher probability of it than one of another.

    Equal probabilities count half. Of two classes, the probability of the second one is judged; of more, that of each
    against all others, averaged over the classes that occur in the targets; of several labels, that of each one that has
    ones and zeros, averaged. From 0 to 1, which is perfect; guessing has 1/2 (Fawcett 2006,
    doi:10.1016/j.patrec.2005.10.010, sections 7 and 9). NaN where all rows are of one class.

    Parameters
    ----------
    targets : integer array (n,) or array (n, labels)
    predictions : array (n, classes) or (n, labels)
        Probabilities.
    weights : array (n,), optional

    Examples
    --------
    Of the four pairs, three are in order.

    >>> import numpy as np
    >>> roc_auc(np.array([[0.0], [0.0], [1.0], [1.0]]), np.array([[0.1], [0.4], [0.35], [0.8]]))
    0.75
    """
    judged = range(1 if targets.ndim == 1 and predictions.shape[1] == 2 else 0, predictions.shape[1])
    has = (targets == j if targets.ndim == 1 else targets[:, j] > 0.5 for j in judged)
    return _mean_of_known(_area(positive, predictions[:, j], weights) for j, positive in zip(judged, has, strict=True))


def log_loss(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The mean of -log(p), p being the probability of the class that a row has; of several labels, averaged over them.

    Unlike the cross-entropies that networks are trained with, it knows no label smoothing, doesn't add up over labels, and
    is always finite: probabilities are clipped to [eps, 1 - eps] of their dtype, as scikit-learn's `log_loss` does it.
    From 0, which is perfect, to -log(eps), 36 in float64; always guessing the same for all classes has log(classes).

    Parameters
    ----------
    targets : integer array (n,) or array (n, labels)
    predictions : floating array (n, classes) or (n, labels)
        Probabilities.
    weights : array (n,), optional

    Examples
    --------
    >>> import numpy as np
    >>> log_loss(np.array([0, 1]), np.exp([[-0.5, -0.9328], [-1.7461, -0.25]]))
    0.375
    """
    eps = np.finfo(predictions.dtype).eps
    if targets.ndim == 1:
        chosen = np.take_along_axis(predictions, targets[:, None], axis=1)[:, 0]
        return _mean(-np.log(np.clip(chosen, eps, 1 - eps)), weights)
    log_one, log_zero = (np.log(np.clip(p, eps, 1 - eps)) for p in (predictions, 1 - predictions))
    return _mean(-np.mean(targets * log_one + (1 - targets) * log_zero, axis=1), weights)


def r2(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The coefficient of determination: 1 is perfect, 0 no better than the mean; averaged over the outputs.

    An output that is the same in every row has 1 if it is met exactly, else 0; fewer than two rows have NaN. From minus
    infinity to 1.
    """
    if weights is not None:
        counts = weights > 0
        targets, predictions, weights = targets[counts], predictions[counts], weights[counts]
    if len(targets) < 2:
        return math.nan
    mean = np.average(targets, axis=0, weights=weights)
    residual = np.average((targets - predictions) ** 2, axis=0, weights=weights)
    total = np.average((targets - mean) ** 2, axis=0, weights=weights)
    # The mean of equal numbers may be off by a rounding error, and its distance to them then isn't 0.
    varies = (targets != targets[0]).any(axis=0) & (total > 0)
    explained = 1 - residual / np.where(varies, total, 1)
    return float(np.mean(np.where(varies, explained, residual == 0)))


def root_mean_squared_error(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The root of the mean squared error over rows and outputs, in the units of the target."""
    return math.sqrt(_mean(np.mean((targets - predictions) ** 2, axis=1), weights))


def mean_absolute_error(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The mean distance over rows and outputs, in the units of the target."""
    return _mean(np.mean(np.abs(targets - predictions), axis=1), weights)


def median_absolute_error(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The median distance of the rows, averaged over the outputs, in the units of the target; a few outliers don't matter.

    With weights, the distance that has half of the weight on either side; where that is so between two distances, their
    mean ("averaged_inverted_cdf"; Hyndman and Fan 1996, doi:10.2307/2684934, definition 2). From 0, which is perfect.

    Parameters
    ----------
    targets : array (n, outputs)
    predictions : array (n, outputs)
    weights : array (n,), optional

    Examples
    --------
    >>> import numpy as np
    >>> median_absolute_error(np.array([[1.0], [2.0], [3.0]]), np.array([[1.5], [2.0], [90.0]]))
    0.5
    """
    return float(np.mean([_median(distances, weights) for distances in np.abs(targets - predictions).T]))


def _mean(values: np.ndarray, weights: np.ndarray | None) -> float:
    """The mean over rows, NaN of none."""
    counted = len(values) if weights is None else weights.sum()
    return float(np.average(values, weights=weights)) if counted else math.nan


def _mean_of_known(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """NaN where there is nothing to have a part of."""
    ratio: np.ndarray = np.divide(part, whole, out=np.full(len(whole), math.nan), where=whole > 0)
    return ratio


def _tally(
    targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each class or label, the weight of the rows that have it and are predicted to, have it, are predicted to."""
    if targets.ndim == 2 and targets.shape[1] > 1:
        has, predicted = targets > 0.5, predictions > 0.5
        rows = np.ones(len(targets)) if weights is None else weights
        return rows @ (has & predicted), rows @ has, rows @ predicted
    if targets.ndim == 2:
        targets, predictions = (targets[:, 0] > 0.5).astype(np.intp), np.hstack([1 - predictions, predictions])
    classes, chosen = predictions.shape[1], np.argmax(predictions, axis=1)
    right = chosen == targets
    return (
        np.bincount(targets[right], None if weights is None else weights[right], classes),
        np.bincount(targets, weights, classes),
        np.bincount(chosen, weights, classes),
    )


def _area(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray | None) -> float:
    """The area under one ROC curve, from ranks; NaN if all rows are positive, or none, or a score is NaN."""
    rows = np.ones(len(scores)) if weights is None else weights
    levels, level = np.unique(scores, return_inverse=True)
    ones = np.bincount(level, rows * positive, len(levels))
    zeros = np.bincount(level, rows * ~positive, len(levels))
    pairs = ones.sum() * zeros.sum()
    if not pairs or np.isnan(levels).any():
        return math.nan
    return float(ones @ (np.cumsum(zeros) - zeros / 2) / pairs)


def _median(values: np.ndarray, weights: np.ndarray | None) -> float:
    order = np.argsort(values)
    below = np.cumsum(np.ones(len(values)) if weights is None else weights[order])
    if not len(below) or not below[-1] or np.isnan(values).any():
        return math.nan
    half = below[-1] / 2
    # Sums of equal weights may miss the half by their rounding errors.
    rounding = below[-1] * len(below) * np.finfo(below.dtype).eps
    lower = np.searchsorted(below, half - rounding, side="left")
    upper = np.searchsorted(below, half + rounding, side="right")
    return float(values[order[[lower, upper]]].mean())


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", accuracy, greater_is_better=True, task="classification"),
        Metric("balanced_accuracy", balanced_accuracy, greater_is_better=True, task="classification"),
        Metric("f1", f1, greater_is_better=True, task="classification"),
        Metric("roc_auc", roc_auc, greater_is_better=True, task="classification"),
        Metric("log_loss", log_loss, greater_is_better=False, task="classification"),
        Metric("r2", r2, greater_is_better=True, task="regression"),
        Metric("root_mean_squared_error", root_mean_squared_error, greater_is_better=False, task="regression"),
        Metric("mean_absolute_error", mean_absolute_error, greater_is_better=False, task="regression"),
        Metric("median_absolute_error", median_absolute_error, greater_is_better=False, task="regression"),
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
    """The metric that `given` is or names; dashes count as underscores."""
    if isinstance(given, Metric):
        return given
    name = str(given).replace("-", "_").lower()
    if name not in METRICS:
        raise InputError(
            f"unknown metric {given!r}{suggestion(name, METRICS)}; known: {', '.join(METRICS)}, or give a nnaccel.Metric."
        )
    return METRICS[name]


def check_metrics(loss: Loss, metrics: Iterable[Metric]) -> None:
    """Refuse metrics that can't judge what a network with this loss predicts.

    Raises
    ------
    InputError
        If one is for numbers and the loss for classes, or the other way round.
    """
    task, predicted = ("classification", "classes") if is_classification(loss) else ("regression", "numbers")
    fitting = [metric.name for metric in METRICS.values() if metric.task == task]
    for metric in metrics:
        check(
            metric.task in (task, "any"),
            f"the metric {metric.name} is for {metric.task}, but {loss.name} is for {predicted}: "
            f"take one of {', '.join(fitting)}.",
        )


def evaluate(
    loss: Loss, metrics: tuple[Metric, ...], targets: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None = None
) -> dict[str, float]:
    """The loss, averaged over rows, and each metric, of a network's outputs on the host.

    Parameters
    ----------
    outputs : array (n, outputs)
        At the link scale, as `Run.predict` gives them.
    """
    # Row by row these are, so block by block they need little room beside the predictions.
    losses, predictions = np.empty(len(outputs)), np.empty(outputs.shape)
    with np.errstate(all="ignore"):
        for start in range(0, len(outputs), _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            block = outputs[rows].astype(np.float64)
            losses[rows], _ = loss.value_and_gradient(block, targets[rows], np)
            predictions[rows] = loss.predict(block, np)
        values = {"loss": _mean(losses, weights)}
        return values | {metric.name: metric.function(targets, predictions, weights) for metric in metrics}
