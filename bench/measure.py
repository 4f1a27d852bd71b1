"""Measuring a case: every contender is checked against the reference, then those that agree are timed in turn."""

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from nnaccel.bench.agreement import CHECKED_STEPS, Agreement, Oracle, checked_work
from nnaccel.bench.cases import Case, Work
from nnaccel.bench.contender import Contender, Task, Training
from nnaccel.bench.peak import Peak, product
from nnaccel.bench.stopwatch import Timing, Turn, rounds
from nnaccel.files import first_sentence

Status = Literal["timed", "disagrees", "failed", "left out"]

_PRODUCT = "the product"

MOST_SAMPLE_SECONDS = 8.0
"""Who takes longer for one sample isn't timed: the others would wait for it in every round."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Limits:
    """When to stop timing a case.

    Attributes
    ----------
    rounds : int
        The most rounds.
    fewest : int
        So many rounds are made even if the time is over.
    seconds : float
        For the whole case, from checking to timing.
    threads : int, optional
        The most threads that a contender may use.
    """

    rounds: int = 11
    fewest: int = 3
    seconds: float = math.inf
    threads: int | None = None

    def reached(self, rounds: int, seconds: float) -> bool:
        """Whether so many rounds within so many seconds are enough.

        Examples
        --------
        >>> limits = Limits(rounds=11, fewest=3, seconds=60)
        >>> limits.reached(4, 30.0), limits.reached(4, 61.0), limits.reached(2, 61.0)
        (False, True, False)
        """
        return rounds >= (self.rounds if seconds < self.seconds else min(self.rounds, self.fewest))


@dataclass(frozen=True)
class Entry:
    """What became of one contender on one case.

    Attributes
    ----------
    name : str
    kind : "backend" or "peer"
    status : "timed", "disagrees", "failed" or "left out"
        Only one that is "timed" has samples.
    kernel : str
        What ran.
    reason : str
        Why it wasn't timed.
    agreement : Agreement, optional
    start_seconds : float
        From nothing to ready: import, building, and compiling where that comes first.
    first_seconds : (float, float)
        Of the first calls, in which libraries compile: the checked steps, and the first sample.
    samples : tuple of float
        The seconds of each sample.
    """

    name: str
    kind: Literal["backend", "peer"]
    status: Status
    kernel: str = ""
    reason: str = ""
    agreement: Agreement | None = None
    start_seconds: float = 0.0
    first_seconds: tuple[float, float] = (0.0, 0.0)
    samples: tuple[float, ...] = ()

    @property
    def timing(self) -> Timing:
        """The samples, of which there must be two or more."""
        return Timing(self.samples)

    def compile_seconds(self, case: Case) -> float:
        """What starting cost beyond the steps themselves: the start, and the slower of the first two calls.

        The slower, because a library may compile anew for another number of steps.
        """
        step = self.timing.median / (case.epochs * case.steps_per_epoch)
        checked, sample = self.first_seconds
        extra = max(checked - CHECKED_STEPS * step, sample - self.timing.median, 0.0)
        return self.start_seconds + extra


@dataclass(frozen=True)
class CaseResult:
    """What one case came to, so far.

    Attributes
    ----------
    case : Case
    peak : Peak
        The machine's best product, before the case and during it.
    entries : tuple of Entry
        In the order of the contenders.
    """

    case: Case
    peak: Peak
    entries: tuple[Entry, ...]

    @property
    def timed(self) -> list[Entry]:
        """The contenders with two samples or more."""
        return [entry for entry in self.entries if len(entry.samples) > 1]

    @property
    def floor(self) -> float:
        """The seconds of an epoch's products at the machine's peak."""
        return self.peak.floor(self.case.operations_per_epoch)

    def epoch_seconds(self, entry: Entry) -> float:
        """The median, for one epoch."""
        return entry.timing.median / self.case.epochs


def measure(
    case: Case, contenders: Sequence[Contender], peak: Peak, limits: Limits, tell: Callable[[str], None]
) -> Iterator[CaseResult]:
    """Check the contenders, then time them round by round.

    Parameters
    ----------
    case : Case
    contenders : sequence of Contender
    peak : Peak
        As it is known so far; a product of its size takes part in each round.
    limits : Limits
    tell : callable
        Gets a few words of progress.

    Yields
    ------
    CaseResult
        Once the contenders are checked, and after each round: a caller that is interrupted keeps the last one.
    """
    began, label = time.perf_counter(), f"{case.name}, {case.optimizer.name}"
    oracle, work = Oracle(Task.of(case)), case.work()
    entries: dict[str, Entry] = {}
    trainings: dict[str, Training] = {}
    for contender in contenders:
        tell(f"{label}: checking {contender.name}")
        entries[contender.name], training = _begin(contender, oracle, work, limits.threads)
        if training is not None:
            trainings[contender.name] = training
    turns = {name: _turn(training, work) for name, training in trainings.items()}
    yield CaseResult(case, peak, tuple(entries.values()))
    if not turns:
        return
    turns[_PRODUCT] = Turn(product(peak.library, peak.size, peak.dtype))
    turns[_PRODUCT].run()
    for number, seconds in enumerate(rounds(turns), start=1):
        peak = peak.faster(seconds[_PRODUCT])
        for name in trainings:
            entries[name] = replace(entries[name], samples=(*entries[name].samples, seconds[name]))
        tell(f"{label}: round {number} of {limits.rounds}")
        yield CaseResult(case, peak, tuple(entries.values()))
        if limits.reached(number, time.perf_counter() - began):
            return


def _turn(training: Training, work: Work) -> Turn:
    return Turn(run=lambda: training.train(work), prepare=training.restart)


def _begin(contender: Contender, oracle: Oracle, work: Work, threads: int | None) -> tuple[Entry, Training | None]:
    """Start a contender, check it, and let it make a first sample; no training if it isn't to be timed."""
    entry = Entry(contender.name, contender.kind, "left out")
    reason = contender.cannot(oracle.task.case)
    if reason is not None:
        return replace(entry, reason=reason), None
    try:
        with warnings.catch_warnings():
            # What other libraries have to say of themselves isn't for our users.
            if contender.kind == "peer":
                warnings.simplefilter("ignore")
            return _checked(contender, oracle, work, threads)
    except Exception as error:
        # What other libraries raise can't be foreseen; what a backend raises must come out.
        if contender.kind == "backend":
            raise
        reason = f"{type(error).__name__}: {first_sentence(error)}"
        return replace(entry, status="failed", reason=reason), None


