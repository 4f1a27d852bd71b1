"""Schedules: how the learning rate changes in the course of a training.

A schedule multiplies the optimizer's learning rate, so that all of them work with all optimizers. It is a pure function of
the position in the training; only `Plateau` also looks at results, through a small state that the training carries.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from nnaccel.arrays import Array, Namespace
from nnaccel.description import Description, read_description
from nnaccel.errors import check


@dataclass(frozen=True)
class Timeline:
    """The extent of a training, in which a step has its place.

    Attributes
    ----------
    epochs : int
        The epochs asked for.
    steps_per_epoch : int
        Batches in an epoch.
    rows_per_epoch : int
        Training rows.
    """

    epochs: int
    steps_per_epoch: int
    rows_per_epoch: int

    @property
    def steps(self) -> int:
        """All steps of all epochs."""
        return self.epochs * self.steps_per_epoch


@dataclass(frozen=True)
class Schedule(Description):
    """A factor on the learning rate at every step.

    Attributes
    ----------
    warmup : float
        The number of epochs, whole or not, in which the factor first rises in equal parts to what it would be without.
    """

    warmup: float = 0.0

    def validate(self) -> None:
        check(0 <= self.warmup < math.inf, f"the warm-up must be 0 epochs or more, not {self.warmup}.")

    @abstractmethod
    def shape(self, steps: Array, timeline: Timeline, xp: Namespace) -> Array:
        """The factor at each of `steps`, as if there were no warm-up."""

    def factors(self, steps: Array, timeline: Timeline, xp: Namespace) -> Array:
        """The factor on the learning rate at each step.

        Parameters
        ----------
        steps : float64 array (s,)
            The numbers of the steps, counted from 0 at the start of the training.

        Returns
        -------
        float64 array (s,)

        Examples
        --------
        >>> import numpy as np
        >>> timeline = Timeline(epochs=4, steps_per_epoch=1, rows_per_epoch=100)
        >>> Cosine().factors(np.arange(4.0), timeline, np).round(3)
        array([1.   , 0.854, 0.5  , 0.146])
        """
        shape = self.shape(steps, timeline, xp)
        warmup_steps = self.warmup * timeline.steps_per_epoch
        if not warmup_steps:
            return shape
        return shape * xp.minimum((steps + 1) / warmup_steps, xp.ones_like(steps))


@dataclass(frozen=True)
class Constant(Schedule):
    """The learning rate stays as it is."""

    name: ClassVar[str] = "constant"

    def shape(self, steps: Array, timeline: Timeline, xp: Namespace) -> Array:
        return xp.ones_like(steps)


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """(1 + rows seen before this epoch)**-power: scikit-learn's "invscaling"."""

    name: ClassVar[str] = "inverse_scaling"
    power: float = 0.5

    def validate(self) -> None:
        super().validate()
        check(0 <= self.power < math.inf, f"the power of inverse_scaling must be 0 or more, not {self.power}.")

    def shape(self, steps: Array, timeline: Timeline, xp: Namespace) -> Array:
        epoch = xp.floor(steps / timeline.steps_per_epoch)
        return (1 + epoch * timeline.rows_per_epoch) ** -self.power


