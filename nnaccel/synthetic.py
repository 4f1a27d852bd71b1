"""Trainings on random data, which take as long as others of their shape."""

import math

import numpy as np

from nnaccel.cost import Workload
from nnaccel.losses import BinaryCrossEntropy, Loss, MeanSquaredError, SoftmaxCrossEntropy
from nnaccel.network import Dense, Network
from nnaccel.optimizers import SGD, Adam, AdamW, Optimizer
from nnaccel.order import Shuffled, generator
from nnaccel.plan import Plan
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


def random_plan(random: np.random.Generator, dtype: str) -> Plan:
    """A plan such as people train: 3 to 2,000 features, 1 to 6 layers of 8 to 2,048 units, any optimizer.

    Sizes are spread evenly by their logarithm.
    """
    features, depth = log_uniform(random, 3, 2000), random.integers(1, 7)
    hidden = [log_uniform(random, 8, 2048) for _ in range(depth)]
    losses: list[tuple[Loss, int]] = [
        (MeanSquaredError(), 1), (BinaryCrossEntropy(), 1), (SoftmaxCrossEntropy(), log_uniform(random, 2, 100)),
    ]  # fmt: skip
    loss, outputs = losses[random.integers(len(losses))]
    activation = str(random.choice(["relu", "relu", "tanh", "sigmoid", "gelu"]))
    dropout = float(random.choice([0.0, 0.0, 0.1]))
    optimizers: list[Optimizer] = [SGD(), SGD(momentum=0.9), Adam(), AdamW()]
    layers = [*(Dense(width, activation, dropout=dropout) for width in hidden), Dense(outputs)]
    return Plan(Network(features, layers), loss, optimizers[random.integers(len(optimizers))], dtype=dtype)


def log_uniform(random: np.random.Generator, least: int, most: int) -> int:
    """A whole number whose logarithm is spread evenly."""
    return round(math.exp(random.uniform(math.log(least), math.log(most))))


def synthetic_assignment(workload: Workload, most_bytes: float, threads: int | None = None) -> Assignment:
    """A training of this shape, as far as its rows fit into `most_bytes`; but one batch at least."""
    plan = workload.plan
    row_bytes = math.prod(plan.network.input_shape) * np.dtype(plan.dtype).itemsize
    most_bytes = max(most_bytes, row_bytes * workload.batch_size)
    rows = random_rows(plan.network.input_shape, plan.outputs, plan.loss, workload.rows, plan.dtype, most_bytes)
    recipe = Recipe(batch_size=min(workload.batch_size, len(rows.x)), order=Shuffled(0))
    return Assignment(plan, recipe, rows, np.arange(len(rows.x), dtype=np.int32), None, None, 0, threads)
