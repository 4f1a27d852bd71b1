"""What an optimizer does to one block of parameters, in one pass; the formulas are those of `nnaccel.optimizers`.

A block is so many contiguous elements of the parameters, of their gradient and of the optimizer's slots. Where all of
these are 0, as in padding, they stay 0 under every rule.
"""

import math
from typing import Any

from numba import njit

from nnaccel.kernels.job import RULES
from nnaccel.kernels.mathematics import expm1
from nnaccel.kernels.memory import JIT, SUMS, apart, like, wide_vectors

SGD, MOMENTUM, NESTEROV, ADAM_RATE, ADAM_MOMENTS = range(len(RULES))
"""The kinds of rule. Momentum keeps the velocity in slot 1; Adam the first moment in slot 1, the second in slot 2."""

_SMALLEST = 2.0**-126
"""The smallest normal number of float32."""


@njit(**JIT)
def _power(log_base: float, exponent: int) -> float:
    """A power of a number just below 1, rounded as the operator of Python rounds it, which would be a call to a library."""
    return 1.0 + expm1(exponent * log_base)


@njit(**JIT)
def prepare(rule: Any, learning_rate: float, momentum: float, weight_decay: float, count: int) -> None:
    """Set what `rule` needs for one step.

    Both of Adam's corrections become one formula, with one division an element: multiplied through by
    c_2 = sqrt(1 - beta_2**t), lr / c_1 * m / (sqrt(v) / c_2 + epsilon) is lr * c_2 / c_1 * m / (sqrt(v) + epsilon * c_2),
    which differs from the other only in its epsilon.

    Parameters
    ----------
    rule : record of RULE
    learning_rate, momentum, weight_decay : float
        As in `nnaccel.optimizers.Step`.
    count : int
        How many updates there will have been after this one: 1 at the first.
    """
    rule.rate = learning_rate
    rule.momentum = momentum
    rule.decay = learning_rate * weight_decay
    if rule.kind in (ADAM_RATE, ADAM_MOMENTS):
        correction = math.sqrt(1.0 - _power(rule.log_beta_2, count))
        rule.rate = learning_rate * correction / (1.0 - _power(rule.log_beta_1, count))
        epsilon = rule.epsilon * correction if rule.kind == ADAM_MOMENTS else rule.epsilon
        rule.floor = max(epsilon, _SMALLEST)  # if it became 0 in float32, padding would be 0 / 0


@njit(**JIT)
def update(
    rule: Any, decays: bool, l2: float, factor: float, p: Any, slot_1: Any, slot_2: Any, gradient: Any, n: int
) -> None:
    """Update a block in place, with g = factor * gradient + l2 * p.

    Parameters
    ----------
    rule : record of RULE
        As `prepare` has left it.
    decays : bool
        Whether Adam also takes lr * weight_decay * p off p: for AdamW's weights, not its biases.
    l2, factor : float
        As the block needs them: clipping scales both, and biases have no penalty.
    p, slot_1, slot_2, gradient : pointer
        To `n` elements of one type. Slots that the rule doesn't have are never followed.
    n : int
    """
    wide_vectors()
    apart()
    scale, penalty = like(p[0], factor), like(p[0], l2)
    rate, momentum = like(p[0], rule.rate), like(p[0], rule.momentum)
    if rule.kind == SGD:
        for i in range(n):
            g = scale * gradient[i] + penalty * p[i]
            p[i] = p[i] - rate * g
    elif rule.kind == MOMENTUM:
        for i in range(n):
            g = scale * gradient[i] + penalty * p[i]
            v = momentum * slot_1[i] - rate * g
            slot_1[i] = v
            p[i] = p[i] + v
    elif rule.kind == NESTEROV:
        for i in range(n):
            g = scale * gradient[i] + penalty * p[i]
            descent = rate * g
            v = momentum * slot_1[i] - descent
            slot_1[i] = v
            p[i] = p[i] + (momentum * v - descent)
    else:
        beta_1, fresh_1 = like(p[0], rule.beta_1), like(p[0], 1.0 - rule.beta_1)
        beta_2, fresh_2 = like(p[0], rule.beta_2), like(p[0], 1.0 - rule.beta_2)
        decay, floor = like(p[0], rule.decay if decays else 0.0), like(p[0], rule.floor)
        for i in range(n):
            g = scale * gradient[i] + penalty * p[i]
            m = beta_1 * slot_1[i] + fresh_1 * g
            v = beta_2 * slot_2[i] + fresh_2 * (g * g)
            slot_1[i] = m
            slot_2[i] = v
            p[i] = p[i] - (decay * p[i] + rate * m / (math.sqrt(v) + floor))


@njit(**JIT)
def penalty_strength(l2: float, by_row: int, weight: float) -> float:
    """What the gradient of the penalty multiplies weights by, in a batch whose rows weigh so much."""
    if not by_row:
        return l2
    return l2 / weight if weight != 0.0 else 0.0


@njit(**JIT)
def penalise(l2: float, factor: float, p: Any, gradient: Any, n: int) -> None:
    """gradient = factor * gradient + l2 * p, where the norm of all of it is needed before the update."""
    wide_vectors()
    scale, penalty = like(p[0], factor), like(p[0], l2)
    for i in range(n):
        gradient[i] = scale * gradient[i] + penalty * p[i]


@njit(**SUMS)
def sum_of_squares(p: Any, n: int) -> float:
    """The sum of the squares of `n` elements, in float64: those of float32 neither overflow nor vanish there."""
    wide_vectors()
    total = 0.0
    for i in range(n):
        x = like(total, p[i])
        total += x * x
    return total