@dataclass(frozen=True)
class StepDecay(Schedule):
    """Multiplied by `factor` after every `every` epochs."""

    name: ClassVar[str] = "step"
    every: int = 30
    factor: float = 0.1

    def validate(self) -> None:
        super().validate()
        check(self.every >= 1, f"the step schedule must step every 1 epoch or more, not {self.every}.")
        _check_factor(self.name, self.factor)

    def shape(self, steps: Array, timeline: Timeline, xp: Namespace) -> Array:
        falls = xp.floor(steps / (timeline.steps_per_epoch * self.every))
        return xp.pow(xp.full_like(steps, self.factor), falls)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from 1 at the first step down to `final` at the end (Loshchilov and Hutter 2017, arXiv:1608.03983)."""

    name: ClassVar[str] = "cosine"
    final: float = 0.0

    def validate(self) -> None:
        super().validate()
        check(0 <= self.final <= 1, f"the final factor of cosine must be from 0 to 1, not {self.final}.")

    def shape(self, steps: Array, timeline: Timeline, xp: Namespace) -> Array:
        return _half_cosine(1.0, self.final, steps / timeline.steps, xp)


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Half a cosine up from `start` to 1, then half a cosine down to `final` (Smith and Topin 2018, arXiv:1708.07120).

    `peak` is the part of all steps at which the learning rate is highest.
    """

    name: ClassVar[str] = "one_cycle"
    start: float = 0.04
    peak: float = 0.3
    final: float = 4e-6

    def validate(self) -> None:
        super().validate()
        for end in ("start", "final"):
            check(0 <= getattr(self, end) <= 1, f"the {end} of one_cycle must be from 0 to 1.")
        check(0 < self.peak < 1, f"the peak of one_cycle must be above 0 and below 1, not {self.peak}.")

    def shape(self, steps: Array, timeline: Timeline, xp: Namespace) -> Array:
        time = steps / max(timeline.steps - 1, 1)
        rise = _half_cosine(self.start, 1.0, time / self.peak, xp)
        fall = _half_cosine(1.0, self.final, (time - self.peak) / (1 - self.peak), xp)
        return xp.where(time < self.peak, rise, fall)


@dataclass(frozen=True)
class PlateauState:
    """What `Plateau` remembers between epochs.

    Attributes
    ----------
    factor : float
        The present factor on the learning rate.
    best : float
        The lowest value so far.
    bad_epochs : int
        Epochs since it was reached or the learning rate was lowered.
    """

    factor: float = 1.0
    best: float = math.inf
    bad_epochs: int = 0


@dataclass(frozen=True)
class Plateau(Schedule):
    """Multiplied by `factor` whenever the loss hasn't fallen by at least `tolerance` for more than `patience` epochs.

    The loss is that of the validation set if there is one, else the training's. The factor never falls below `minimum`.
    """

    name: ClassVar[str] = "plateau"
    factor: float = 0.2
    patience: int = 5
    tolerance: float = 1e-4
    minimum: float = 1e-6

    def validate(self) -> None:
        super().validate()
        _check_factor(self.name, self.factor)
        check(self.patience >= 0, f"the patience of plateau must be 0 epochs or more, not {self.patience}.")
        check(0 <= self.tolerance < math.inf, f"the tolerance of plateau must be 0 or more, not {self.tolerance}.")
        check(0 <= self.minimum <= 1, f"the minimum of plateau must be from 0 to 1, not {self.minimum}.")

    def shape(self, steps: Array, timeline: Timeline, xp: Namespace) -> Array:
        return xp.ones_like(steps)

    def after_epoch(self, state: PlateauState, loss: float) -> PlateauState:
        """The state once an epoch has ended with `loss`."""
        bad_epochs = 0 if loss <= state.best - self.tolerance else state.bad_epochs + 1
        best = loss if loss < state.best else state.best
        if bad_epochs <= self.patience:
            return PlateauState(state.factor, best, bad_epochs)
        return PlateauState(max(state.factor * self.factor, self.minimum), best, bad_epochs=0)


def _half_cosine(begin: float, end: float, time: Array, xp: Namespace) -> Array:
    return end + (begin - end) * (1 + xp.cos(math.pi * time)) / 2


def _check_factor(name: str, factor: float) -> None:
    check(0 < factor <= 1, f"the factor of the {name} schedule must be above 0 and at most 1, not {factor}.")


SCHEDULES: dict[str, type[Schedule]] = {
    s.name: s for s in (Constant, InverseScaling, StepDecay, Cosine, OneCycle, Plateau)
}


def as_schedule(given: str | Schedule) -> Schedule:
    """The schedule that `given` is or names.

    Examples
    --------
    >>> as_schedule("cosine,warmup=3")
    Cosine(warmup=3.0, final=0.0)
    """
    return read_description("schedule", SCHEDULES, given)
