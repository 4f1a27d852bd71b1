"""From the words of scikit-learn's multilayer perceptrons to a plan."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnaccel.activations import Activation, as_activation
from nnaccel.errors import check
from nnaccel.losses import (
    BinaryCrossEntropy,
    HalfSquaredError,
    Huber,
    Loss,
    MeanAbsoluteError,
    Poisson,
    SoftmaxCrossEntropy,
    as_loss,
)
from nnaccel.network import Dense, Network
from nnaccel.optimizers import L2, Optimizer
from nnaccel.plan import Plan

ACTIVATIONS = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
"""The activations that scikit-learn knows, by its names; all others go by ours."""

LOSSES: dict[str, Loss] = {
    "squared_error": HalfSquaredError(),
    "poisson": Poisson(),
    "absolute_error": MeanAbsoluteError(),
    "huber": Huber(),
}
"""The losses of a regression by name. The first two are scikit-learn's."""


def activations_of(given: Any) -> list[Activation]:
    """One activation or several, by scikit-learn's names or ours, or themselves."""
    return [_activation(one) for one in ([given] if _is_one(given) else given)]


def hidden_activations(given: Any, layers: int) -> list[Activation]:
    """The activation of each hidden layer.

    Raises
    ------
    InputError
        If there is another number of them than of layers, or one is unknown.
    """
    return [_activation(one) for one in _for_each("activation", given, layers)]


@functools.cache
def _activation(given: Any) -> Activation:
    return as_activation(ACTIVATIONS.get(given, given) if isinstance(given, str) else given)


def dropout_rates(given: Any, layers: int) -> list[float]:
    """The rate of dropout after each hidden layer.

    Raises
    ------
    InputError
        If there is another number of them than of layers.
    """
    return _for_each("dropout", given, layers)


def _is_one(given: Any) -> bool:
    return isinstance(given, (str, Activation)) or np.ndim(given) == 0


def _for_each(name: str, given: Any, layers: int) -> list[Any]:
    """What is given for each hidden layer, or once for all."""
    if _is_one(given):
        return [given] * layers
    check(len(given) == layers, f"{name} has {len(given)} entries for {layers} hidden layers.")
    return list(given)


def network_of(estimator: Any, units: Sequence[int]) -> Network:
    """The network of an estimator, whose layers, the inputs among them, have so many units."""
    hidden = len(units) - 2
    activations = hidden_activations(estimator.activation, hidden)
    rates = dropout_rates(estimator.dropout, hidden)
    layers = [
        Dense(count, activation, dropout=rate)
        for count, activation, rate in zip(units[1:-1], activations, rates, strict=True)
    ]
    return Network(units[0], [*layers, Dense(units[-1])])


@functools.cache
def classification_loss(exclusive: bool, label_smoothing: float) -> Loss:
    """The loss of classes that exclude each other, or of labels that don't; by default its value is clipped as theirs is."""
    kind = SoftmaxCrossEntropy if exclusive else BinaryCrossEntropy
    return kind(label_smoothing=label_smoothing) if label_smoothing else kind(clip=True)


@functools.cache
def regression_loss(given: Any) -> Loss:
    """The loss of a regression by scikit-learn's name or ours, or itself.

    Raises
    ------
    InputError
        If it is unknown, or one of classes.
    """
    loss = LOSSES[given] if isinstance(given, str) and given in LOSSES else as_loss(given)
    check(
        not isinstance(loss, (BinaryCrossEntropy, SoftmaxCrossEntropy)),
        f"{loss.name} is for classes: take MLPClassifier, or another loss.",
    )
    return loss


def plan_of(estimator: Any, network: Network, loss: Loss, optimizer: Optimizer, dtype: str) -> Plan:
    """All that a backend must know of an estimator."""
    return Plan(network, loss, optimizer, L2(float(estimator.alpha), "row"), estimator.clip_norm, dtype)
