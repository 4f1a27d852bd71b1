"""The rows of a fit, dense or sparse, as a run takes them."""

from itertools import pairwise
from typing import Any

import numpy as np

from nnaccel.optimizers import Step
from nnaccel.order import batch_bounds
from nnaccel.program import Program, Rows, Run, TrainingState
from nnaccel.reference import GradientSums

DENSE_BYTES = 1 << 28
"""A sparse matrix that takes no more as a dense one is made dense once; a larger one block by block, again and again."""

BLOCK_BYTES = 1 << 26
"""How much room such a block takes."""


class Data:
    """A run at work on the rows of a fit, wherever those come from.

    Parameters
    ----------
    program : Program
    state : TrainingState
    x : array or sparse matrix (n, features)
    targets : array
        As the plan's loss takes them.
    weights : array (n,), optional
    batch_size : int
    threads : int, optional
    """

    def __init__(
        self,
        program: Program,
        state: TrainingState,
        x: Any,
        targets: np.ndarray,
        weights: np.ndarray | None,
        batch_size: int,
        threads: int | None,
    ) -> None:
        sparse = not isinstance(x, np.ndarray)
        dtype = np.dtype(program.plan.dtype)
        row_bytes = x.shape[1] * dtype.itemsize
        if sparse and len(targets) * row_bytes <= DENSE_BYTES:
            x, sparse = x.toarray(), False
        self._sparse = x.tocsr() if sparse else None
        self._targets, self._weights = targets, weights
        self._block_rows = max(1, BLOCK_BYTES // row_bytes)
        rows = self._block(np.arange(0)) if sparse else Rows(x, targets, weights)
        self.run: Run = program.start(state, rows, batch_size, threads)

    def train(self, order: np.ndarray, bounds: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """What `Run.train` does."""
        if self._sparse is None:
            return self.run.train(order, bounds, steps)
        logs = []
        for first, last in self._blocks_of(bounds):
            self.run.replace(self._block(order[bounds[first] : bounds[last]]))
            own = np.arange(bounds[last] - bounds[first], dtype=np.int32)
            logs.append(self.run.train(own, bounds[first : last + 1] - bounds[first], steps[first:last]))
        return np.concatenate(logs)

    def gradient(self) -> GradientSums:
        """What `Run.gradient` does, of all rows."""
        every = np.arange(len(self._targets), dtype=np.int32)
        if self._sparse is None:
            return self.run.gradient(every)
        total: GradientSums | None = None
        for start, stop in pairwise(batch_bounds(len(every), min(self._block_rows, len(every))).tolist()):
            self.run.replace(self._block(every[start:stop]))
            sums = self.run.gradient(np.arange(stop - start, dtype=np.int32))
            total = sums if total is None else GradientSums(*(a + b for a, b in zip(total, sums, strict=True)))
        assert total is not None, "there are rows"
        return total

    def _blocks_of(self, bounds: np.ndarray) -> list[tuple[int, int]]:
        """Which batches fit into a block together: the first and the last, exclusive; a batch that is longer goes alone."""
        blocks, first = [], 0
        while first < len(bounds) - 1:
            fitting = int(np.searchsorted(bounds, bounds[first] + self._block_rows, side="right")) - 1
            blocks.append((first, max(first + 1, fitting)))
            first = blocks[-1][1]
        return blocks

    def _block(self, rows: np.ndarray) -> Rows:
        assert self._sparse is not None
        weights = None if self._weights is None else self._weights[rows]
        return Rows(self._sparse[rows].toarray(), self._targets[rows], weights)


def step_table(count: int, learning_rates: Any, momentum: float, weight_decay: float, dropout: float) -> np.ndarray:
    """The numbers of so many steps, which differ in nothing but the learning rate."""
    table = np.tile(np.array(Step(0.0, momentum, weight_decay, dropout)), (count, 1))
    table[:, Step._fields.index("learning_rate")] = learning_rates
    return table
