"""A whole benchmark: a goal, cases, contenders, a limit of time; it keeps what it has, should it be interrupted."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nnaccel.backends import Backend
from nnaccel.bench.cases import OPTIMIZERS, Case, variants
from nnaccel.bench.conditions import read_blas, read_conditions
from nnaccel.bench.contender import BackendContender, Contender, Peer
from nnaccel.bench.goal import Attempt, Goal, describe_goal, measure_goal, with_score
from nnaccel.bench.measure import CaseResult, Entry, Limits, measure
from nnaccel.bench.measured import is_busy
from nnaccel.bench.peak import QUICK_SIZES, SIZES, Peak, installed_libraries, measure_peak
from nnaccel.bench.peers import PEERS, Skipped, installed_peers
from nnaccel.bench.schema import FORMAT, MOST_SAMPLES, VERSION
from nnaccel.errors import check

SECONDS, PEERS_SECONDS, QUICK_SECONDS = 140.0, 270.0, 20.0
"""What all may take together, if the fewest rounds of each case can be made in it; more where peers take part."""

GOAL_PART = 0.15
"""The part of that time which the goal may take."""

QUICK_ROUNDS, QUICK_DIVISOR = 2, 5


@dataclass(frozen=True)
class Settings:
    """What to measure.

    Attributes
    ----------
    cases, optimizers : sequence of str
        Names; empty for all, or for the first optimizer alone where all is to be quick.
    peers : bool
        Whether all peers take part; NumPy does in any case.
    threads : int, optional
        The most that a contender may use.
    rounds : int, optional
        The most rounds of a case; by default 11.
    quick : bool
        Fewer rounds and shorter samples: to see whether all works.

    Raises
    ------
    InputError
        If a name is unknown or a number out of range.
    """

    cases: Sequence[str] = ()
    optimizers: Sequence[str] = ()
    peers: bool = False
    threads: int | None = None
    rounds: int | None = None
    quick: bool = False

    def __post_init__(self) -> None:
        variants(self.cases, self.optimizers)
        check(self.threads is None or self.threads >= 1, f"threads must be 1 or more, not {self.threads}.")
        check(
            self.rounds is None or 2 <= self.rounds <= MOST_SAMPLES,
            f"rounds must be 2 or more and at most {MOST_SAMPLES:,}, not {self.rounds}.",
        )

    def chosen_cases(self) -> list[Case]:
        """The cases to measure."""
        if not self.quick:
            return variants(self.cases, self.optimizers)
        optimizers = self.optimizers or list(OPTIMIZERS)[:1]
        return [case.shortened(QUICK_DIVISOR) for case in variants(self.cases, optimizers)]

    @property
    def seconds(self) -> float:
        """What all may take together."""
        return QUICK_SECONDS if self.quick else PEERS_SECONDS if self.peers else SECONDS

    @property
    def most_rounds(self) -> int:
        """The most rounds of a case."""
        return self.rounds or (QUICK_ROUNDS if self.quick else Limits.rounds)

    @property
    def fewest_rounds(self) -> int:
        """The rounds of a case that are made however long they take."""
        return QUICK_ROUNDS if self.quick else Limits.fewest

    def describe(self, backends: Sequence[str]) -> dict[str, Any]:
        """The settings for JSON."""
        return {
            "backends": list(backends),
            "cases": list(dict.fromkeys(case.name for case in self.chosen_cases())),
            "optimizers": list(dict.fromkeys(case.optimizer.name for case in self.chosen_cases())),
            "peers": self.peers,
            "threads": self.threads,
            "rounds": self.most_rounds,
            "quick": self.quick,
        }


class Suite:
    """A benchmark under way.

    Parameters
    ----------
    backends : sequence of Backend
        The first is the one that all others are compared with.
    settings : Settings
    goal : Goal, optional
    unavailable : sequence of Skipped
        The backends that were asked for and can't run here.

    Attributes
    ----------
    skipped : list of Skipped
        The peers that aren't installed.
    goal : Goal, optional
        With the score to reach, once it is found.
    attempts : tuple of Attempt
        What became of the goal; empty unless it is done, or was interrupted after two rounds.
    """

    def __init__(
        self,
        backends: Sequence[Backend],
        settings: Settings,
        goal: Goal | None = None,
        unavailable: Sequence[Skipped] = (),
    ) -> None:
        self._began = time.perf_counter()
        self._conditions = read_conditions()
        self._backends, self._settings, self._unavailable = list(backends), settings, list(unavailable)
        self.goal, self._goal_left = goal, goal is not None
        self.attempts: tuple[Attempt, ...] = ()
        peers, self.skipped = _peers(settings.peers)
        self._contenders: list[Contender] = [*map(BackendContender, backends), *peers]
        self._libraries = installed_libraries([peer.name for peer in peers])
        self._peaks: dict[str, Peak] = {}
        self._left = settings.chosen_cases()
        self._results: list[CaseResult] = []

    @property
    def results(self) -> list[CaseResult]:
        """The cases that are done, and one that was interrupted, if it has two rounds; at the run's best product."""
        return [replace(result, peak=self._peaks[result.case.dtype]) for result in self._results]

    @property
    def busy(self) -> float | None:
        """The load before the run, if the machine had other work to do; None if it hadn't, or doesn't tell."""
        return self._conditions["load_before"][0] if is_busy(self._conditions) else None

    @property
    def finished(self) -> bool:
        """Whether nothing is left."""
        return not self._left and not self._goal_left

    @property
    def base(self) -> str:
        """The name of the backend that all others are compared with."""
        return self._backends[0].name

    @property
    def machine(self) -> dict[str, Any]:
        """What the machine is, for JSON."""
        found: dict[str, Any] = self._conditions["machine"]
        return found

    @property
    def anything(self) -> bool:
        """Whether there is something to keep."""
        return bool(self._results or self.attempts)

    def run_goal(self, tell: Callable[[str], None]) -> None:
        """Measure how long the goal takes; an interruption leaves what there is of it in `attempts`."""
        assert self.goal is not None, "there is a goal to run"
        settings = self._settings
        limits = Limits(settings.most_rounds, 2, GOAL_PART * settings.seconds, settings.threads)
        tell(f"{self.goal.data}: looking for a score to reach")
        self.goal = with_score(self.goal, self._backends[0], settings.threads)
        found: list[tuple[Attempt, ...]] = []
        try:
            found.extend(measure_goal(self.goal, self._backends, limits, tell))
        finally:
            # One that was interrupted is kept if it has two rounds.
            if found and any(len(attempt.samples) > 1 for attempt in found[-1]):
                self.attempts = found[-1]
        self.attempts, self._goal_left = found[-1], False

    def run_next(self, tell: Callable[[str], None]) -> CaseResult:
        """Measure the next case; an interruption leaves what there is of it in `results`."""
        case = self._left[0]
        if case.dtype not in self._peaks:
            tell(f"looking for the fastest product in {case.dtype}")
            sizes = QUICK_SIZES if self._settings.quick else SIZES
            self._peaks[case.dtype] = measure_peak(case.dtype, self._libraries, sizes)
        share = (self._settings.seconds - (time.perf_counter() - self._began)) / len(self._left)
        limits = Limits(self._settings.most_rounds, self._settings.fewest_rounds, share, self._settings.threads)
        result: CaseResult | None = None
        try:
            for result in measure(case, self._contenders, self._peaks[case.dtype], limits, tell):
                self._peaks[case.dtype] = result.peak
        except KeyboardInterrupt:
            if result is not None and result.timed:
                self._results.append(result)
            raise
        assert result is not None, "a case gives a result before its first round"
        self._results.append(result)
        del self._left[0]
        return result

    def describe(self) -> dict[str, Any]:
        """All of it for JSON; `schema.py` says what is where."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "finished": self.finished,
            "seconds": time.perf_counter() - self._began,
            "settings": self._settings.describe([backend.name for backend in self._backends]),
            **self._conditions,
            "blas": read_blas(),
            "unavailable": [backend._asdict() for backend in self._unavailable],
            "skipped": [skipped._asdict() for skipped in self.skipped],
            "notes": {name: peer.note for name, peer in PEERS.items()},
            "results": [_describe_result(result) for result in self.results],
            "goal": describe_goal(self.goal, self.attempts) if self.goal and self.attempts else None,
        }


def _peers(wanted: bool) -> tuple[list[Peer], list[Skipped]]:
    found, skipped = installed_peers()
    return (found, skipped) if wanted else ([peer for peer in found if peer.name == "numpy"], [])


def _describe_result(result: CaseResult) -> dict[str, Any]:
    case, peak = result.case, result.peak
    return {
        "case": {
            "name": case.name, "optimizer": str(case.optimizer), "rows": case.rows, "features": case.features,
            "hidden": list(case.hidden), "outputs": case.outputs, "activation": case.activation,
            "output_activation": case.output_activation, "bias": case.bias, "loss": case.loss, "batch": case.batch,
            "dtype": case.dtype,
        },
        "steps_per_epoch": case.steps_per_epoch,
        "epochs_per_sample": case.epochs,
        "operations_per_epoch": case.operations_per_epoch,
        "peak": {"library": peak.library, "size": peak.size, "operations_per_second": peak.operations_per_second},
        "floor_seconds_per_epoch": result.floor,
        "contenders": [_describe_entry(entry, result) for entry in result.entries],
    }  # fmt: skip


def _describe_entry(entry: Entry, result: CaseResult) -> dict[str, Any]:
    agreement = entry.agreement
    timed = entry in result.timed
    return {
        "name": entry.name,
        "kind": entry.kind,
        "status": entry.status,
        "kernel": entry.kernel,
        "reason": entry.reason,
        "difference": None if agreement is None else agreement._asdict(),
        "start_seconds": entry.start_seconds,
        "first_seconds": list(entry.first_seconds),
        "compile_seconds": entry.compile_seconds(result.case) if timed else None,
        "seconds_per_epoch": result.epoch_seconds(entry) if timed else None,
        "samples": list(entry.samples),
    }
