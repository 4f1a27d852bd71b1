"""Where a training stands: what it shows of itself, and what it must remember to go on."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from nnaccel.program import TrainingState
from nnaccel.report import History
from nnaccel.schedules import PlateauState


class Status(NamedTuple):
    """How far a training is.

    Attributes
    ----------
    epoch : int
        Finished epochs.
    epochs : int
        Those asked for.
    train_loss : float
        Of the epoch under way, or the last.
    validation : dict of str to float
        The last validation's loss and metrics.
    rows_per_second : float
    seconds : float
    seconds_left : float
        Until all epochs are done; early stopping or the time limit may end it sooner.
    """

    epoch: int
    epochs: int
    train_loss: float
    validation: dict[str, float]
    rows_per_second: float
    seconds: float
    seconds_left: float


@dataclass(frozen=True)
class Best:
    """The best epoch so far, and whence its parameters can be had.

    Attributes
    ----------
    value : float
        What is minimised: a loss, or the negative of a metric that should be large.
    epoch : int
        The number of finished epochs when it was reached.
    anchor : TrainingState
        A state at or before the end of that epoch.
    anchor_epoch : int
        The number of finished epochs in the anchor.
    """

    value: float
    epoch: int
    anchor: TrainingState
    anchor_epoch: int


@dataclass
class Progress:
    """Where a training stands. With the `TrainingState` of its run, it is all that a checkpoint needs.

    Attributes
    ----------
    epoch : int
        Finished epochs.
    step : int
        Finished steps of the epoch under way.
    log : list of array (s, 3)
        What `Run.train` returned for these.
    seconds : float
    history : History
    best : Best or None
    bad_epochs : int
        Epochs since early stopping last saw an improvement.
    plateau : PlateauState
    """

    epoch: int = 0
    step: int = 0
    log: list[np.ndarray] = field(default_factory=list)
    seconds: float = 0.0
    history: History = field(default_factory=History)
    best: Best | None = None
    bad_epochs: int = 0
    plateau: PlateauState = PlateauState()