def _checked(contender: Contender, oracle: Oracle, work: Work, threads: int | None) -> tuple[Entry, Training | None]:
    task = oracle.task
    checked = checked_work(task.case)
    training, start_seconds = _timed(lambda: contender.start(task, threads))
    _, check_seconds = _timed(lambda: training.train(checked))
    agreement = oracle.compare(training.parameters(), contender.optimizer(task.case))
    entry = Entry(contender.name, contender.kind, "timed", training.kernel, "", agreement, start_seconds)
    if not agreement.ok:
        reason = f"off by {agreement.relative:.1e}, where {agreement.allowed:.1e} is allowed"
        return replace(entry, status="disagrees", reason=reason), None
    if len(work.steps) == len(checked.steps):  # nothing is left to compile
        return replace(entry, first_seconds=(check_seconds, check_seconds)), training
    training.restart()
    _, sample_seconds = _timed(lambda: training.train(work))
    if sample_seconds > MOST_SAMPLE_SECONDS:
        reason = f"a sample takes {sample_seconds:.0f} s, too long to repeat"
        return replace(entry, status="left out", reason=reason), None
    return replace(entry, first_seconds=(check_seconds, sample_seconds)), training


def _timed(function: Callable[[], Result]) -> tuple[Result, float]:
    began = time.perf_counter()
    result = function()
    return result, time.perf_counter() - began
