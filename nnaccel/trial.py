"""Trial steps: how long a training will take, from a short part of itself.

Training repeats itself: what a few warmed steps of the real program take, the rest takes too. Whatever happens once an epoch,
the order of the rows and the validation, is timed apart where the trial is shorter than some epochs.
"""

import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from nnaccel.backends import Backend
from nnaccel.errors import InputError
from nnaccel.loop import Slice, Training, TrainingDiverged
from nnaccel.metrics import evaluate
from nnaccel.training import Assignment

WARM_UP = 0.2
"""This part of a trial is not counted: caches fill, cores reach their speed, and calls grow to their length."""

ENOUGH_EPOCHS = 8
"""So many epochs in a trial are counted as they are; of fewer, what happens once an epoch would be a matter of luck."""

RATE = 1e-9
"""The learning rate of a trial, which mustn't diverge: random targets may ask too much of the real one."""

ENDLESS = 10**9
"""Epochs: a trial ends before."""

VALIDATION_ROWS = 4096
"""So many rows at least stand for a validation set."""


@dataclass(frozen=True)
class Trial:
    """What a trial showed.

    Attributes
    ----------
    setup_s : float
        Until the first step could be made: compiling the program, and starting it on the data.
    start_s : float
        Of this, what the data took.
    step_s : float
        A step, with its part of what happens between steps.
    epoch_s : float
        An epoch, with all that belongs to it.
    spread : float
        The standard error of these, as a part.
    seconds : float
        How long the trial went on.
    """

    setup_s: float
    start_s: float
    step_s: float
    epoch_s: float
    spread: float
    seconds: float


def try_out(assignment: Assignment, backend: Backend, budget: Callable[[float], float]) -> Trial:
    """Make some steps of a training.

    Parameters
    ----------
    assignment : Assignment
    backend : Backend
    budget : callable
        Given the seconds that a step seems to take, those that the trial may take.

    Raises
    ------
    BackendUnavailable, InputError
        If the training can't begin.
    """
    plan = replace(assignment.plan, optimizer=replace(assignment.plan.optimizer, learning_rate=RATE))
    assignment = replace(assignment, plan=plan, recipe=replace(assignment.recipe, epochs=ENDLESS))
    began = time.perf_counter()
    program = backend.compile(plan)
    compiled = time.perf_counter()
    training = assignment.begin(backend, program)
    started = time.perf_counter()
    try:
        slices = _slices(training, budget)
        counted = _warmed(slices)
        # The median: a moment in which the machine did something else shall not count for the whole training.
        step_s = statistics.median(one.run_seconds / one.steps for one in counted)
        per_epoch = assignment.workload.steps_per_epoch
        if sum(one.steps for one in counted) >= ENOUGH_EPOCHS * per_epoch:
            epoch_s = statistics.median(one.seconds / one.steps for one in counted) * per_epoch
        else:
            epoch_s = step_s * per_epoch + _once_an_epoch(assignment, training)
        spread = _standard_error([one.run_seconds / one.steps for one in counted])
        return Trial(started - began, started - compiled, step_s, epoch_s, spread, sum(one.seconds for one in slices))
    except TrainingDiverged as error:
        # What that says of the learning rate is of the trial's own.
        raise InputError(
            "the loss is NaN or infinite from the beginning, so there is nothing to train: the numbers in the data are too "
            "large for this loss and dtype; scale them."
        ) from error
    finally:
        training.run.close()


def _slices(training: Training, budget: Callable[[float], float]) -> list[Slice]:
    slices = [training.one_slice()]
    seconds = slices[0].seconds
    while len(slices) < 2 or seconds < budget(slices[-1].run_seconds / slices[-1].steps):
        slices.append(training.one_slice())
        seconds += slices[-1].seconds
    return slices


def _warmed(slices: list[Slice]) -> list[Slice]:
    """Those after the warm-up; the last one at least."""
    warm_up, passed = WARM_UP * sum(one.seconds for one in slices), 0.0
    for number, one in enumerate(slices):
        if passed >= warm_up and number:
            return slices[number:]
        passed += one.seconds
    return slices[-1:]


def _once_an_epoch(assignment: Assignment, training: Training) -> float:
    """The seconds that the order of the rows takes, and the validation, of which a part is done."""
    recipe, began = assignment.recipe, time.perf_counter()
    if assignment.workload.steps_per_epoch > 1:
        recipe.order.epoch(0, assignment.training_rows)
    seconds = time.perf_counter() - began
    if assignment.held_out is None:
        return seconds
    x, targets, weights = assignment.held_out
    part = slice(0, VALIDATION_ROWS)
    for _ in range(2):  # the first time, buffers are made
        began = time.perf_counter()
        outputs = training.run.predict(x[part])
        evaluate(
            assignment.plan.loss, recipe.metrics, targets[part], outputs, None if weights is None else weights[part]
        )
        took = time.perf_counter() - began
    return seconds + took * len(x) / len(x[part])


def _standard_error(values: list[float]) -> float:
    """That of the mean, as a part of it; infinite for a single value."""
    if len(values) < 2:
        return math.inf
    return statistics.stdev(values) / statistics.fmean(values) / math.sqrt(len(values))


def process_seconds(backend: str) -> float:
    """From the start of a new process to a program that is ready: imports, and kernels that were compiled before."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", _READY, backend, *sys.path], check=True, capture_output=True)
    return time.perf_counter() - began


_READY = """
import sys
sys.path[:] = sys.argv[2:]  # nothing is imported from the folder that happens to be the current one
from nnaccel import Adam, Dense, Network, get_backend, train
from nnaccel.losses import MeanSquaredError
from nnaccel.plan import Plan
get_backend(sys.argv[1]).compile(Plan(Network(64, [Dense(64), Dense(1)]), MeanSquaredError(), Adam()))
"""
