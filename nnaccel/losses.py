"""Losses: each a frozen description whose value and gradient come from one function, so that they can't disagree.

A loss gives one value a row. Errors (squared, absolute, Huber) are averaged over the outputs of a row; the negative
log-likelihoods (the cross-entropies, Poisson) and the sums of squares add up over them.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from nnaccel.activations import stable_sigmoid, stable_softplus
from nnaccel.arrays import Array, Namespace
from nnaccel.description import Description, read_description
from nnaccel.errors import check


@dataclass(frozen=True)
class Loss(Description):
    """How far the outputs of a network are from the targets.

    Attributes
    ----------
    targets : "labels" or "values"
        Whether the targets are class labels, int32 (n,), or numbers, float (n, outputs).
    domain : (float, float)
        The smallest and the largest target that makes sense; for labels, the number of outputs decides.
    divides_by_weights : bool
        Whether a step's gradient is divided by the sum of the row weights, as for a mean over rows. Only the sum of
        squares is not.
    """

    targets: ClassVar[Literal["labels", "values"]] = "values"
    domain: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    divides_by_weights: ClassVar[bool] = True

    @abstractmethod
    def value_and_gradient(self, outputs: Array, targets: Array, xp: Namespace) -> tuple[Array, Array]:
        """The loss of every row, (n,), and its gradient with respect to the outputs, (n, outputs)."""

    def predict(self, outputs: Array, xp: Namespace) -> Array:
        """What the outputs mean to a user: probabilities, rates or, as here, the values themselves."""
        return outputs


@dataclass(frozen=True)
class SumOfSquares(Loss):
    """sum((o - y)**2) over outputs and rows; not halved, not averaged: the loss of the historic networks."""

    name: ClassVar[str] = "sum_of_squares"
    divides_by_weights: ClassVar[bool] = False

    def value_and_gradient(self, outputs: Array, targets: Array, xp: Namespace) -> tuple[Array, Array]:
        error = outputs - targets
        return xp.sum(error * error, axis=1), 2 * error


@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """mean((o - y)**2) over the outputs."""

    name: ClassVar[str] = "mean_squared_error"

    def value_and_gradient(self, outputs: Array, targets: Array, xp: Namespace) -> tuple[Array, Array]:
        error = outputs - targets
        return xp.mean(error * error, axis=1), error * (2 / outputs.shape[1])


@dataclass(frozen=True)
class HalfSquaredError(Loss):
    """sum((o - y)**2) / 2 over the outputs: what scikit-learn's MLPRegressor minimises."""

    name: ClassVar[str] = "half_squared_error"

    def value_and_gradient(self, outputs: Array, targets: Array, xp: Namespace) -> tuple[Array, Array]:
        error = outputs - targets
        return 0.5 * xp.sum(error * error, axis=1), error


@dataclass(frozen=True)
class MeanAbsoluteError(Loss):
    """mean(abs(o - y)) over the outputs, with gradient 0 where o = y."""

    name: ClassVar[str] = "mean_absolute_error"

    def value_and_gradient(self, outputs: Array, targets: Array, xp: Namespace) -> tuple[Array, Array]:
        error = outputs - targets
        return xp.mean(xp.abs(error), axis=1), xp.sign(error) / outputs.shape[1]


@dataclass(frozen=True)
class Huber(Loss):
    """The mean over the outputs of e**2 / 2 where |e| <= delta, else delta * (|e| - delta / 2) (Huber 1964)."""

    name: ClassVar[str] = "huber"
    delta: float = 1.0

    def validate(self) -> None:
        check(0 < self.delta < math.inf, f"the delta of huber must be above 0, not {self.delta}.")

    def value_and_gradient(self, outputs: Array, targets: Array, xp: Namespace) -> tuple[Array, Array]:
        error = outputs - targets
        slope = xp.clip(error, -self.delta, self.delta)
        return xp.mean(slope * (error - 0.5 * slope), axis=1), slope / outputs.shape[1]


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """-y log(p) - (1 - y) log(1 - p) with p = sigmoid(o), summed over the outputs; several outputs are several labels.

    With label smoothing s, y becomes (1 - s) * y + s / 2. With `clip`, for targets of 0 and 1, the value is that of
    probabilities clipped to [eps, 1 - eps], as scikit-learn reports it; the gradient is the same.
    """

    name: ClassVar[str] = "binary_cross_entropy"
    domain: ClassVar[tuple[float, float]] = (0.0, 1.0)
    label_smoothing: float = 0.0
    clip: bool = False

    def validate(self) -> None:
        _check_cross_entropy(self.label_smoothing, self.clip)

    def value_and_gradient(self, outputs: Array, targets: Array, xp: Namespace) -> tuple[Array, Array]:
        if self.label_smoothing:
            targets = (1 - self.label_smoothing) * targets + self.label_smoothing / 2
        probabilities = stable_sigmoid(outputs, xp)
        if self.clip:
            loss = _minus_log_clipped(xp.where(targets > 0, probabilities, 1 - probabilities), xp)
        else:
            loss = stable_softplus(outputs, xp) - outputs * targets
        return xp.sum(loss, axis=1), probabilities - targets

    def predict(self, outputs: Array, xp: Namespace) -> Array:
        """The probability of each label, (n, outputs)."""
        return stable_sigmoid(outputs, xp)


