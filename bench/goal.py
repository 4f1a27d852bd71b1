"""How long until a score is reached on real data: the same training on every backend, judged by rows held out.

The time is that of the training alone, as in DAWNBench (Coleman et al. 2017): a first training, which is judged after each
epoch, finds out how many epochs it takes, and then whole trainings of so many epochs are timed in turn.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nnaccel.assessment import baseline, constant_prediction, in_own_units
from nnaccel.backends import Backend
from nnaccel.bench.contender import SEED
from nnaccel.bench.measure import Limits
from nnaccel.bench.stopwatch import Timing, Turn, rounds
from nnaccel.errors import check
from nnaccel.loop import Training, TrainingDiverged
from nnaccel.losses import Loss, as_loss
from nnaccel.metrics import Metric, default_metrics
from nnaccel.model import Model
from nnaccel.network import Dense, Network
from nnaccel.preparation import Prepared, Question, Roles, prepare
from nnaccel.sources.opening import open_source
from nnaccel.targets import USUAL_LOSS
from nnaccel.training import train

DIGITS, DIGITS_SCORE = "digits", 0.95
"""What is learnt unless something else is asked for: scikit-learn's digits, to an accuracy that a small network reaches."""

HIDDEN, OPTIMIZER, BATCH, DTYPE, MOST_EPOCHS = (100,), "adam", 64, "float32", 100

TRIAL_EPOCHS, TRIAL_SECONDS, PART = 30, 10.0, 0.95
"""Where no score is asked for, it is found by so many epochs: that part of the way from a constant prediction to the best."""


@dataclass(frozen=True)
class Goal:
    """A score, and the training that is to reach it.

    Attributes
    ----------
    data : str
        The name of the set or file.
    prepared : Prepared
        With rows held out.
    score : float
        Of the task's usual metric, accuracy or R2: what is to be reached on the rows held out.
    """

    data: str
    prepared: Prepared
    score: float = math.nan

    @property
    def loss(self) -> Loss:
        """The usual one of the task."""
        return as_loss(USUAL_LOSS[self.prepared.task])

    @property
    def metric(self) -> Metric:
        """The usual one of the loss, in the units of the target."""
        return in_own_units(default_metrics(self.loss)[:1], self.prepared.encoding.target)[0]

    @property
    def network(self) -> Network:
        """One hidden layer of 100 units, as `nnaccel train` has it."""
        encoding = self.prepared.encoding
        return Network(encoding.width, [*(Dense(n, "relu") for n in HIDDEN), Dense(encoding.target.outputs)])

    @property
    def shape(self) -> str:
        """Sizes for people to read."""
        widths = "-".join(map(str, (*HIDDEN, self.prepared.encoding.target.outputs)))
        return f"{len(self.prepared.training.y):,} x {self.prepared.encoding.width}, {widths}, batch {BATCH}"

    def train(self, backend: str, threads: int | None, epochs: int, **settings: Any) -> Model:
        """Train for so many epochs."""
        x, y, weights = self.prepared.training.x, self.prepared.training.y, self.prepared.training_weights
        return train(
            self.network, x, y, sample_weight=weights, loss=self.loss, optimizer=OPTIMIZER, batch_size=BATCH, dtype=DTYPE,
            seed=SEED, epochs=epochs, backend=backend, threads=threads, **settings,
        )  # fmt: skip

    def judged(self, backend: str, threads: int | None, epochs: int, seconds: float, **settings: Any) -> Model:
        """Train for at most so many epochs and seconds, and judge each epoch."""
        held_out = self.prepared.held_out
        assert held_out is not None, "a goal has rows held out"
        validation = (held_out.x, held_out.y, held_out.weights)
        return self.train(
            backend, threads, epochs, validation=validation, metrics=(self.metric,), time_limit=seconds, **settings
        )

    def scores(self, training: Model | Training) -> list[float]:
        """What each finished epoch scored."""
        column = f"validation_{self.metric.name}"
        if isinstance(training, Training):
            history = training.progress.history
        else:
            assert training.report is not None, "train() leaves a report"
            history = training.report.history
        return history.as_dict().get(column, [])


@dataclass(frozen=True)
class Attempt:
    """What became of one backend's training.

    Attributes
    ----------
    name, kernel : str
    reached : bool
    epochs : int
        After so many the score was reached, or else given up.
    score : float
        After them; NaN if not one was finished.
    reason : str
        Why the score wasn't reached.
    compile_seconds : float
    samples : tuple of float
        The seconds of each training of so many epochs, from call to model.
    """

    name: str
    kernel: str = ""
    reached: bool = False
    epochs: int = 0
    score: float = math.nan
    reason: str = ""
    compile_seconds: float = 0.0
    samples: tuple[float, ...] = ()

    @property
    def timing(self) -> Timing:
        """The samples, of which there must be two or more."""
        return Timing(self.samples)


