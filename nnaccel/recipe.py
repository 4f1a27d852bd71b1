"""What a training is told beside the plan: how long, in which batches, when to stop, whom to tell."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnaccel.errors import check
from nnaccel.metrics import Metric
from nnaccel.order import Order, Shuffled
from nnaccel.progress import Status
from nnaccel.schedules import Plateau, Schedule, as_schedule


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when a metric has not improved for some epochs, and go back to the best epoch.

    Attributes
    ----------
    patience : int
        So many epochs without improvement are let pass.
    metric : str
        "loss" or the name of one of the training's metrics: on the validation set if there is one. Without one, only
        "loss", that of the training.
    tolerance : float
        What counts as an improvement.
    """

    patience: int = 10
    metric: str = "loss"
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        check(self.patience >= 1, f"the patience of early stopping must be 1 epoch or more, not {self.patience}.")
        check(
            0 <= self.tolerance < math.inf, f"the tolerance of early stopping must be 0 or more, not {self.tolerance}."
        )


@dataclass(frozen=True)
class Recipe:
    """How a training goes on from step to step, beside what a step computes, which is the plan.

    Attributes
    ----------
    epochs : int
    batch_size : int
    schedule : Schedule
    order : Order
    metrics : tuple of Metric
    early_stopping : EarlyStopping, optional
    callbacks : tuple of callable
        Each is called with the `Training` after each epoch; one that returns True ends it.
    time_limit : float
        Seconds of training.
    report : callable, optional
        Called with a `Status` at most about ten times a second.
    """

    epochs: int = 100
    batch_size: int = 64
    schedule: Schedule = field(default_factory=lambda: as_schedule("constant"))
    order: Order = Shuffled(0)
    metrics: tuple[Metric, ...] = ()
    early_stopping: EarlyStopping | None = None
    # `Training` stands above this file; train() declares the exact type.
    callbacks: tuple[Callable[[Any], bool | None], ...] = ()
    time_limit: float = math.inf
    report: Callable[[Status], None] | None = None

    def __post_init__(self) -> None:
        check(is_whole(self.epochs, 1), f"the epochs must be a whole number, 1 or more, not {self.epochs!r}.")
        check(
            is_whole(self.batch_size, 1), f"the batch size must be a whole number, 1 or more, not {self.batch_size!r}."
        )
        check(self.time_limit > 0, f"the time limit must be above 0 seconds, not {self.time_limit}.")

    @property
    def watches_epochs(self) -> bool:
        """Whether something has to happen after each epoch, even without a validation set."""
        return bool(self.early_stopping or self.callbacks or isinstance(self.schedule, Plateau))


def is_whole(number: Any, least: int) -> bool:
    """Whether it is a whole number, `least` or more."""
    return isinstance(number, (int, np.integer)) and not isinstance(number, bool) and bool(number >= least)
