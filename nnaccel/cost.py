"""What a training costs, from its plan alone: arithmetic and memory. Nothing here measures or allocates."""

import math

import numpy as np

from nnaccel.plan import Plan

_VECTORS_OF_A_STEP = 4
"""Of the size of the parameters, at the height of an update: old, new, gradient and one in between."""


def multiply_adds_per_row(plan: Plan) -> int:
    """Multiply-adds for one row forward and backward; the first layer needs no gradient of its input.

    Examples
    --------
    >>> from nnaccel.losses import MeanSquaredError
    >>> from nnaccel.network import Dense, Network
    >>> from nnaccel.optimizers import SGD
    >>> multiply_adds_per_row(Plan(Network(10, [Dense(5), Dense(1)]), MeanSquaredError(), SGD()))
    115
    """
    weights = [math.prod(block.shape) for block in plan.network.blocks if block.name == "weight"]
    return 3 * sum(weights) - weights[0]


def memory_bytes(plan: Plan, batch_size: int) -> int:
    """The memory of a training beside its data: parameters, optimizer slots, gradient and one batch's activations.

    Parameters
    ----------
    batch_size : int
        Rows.
    """
    vectors = (_VECTORS_OF_A_STEP + 2 * len(plan.optimizer.slots)) * plan.network.size
    activations = 2 * batch_size * sum(math.prod(shape) for shape in plan.network.shapes)
    return (vectors + activations) * np.dtype(plan.dtype).itemsize


def readable_bytes(count: float) -> str:
    """A number of bytes for people to read.

    Examples
    --------
    >>> readable_bytes(3_500_000_000)
    '3.5 GB'
    """
    for unit in ("bytes", "kB", "MB", "GB", "TB", "PB"):
        if count < 1000 or unit == "PB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.3g} {unit}"