def open_goal(data: str, target: str | None, score: float | None) -> Goal:
    """The goal that a set or a file sets.

    Parameters
    ----------
    data : str
        As `nnaccel train` takes it.
    target : str, optional
        The column to predict, where the data don't tell.
    score : float, optional
        By default that of `DIGITS_SCORE` for the digits, and NaN for others: see `with_score`.

    Raises
    ------
    InputError
        If the data can't be read, or no rows can be held out.

    Examples
    --------
    >>> open_goal("digits", None, None).shape
    '1,438 x 64, 100-10, batch 64'
    """
    check(score is None or math.isfinite(score), f"the score to reach must be a number, not {score}.")
    source = open_source(data)
    prepared = prepare(source, Question(Roles(target=target), dtype=DTYPE, seed=SEED))
    check(prepared.held_out is not None, f"{data} has too few rows to hold some out.")
    usual = DIGITS_SCORE if data == DIGITS else math.nan
    return Goal(source.name, prepared, usual if score is None else score)


def with_score(goal: Goal, backend: Backend, threads: int | None) -> Goal:
    """The goal with a score, if it has none: most of the way from a constant prediction to the best of some epochs.

    Raises
    ------
    InputError
        If not one epoch ends in time, or nothing is learnt.
    """
    if not math.isnan(goal.score):
        return goal
    scores = goal.scores(goal.judged(backend.name, threads, TRIAL_EPOCHS, TRIAL_SECONDS))
    check(len(scores) > 0, f"no epoch of {goal.data} ends within {TRIAL_SECONDS:g} s: name the score with --score.")
    training, held_out = goal.prepared.training, goal.prepared.held_out
    assert held_out is not None, "a goal has rows held out"
    constant = constant_prediction(goal.loss, training.y, goal.network.output_shape[0], goal.prepared.training_weights)
    least = baseline((goal.metric,), constant, held_out.y, held_out.weights)[goal.metric.name]
    best = max(scores)
    check(best > least, f"{goal.data} teaches nothing in {len(scores)} epochs: name the score to reach with --score.")
    return replace(goal, score=float(f"{least + PART * (best - least):.3g}"))


def measure_goal(
    goal: Goal, backends: Sequence[Backend], limits: Limits, tell: Callable[[str], None]
) -> Iterator[tuple[Attempt, ...]]:
    """Find out how many epochs each backend needs, then time those trainings in turn.

    Yields
    ------
    tuple of Attempt
        Once each has been tried, and after each round: a caller that is interrupted keeps the last one.
    """
    began, attempts = time.perf_counter(), {}
    for backend in backends:
        tell(f"{goal.data} to {goal.metric.name} {goal.score:g}: {backend.name}")
        attempts[backend.name] = _attempt(goal, backend, limits.seconds / (4 * len(backends)), limits.threads)
    yield tuple(attempts.values())
    turns = {
        name: Turn(lambda name=name, epochs=attempt.epochs: goal.train(name, limits.threads, epochs))  # type: ignore[misc]
        for name, attempt in attempts.items()
        if attempt.reached
    }
    for number, seconds in enumerate(rounds(turns), start=1):
        for name, taken in seconds.items():
            attempts[name] = replace(attempts[name], samples=(*attempts[name].samples, taken))
        tell(f"{goal.data} to {goal.metric.name} {goal.score:g}: round {number} of {limits.rounds}")
        yield tuple(attempts.values())
        if limits.reached(number, time.perf_counter() - began):
            return


def _attempt(goal: Goal, backend: Backend, seconds: float, threads: int | None) -> Attempt:
    def reached(training: Training) -> bool:
        return goal.scores(training)[-1] >= goal.score

    try:
        model = goal.judged(backend.name, threads, MOST_EPOCHS, seconds, callbacks=[reached])
    except TrainingDiverged:
        return Attempt(backend.name, reason="the loss became NaN or infinite")
    assert model.report is not None, "train() leaves a report"
    scores, report = goal.scores(model), model.report
    score = scores[-1] if scores else math.nan
    found = Attempt(backend.name, report.kernel, score >= goal.score, len(scores), score, "", report.seconds_compile)
    if found.reached:
        return found
    best = f"the best was {max(scores):.4g}" if scores else "none was finished"
    return replace(found, reason=f"not within {len(scores)} epochs, of which {best}, in {report.seconds:.3g} s")


def describe_goal(goal: Goal, attempts: Sequence[Attempt]) -> dict[str, Any]:
    """All of it for JSON."""
    prepared = goal.prepared
    assert prepared.held_out is not None, "a goal has rows held out"
    return {
        "data": goal.data, "task": prepared.task, "rows": len(prepared.training.y), "held_out": len(prepared.held_out.y),
        "features": prepared.encoding.width, "hidden": list(HIDDEN), "outputs": prepared.encoding.target.outputs,
        "loss": goal.loss.name, "optimizer": OPTIMIZER, "batch": BATCH, "dtype": DTYPE, "seed": SEED,
        "metric": goal.metric.name, "score": goal.score, "most_epochs": MOST_EPOCHS,
        "contenders": [
            {
                "name": attempt.name, "kernel": attempt.kernel, "reached": attempt.reached, "epochs": attempt.epochs,
                "score": attempt.score, "reason": attempt.reason, "compile_seconds": attempt.compile_seconds,
                "samples": list(attempt.samples),
            }
            for attempt in attempts
        ],
    }  # fmt: skip
