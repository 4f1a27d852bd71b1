"""What `nnaccel bench` measures, one thing at a time, and how its result is shown and kept while it grows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nnaccel.backends import Backend, backend_class, backend_names, choose_backend, get_backend
from nnaccel.bench import estimates, estimators, keeping, scaling, scaling_view
from nnaccel.bench.conditions import read_conditions
from nnaccel.bench.goal import DIGITS, Goal, open_goal
from nnaccel.bench.peers import Skipped
from nnaccel.bench.suite import Settings, Suite
from nnaccel.bench.text import case_lines, goal_lines, skipped_lines, summary_lines
from nnaccel.calibration import calibrate
from nnaccel.cli import bench_files
from nnaccel.cli.options import Speaker, names
from nnaccel.cli.screen import ProgressLine, duration
from nnaccel.errors import InputError, check
from nnaccel.files import check_writable, written_whole
from nnaccel.machine import read_machine
from nnaccel.threads import at_most


@dataclass(frozen=True)
class Wishes:
    """What is to be measured, as it was asked for.

    Attributes
    ----------
    backend : str
        Names between commas; empty for all that can run.
    settings : Settings
    data, target : str, optional
        What to learn.
    score : float, optional
    scaling, estimators, estimates : bool
        These instead of the suite.
    """

    backend: str
    settings: Settings
    data: str | None = None
    target: str | None = None
    score: float | None = None
    scaling: bool = False
    estimators: bool = False
    estimates: bool = False

    def __post_init__(self) -> None:
        given, chosen = self.settings, self.settings.cases or self.settings.optimizers
        learns = self.data is not None or self.target is not None or self.score is not None
        check(
            not self.scaling or not (given.peers or chosen or learns),
            "--scaling has its own cases: leave out --case and --peers, and what is to be learnt.",
        )
        check(
            not self.estimators or not (self.scaling or given.peers or chosen or learns or given.threads),
            "--estimators has its own cases: leave out --scaling, --case, --optimizer, --peers, --threads and what is to be "
            "learnt.",
        )
        check(
            not self.estimates
            or not (
                self.scaling or self.estimators or given.peers or chosen or learns or given.threads or given.rounds
            ),
            "--estimates draws its own trainings: leave out all but --backend and --quick.",
        )
        check(self.target is None or self.data is not None, "--target is a column of --data: give both.")
        check(not self.backend or bool(names(self.backend)), "--backend takes a name such as cpu.")

    @property
    def kind(self) -> str:
        """What the result is called: a whole suite shall not be replaced by a part of one."""
        settings = self.settings
        if self.scaling or self.estimators:
            return "scaling" if self.scaling else "estimators"
        if self.estimates:
            return "part" if self.backend or settings.quick else "estimates"
        if settings.cases or settings.optimizers or self.backend or self.data or settings.threads or settings.rounds:
            return "part"
        return "quick" if settings.quick else "peers" if settings.peers else "suite"

    def backends(self) -> tuple[list[Backend], list[Skipped]]:
        """The backends to measure, the one that `auto` takes first, and those that can't run here.

        Raises
        ------
        InputError, BackendUnavailable
            If one was asked for that there isn't, or that can't run here.
        """
        wanted = names(self.backend) or ["auto"]
        found = {choice.backend.name: choice.backend for choice in map(choose_backend, wanted)}
        check(not self.scaling or len(found) == 1, "--scaling takes one backend.")
        if self.backend or self.scaling or self.estimators:
            return list(found.values()), []
        reasons = {name: backend_class(name).unavailable_reason() for name in backend_names() if name not in found}
        others = [get_backend(name) for name, reason in reasons.items() if reason is None]
        return [*found.values(), *others], [Skipped(name, reason) for name, reason in reasons.items() if reason]

    def goal(self) -> Goal | None:
        """What is to be learnt: the digits, or what was asked for; nothing where single cases were."""
        chosen = self.settings.cases or self.settings.optimizers
        if self.data is None and self.score is None and chosen:
            return None
        return open_goal(self.data or DIGITS, self.target, self.score)


class Ways:
    """Where a result goes.

    Parameters
    ----------
    say : Speaker
    quiet : bool
        Show no progress, either.
    out, plot, report : Path, optional
    """

    def __init__(self, say: Speaker, quiet: bool, out: Path | None, plot: Path | None, report: Path | None) -> None:
        self.say, self.progress = say, ProgressLine(say.stream, silent=quiet)
        self.plot, self._report, self._out = plot, report, out
        self.path: Path | None = None

    def open(self, kind: str, machine: Mapping[str, Any]) -> None:
        """Find out where the result of a kind is kept: only what was asked for is an error if it can't be."""
        folder, path = self._out, self._out
        try:
            if folder is None:
                folder = keeping.make_results_folder()
            if path is None or folder.is_dir():
                path = keeping.kept_path(kind, machine, folder)
            check_writable(path)
            self.path = path
        except InputError as error:
            if self._out is not None:
                raise
            self.say(f"not kept   {error}")

    def keep(self, result: Mapping[str, Any]) -> None:
        """Write what there is so far."""
        if self.path is not None:
            keeping.keep(self.path, result)

    def tell(self, *others: Path | None, how: Literal["", ", as far as it got"] = "") -> None:
        """Say what was written where."""
        for path in (self.path, *others):
            if path is not None:
                self.say(f"written    {path}{how}")

    def report(self, result: dict[str, Any]) -> None:
        """Write the page, if one was asked for: of this result, and of what else is kept of this machine."""
        if self._report is None:
            return
        others = bench_files.kept_beside(self.path, result["machine"], self.say)
        bench_files.write_report(self._report, [result, *others])
        self.say(f"written    {self._report}")


