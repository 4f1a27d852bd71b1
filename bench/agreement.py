"""Whether a contender computes what it should: it is checked before it is timed."""

import math
from typing import NamedTuple

import numpy as np

from nnaccel.backends import get_backend
from nnaccel.bench.cases import Case, Work
from nnaccel.bench.contender import SEED, Task
from nnaccel.optimizers import Optimizer
from nnaccel.program import TrainingState

CHECKED_STEPS = 20

SAFETY = 4
"""How many times what the reference loses to rounding in the working dtype a contender may lose."""


class Agreement(NamedTuple):
    """How far a contender's parameters are from the reference's in float64, after some steps.

    Attributes
    ----------
    largest : float
        The largest difference of any parameter.
    relative : float
        The norm of the difference by the norm of the parameters.
    allowed : float
        What `relative` may be.
    """

    largest: float
    relative: float
    allowed: float

    @property
    def ok(self) -> bool:
        """Whether rounding explains the difference; NaN is never explained."""
        return self.relative <= self.allowed


def checked_work(case: Case) -> Work:
    """The steps after which contenders are compared."""
    return case.work(epochs=-(-CHECKED_STEPS // case.steps_per_epoch)).first(CHECKED_STEPS)


class Oracle:
    """The reference on NumPy, from the task's very inputs, in float64 and in the working dtype.

    Parameters
    ----------
    task : Task
        Kept as an attribute.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self._known: dict[Optimizer, tuple[np.ndarray, np.ndarray]] = {}

    def compare(self, parameters: np.ndarray, optimizer: Optimizer) -> Agreement:
        """Compare what the checked steps led a contender to.

        Parameters
        ----------
        parameters : array (size,)
            From the task's initial parameters, after the steps of `checked_work`.
        optimizer : Optimizer
            The one whose formula the contender follows.
        """
        if optimizer not in self._known:
            self._known[optimizer] = self._train(optimizer, "float64"), self._train(optimizer, self.task.case.dtype)
        exact, working = self._known[optimizer]
        scale = float(np.linalg.norm(exact))
        lost = float(np.linalg.norm(working - exact)) / scale
        rounding = float(np.finfo(self.task.case.dtype).eps) / 2 * math.sqrt(CHECKED_STEPS)
        off = parameters.astype(np.float64) - exact
        return Agreement(float(np.abs(off).max()), float(np.linalg.norm(off)) / scale, SAFETY * max(lost, rounding))

    def _train(self, optimizer: Optimizer, dtype: str) -> np.ndarray:
        case, rows = self.task.case.using(optimizer), self.task.rows
        plan = case.in_dtype(dtype).plan()
        state = TrainingState.initial(plan, SEED, self.task.initial)
        run = get_backend("cpu").compile(plan).start(state, rows)
        run.train(*checked_work(case))
        return run.state().parameters.astype(np.float64)
