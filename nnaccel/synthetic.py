"""Trainings on random data, which take as long as others of their shape."""

import math

import numpy as np

from nnaccel.cost import Workload
from nnaccel.losses import Loss
from nnaccel.order import Shuffled, generator
from nnaccel.program import Rows
from nnaccel.recipe import Recipe
from nnaccel.training import Assignment

_BLOCK_BYTES = 1 << 20
"""So much is drawn, and repeated: more would take longer than the trial that it is for."""

_STREAM = 2**62
"""Apart from those of `nnaccel.order`."""


def random_rows(
    shape: tuple[int, ...], outputs: int, loss: Loss, rows: int, dtype: str, most_bytes: float = math.inf
) -> Rows:
    """Random features, and targets that the loss can make sense of; not more than fit into `most_bytes`, but one at least.

    Examples
    --------
    >>> from nnaccel.losses import SoftmaxCrossEntropy
    >>> random_rows((3,), 2, SoftmaxCrossEntropy(), 5, "float32").x.shape
    (5, 3)
    """
    columns, size = math.prod(shape), np.dtype(dtype).itemsize
    rows = max(1, int(min(rows, most_bytes / (columns * size))))
    random = generator(0, _STREAM)
    block = random.standard_normal((max(1, min(rows, _BLOCK_BYTES // (columns * size))), columns)).astype(dtype)
    x = np.resize(block, (rows, columns)).reshape(rows, *shape)
    if loss.targets == "labels":
        labels = random.integers(0, outputs, rows).astype(np.int32)
        labels[:2] = range(min(2, rows))
        return Rows(x, labels)
    targets = (random.random((rows, outputs)) < 0.5).astype(dtype)
    targets[:2] = np.arange(min(2, rows))[:, None]
    return Rows(x, targets)


def synthetic_assignment(workload: Workload, most_bytes: float, threads: int | None = None) -> Assignment:
    """A training of this shape, as far as its rows fit into `most_bytes`; but one batch at least."""
    plan = workload.plan
    row_bytes = math.prod(plan.network.input_shape) * np.dtype(plan.dtype).itemsize
    most_bytes = max(most_bytes, row_bytes * workload.batch_size)
    rows = random_rows(plan.network.input_shape, plan.outputs, plan.loss, workload.rows, plan.dtype, most_bytes)
    recipe = Recipe(batch_size=min(workload.batch_size, len(rows.x)), order=Shuffled(0))
    return Assignment(plan, recipe, rows, np.arange(len(rows.x), dtype=np.int32), None, None, 0, threads)