def run(wishes: Wishes, ways: Ways) -> dict[str, Any]:
    """Measure, show and keep what was wished for, and return it as JSON has it.

    Raises
    ------
    InputError, BackendUnavailable
        If a wish can't be met: before anything is measured.
    """
    backends, unavailable = wishes.backends()
    if wishes.estimators:
        return _contest(wishes, ways)
    goal = None if wishes.scaling or wishes.estimates else wishes.goal()
    for backend in backends:
        ways.say(f"backend    {backend.name}: {backend.device}")
    for line in skipped_lines(unavailable):
        ways.say(line)
    if wishes.estimates:
        return _estimate([backend.name for backend in backends], wishes, ways)
    if wishes.scaling:
        # Each point has its own number of threads, which a limit around all would override.
        return _scale(backends[0], wishes, ways)
    with at_most(wishes.settings.threads):
        return _suite(Suite(backends, wishes.settings, goal, unavailable), wishes, ways)


def _suite(suite: Suite, wishes: Wishes, ways: Ways) -> dict[str, Any]:
    """Measure the goal and case after case, then show all in one table."""
    say, base = ways.say, suite.base
    ways.open(wishes.kind, suite.machine)
    for line in skipped_lines(suite.skipped):
        say(line)
    if suite.busy is not None:
        say(f"busy       a load of {suite.busy:.1f} before the run: other work disturbs what is measured")
    try:
        _run(suite, ways)
    except KeyboardInterrupt:
        ways.progress.clear()
        if suite.anything:
            ways.keep(suite.describe())
            ways.tell(how=", as far as it got")
        raise
    if suite.results:
        say()
        for line in summary_lines(suite.results, base):
            say(line)
    result = suite.describe()
    say()
    say(f"time       {duration(result['seconds'])}")
    ways.tell()
    ways.report(result)
    return result


def _run(suite: Suite, ways: Ways) -> None:
    """Measure one thing after the other; what is there is kept after each."""
    if suite.goal is not None:
        suite.run_goal(ways.progress.show)
        ways.progress.clear()
        ways.say()
        for line in goal_lines(suite.goal, suite.attempts):
            ways.say(line)
        ways.keep(suite.describe())
    while not suite.finished:
        result = suite.run_next(ways.progress.show)
        ways.progress.clear()
        ways.say()
        for line in case_lines(result, suite.base):
            ways.say(line)
        ways.keep(suite.describe())


def _contest(wishes: Wishes, ways: Ways) -> dict[str, Any]:
    """Measure the estimators beside scikit-learn's; an interruption leaves what is in the file."""
    conditions, found, settings = read_conditions(), [], wishes.settings
    ways.open(wishes.kind, conditions["machine"])
    ways.say()
    ways.say(estimators.HEAD)
    for contest in estimators.contests():
        ways.progress.show(contest.name)
        found.append(estimators.measure_contest(contest, settings.most_rounds, 5.0 if settings.quick else 20.0))
        ways.progress.clear()
        ways.say(estimators.outcome_line(found[-1]))
        ways.keep(estimators.describe(found, conditions))
    ways.tell()
    return estimators.describe(found, conditions)


def _estimate(names: list[str], wishes: Wishes, ways: Ways) -> dict[str, Any]:
    """Calibrate, predict and train; an interruption leaves what is in the file."""
    conditions, found = read_conditions(), list[estimates.Outcome]()
    ways.open(wishes.kind, conditions["machine"])
    profile = calibrate(report=lambda line: ways.progress.show(f"calibrating: {line}"))
    ways.progress.clear()
    for line in profile.summary():
        ways.say(f"profile    {line}")
    ways.say(estimates.HEAD)
    for workload in estimates.workloads(estimates.QUICK_COUNT if wishes.settings.quick else estimates.COUNT):
        ways.progress.show(f"training of {workload.plan.network.parameter_count:,} parameters")
        outcomes = list(estimates.outcomes(workload, names, profile))
        ways.progress.clear()
        for outcome in outcomes:
            ways.say(estimates.outcome_line(outcome))
        found += outcomes
        ways.keep(estimates.describe(found, profile, conditions))
    ways.say()
    for line in estimates.summary_lines(found):
        ways.say(line)
    result = estimates.describe(found, profile, conditions)
    ways.tell()
    ways.report(result)
    return result


def _scale(backend: Backend, wishes: Wishes, ways: Ways) -> dict[str, Any]:
    """Measure how the cost of a row grows; an interruption leaves what is in the file."""
    conditions, found, settings = read_conditions(), [], wishes.settings
    ways.open(wishes.kind, conditions["machine"])
    limits = scaling.scaling_limits(settings.rounds, settings.quick, settings.threads)
    for points in scaling.sweeps(settings.threads or read_machine().usable_cores()):
        found.append(scaling.measure_sweep(backend, points, limits, ways.progress.show))
        ways.progress.clear()
        ways.say()
        for line in scaling_view.sweep_lines(found[-1]):
            ways.say(line)
        ways.keep(scaling.describe(backend, found, conditions))
    if ways.plot is not None:
        with written_whole(ways.plot) as part:
            figure = scaling_view.draw(found, f"backend {backend.name}, {backend.device}")
            figure.savefig(part, format=ways.plot.suffix[1:], dpi=150)
    result = scaling.describe(backend, found, conditions)
    ways.tell(ways.plot)
    ways.report(result)
    return result
