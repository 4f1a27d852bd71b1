"""Scikit-learn's optimizers, which an estimator keeps from one part of the data to the next, and what they are for a program."""

from typing import Any

import numpy as np
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

from nnaccel.optimizers import SGD, Adam, AdamW, Optimizer
from nnaccel.schedules import PlateauState, Schedule, as_schedule

THEIR_SCHEDULES = ("constant", "invscaling", "adaptive")
"""The learning rates of scikit-learn, which its solver sgd alone follows; all other names are those of our schedules."""


def schedule_of(learning_rate: Any) -> Schedule | None:
    """Our schedule, if one is wanted that scikit-learn doesn't know."""
    theirs = isinstance(learning_rate, str) and learning_rate in THEIR_SCHEDULES
    return None if theirs else as_schedule(learning_rate)


class AdamWOptimizer(AdamOptimizer):
    """Adam that also takes so much of the weights off them, times the learning rate; scikit-learn has none."""

    def __init__(self, *arguments: Any, weight_decay: float) -> None:
        super().__init__(*arguments)
        self.weight_decay = weight_decay


SLOTS = {SGDOptimizer: ("velocities",), AdamOptimizer: ("ms", "vs"), AdamWOptimizer: ("ms", "vs")}
"""Where they keep what ours call slots."""


def optimizer_for(estimator: Any, incremental: bool) -> Any:
    """The optimizer that a fit goes on with, or a new one.

    From part to part it keeps all that it began with, as in scikit-learn, whatever the estimator's parameters have become; a
    fit that resumes goes by its own parameters, and by what an optimizer of the same solver remembers.
    """
    before: Any = getattr(estimator, "_optimizer", None)
    if incremental and before is not None:
        return before
    optimizer = estimator._optimizer = _new_optimizer(estimator)
    if not (estimator.warm_start and estimator.resume and type(before) is type(optimizer)):
        estimator._plateau = PlateauState()
        return optimizer
    remember(optimizer, slots_of(before), before.t)
    if before.learning_rate_init == optimizer.learning_rate_init:
        optimizer.learning_rate = before.learning_rate  # which may have been lowered
    return optimizer


def _new_optimizer(estimator: Any) -> Any:
    parameters, rate = estimator.coefs_ + estimator.intercepts_, estimator.learning_rate_init
    if estimator.solver == "sgd":
        schedule = estimator.learning_rate if schedule_of(estimator.learning_rate) is None else "constant"
        momentum = estimator.momentum, estimator.nesterovs_momentum
        optimizer = SGDOptimizer(parameters, rate, schedule, *momentum, estimator.power_t)
        optimizer.t = 0
        return optimizer
    settings = parameters, rate, estimator.beta_1, estimator.beta_2, estimator.epsilon
    if estimator.solver == "adam":
        return AdamOptimizer(*settings)
    return AdamWOptimizer(*settings, weight_decay=estimator.weight_decay)


def as_ours(optimizer: Any) -> Optimizer:
    """The optimizer of a plan.

    The learning rate, the momentum and the decay, which each step brings along, aren't in it, so that estimators that differ
    in nothing else share one program.
    """
    if isinstance(optimizer, SGDOptimizer):
        return SGD(momentum=0.9, nesterov=bool(optimizer.nesterov)) if optimizer.momentum else SGD()
    betas = {"beta_1": optimizer.beta_1, "beta_2": optimizer.beta_2, "epsilon": optimizer.epsilon}
    return AdamW(**betas) if isinstance(optimizer, AdamWOptimizer) else Adam(**betas)


def slots_of(optimizer: Any) -> list[list[np.ndarray]]:
    """What it remembers: for each slot the arrays of all weights, then of all biases."""
    return [getattr(optimizer, name) for name in SLOTS[type(optimizer)]]


def remember(optimizer: Any, slots: list[list[np.ndarray]], count: int) -> None:
    """Have it remember other slots, after so many steps in all; a slot that the program doesn't have stays."""
    for name, arrays in zip(SLOTS[type(optimizer)], slots, strict=False):
        setattr(optimizer, name, arrays)
    optimizer.t = count
