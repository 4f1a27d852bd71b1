"""From the words of scikit-learn's multilayer perceptrons to a plan."""

import functools
from collections.abc import Sequence
from typing import Any

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
from nnaccel.optimizers import L2, SGD, Adam, AdamW, Optimizer
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


def hidden_activations(given: Any, layers: int) -> list[Activation]:
    """The activation of each hidden layer.

    Raises
    ------
    InputError
        If there is another number of them than of layers, or one is unknown.
    """
    several = isinstance(given, Sequence) and not isinstance(given, str)
    if several:
        check(len(given) == layers, f"activation has {len(given)} entries for {layers} hidden layers.")
    return [_activation(one) for one in given] if several else [_activation(given)] * layers


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
    if not isinstance(given, Sequence):
        return [given] * layers
    check(len(given) == layers, f"dropout has {len(given)} entries for {layers} hidden layers.")
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
    """The loss of a regression by scikit-learn's name or ours, or itself."""
    return LOSSES[given] if isinstance(given, str) and given in LOSSES else as_loss(given)


def optimizer_of(estimator: Any) -> Optimizer:
    """The optimizer of a stochastic solver.

    The learning rate and the momentum, which each step brings along, aren't in it, so that estimators that differ in
    nothing else share one program.
    """
    if estimator.solver == "sgd":
        return SGD(
            momentum=0.9 if estimator.momentum else 0.0,
            nesterov=bool(estimator.nesterovs_momentum and estimator.momentum),
        )
    betas = {"beta_1": estimator.beta_1, "beta_2": estimator.beta_2, "epsilon": estimator.epsilon}
    return Adam(**betas) if estimator.solver == "adam" else AdamW(**betas)


def plan_of(estimator: Any, network: Network, loss: Loss, dtype: str) -> Plan:
    """All that a backend must know of an estimator."""
    optimizer = SGD() if estimator.solver == "lbfgs" else optimizer_of(estimator)
    return Plan(network, loss, optimizer, L2(float(estimator.alpha), "row"), estimator.clip_norm, dtype)