@dataclass(frozen=True)
class SoftmaxCrossEntropy(Loss):
    """-log(p[y]) with p = softmax(o), for classes that exclude each other.

    With label smoothing s among C classes, the wanted probabilities are 1 - s + s / C for the class y and s / C for the
    others (Szegedy et al. 2016, arXiv:1512.00567). With `clip`, the value is that of probabilities clipped to
    [eps, 1 - eps], as scikit-learn reports it; the gradient is the same.
    """

    name: ClassVar[str] = "softmax_cross_entropy"
    targets: ClassVar[Literal["labels", "values"]] = "labels"
    label_smoothing: float = 0.0
    clip: bool = False

    def validate(self) -> None:
        _check_cross_entropy(self.label_smoothing, self.clip)

    def value_and_gradient(self, outputs: Array, targets: Array, xp: Namespace) -> tuple[Array, Array]:
        classes = xp.arange(outputs.shape[1], dtype=targets.dtype, device=targets.device)
        wanted = xp.astype(targets[:, None] == classes[None, :], outputs.dtype)
        if self.label_smoothing:
            wanted = (1 - self.label_smoothing) * wanted + self.label_smoothing / outputs.shape[1]
        shifted = outputs - xp.max(outputs, axis=1, keepdims=True)
        e = xp.exp(shifted)
        total = xp.sum(e, axis=1, keepdims=True)
        probabilities = e / total
        if self.clip:
            loss = _minus_log_clipped(xp.sum(wanted * probabilities, axis=1), xp)
        else:
            # A class that isn't wanted may have the output -inf, which times 0 would be NaN.
            loss = xp.log(total[:, 0]) - xp.sum(wanted * xp.where(wanted > 0, shifted, xp.zeros_like(shifted)), axis=1)
        return loss, probabilities - wanted

    def predict(self, outputs: Array, xp: Namespace) -> Array:
        """The probability of each class, (n, outputs)."""
        e = xp.exp(outputs - xp.max(outputs, axis=1, keepdims=True))
        return e / xp.sum(e, axis=1, keepdims=True)


@dataclass(frozen=True)
class Poisson(Loss):
    """Half the Poisson deviance, r - y + y log(y / r) with the rate r = exp(o), summed over the outputs.

    McCullagh and Nelder, Generalized Linear Models, 2nd edition, 1989, section 2.3.
    """

    name: ClassVar[str] = "poisson"
    domain: ClassVar[tuple[float, float]] = (0.0, math.inf)

    def value_and_gradient(self, outputs: Array, targets: Array, xp: Namespace) -> tuple[Array, Array]:
        rate = xp.exp(outputs)
        log_target = xp.log(xp.where(targets > 0, targets, xp.ones_like(targets)))
        return xp.sum(rate - targets + targets * (log_target - outputs), axis=1), rate - targets

    def predict(self, outputs: Array, xp: Namespace) -> Array:
        """The expected counts, (n, outputs)."""
        return xp.exp(outputs)


def _check_cross_entropy(smoothing: float, clip: bool) -> None:
    check(0 <= smoothing < 1, f"label smoothing must be at least 0 and below 1, not {smoothing}.")
    check(not (smoothing and clip), "clip is for labels that aren't smoothed: leave one of both out.")


def _minus_log_clipped(probabilities: Array, xp: Namespace) -> Array:
    """-log(p) of probabilities clipped to [eps, 1 - eps]."""
    eps = float(xp.finfo(probabilities.dtype).eps)
    return -xp.log(xp.clip(probabilities, eps, 1 - eps))


LOSSES: dict[str, type[Loss]] = {
    loss.name: loss
    for loss in (
        SumOfSquares, MeanSquaredError, HalfSquaredError, MeanAbsoluteError, Huber,
        BinaryCrossEntropy, SoftmaxCrossEntropy, Poisson,
    )
}  # fmt: skip


def as_loss(given: str | Loss) -> Loss:
    """The loss that `given` is or names.

    Examples
    --------
    >>> as_loss("huber,delta=0.5")
    Huber(delta=0.5)
    """
    return read_description("loss", LOSSES, given)
