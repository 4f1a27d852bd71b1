"""How good the estimates are: trainings of many shapes, predicted, and then trained for some seconds, twice."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from nnaccel.backends import fastest_by, get_backend
from nnaccel.cost import Workload
from nnaccel.estimation import BackendEstimate, estimate
from nnaccel.network import Network
from nnaccel.plan import DTYPES
from nnaccel.profile import MachineProfile
from nnaccel.synthetic import log_uniform, random_plan, synthetic_assignment
from nnaccel.trial import RATE

FORMAT, VERSION = "nnaccel-estimates", 1

COUNT, QUICK_COUNT = 44, 6
"""How many trainings are drawn."""

LEAST_SECONDS = 2.0
"""So long each is trained, at least; until an epoch is over, if that isn't much longer."""

MOST_SECONDS = 6.0

MOST_BYTES = 1 << 30
"""The data of a training that is drawn take no more."""

WANTED_MEDIAN, WANTED_MOST, PROJECTED_MEDIAN = 0.05, 0.12, 0.15
"""The errors that are aimed at: the median, and what nine of ten stay below; and the median where the profile is all there is."""

SPREADS = 1.5
"""An error of so many times the spread from run to run can't be blamed on the estimate."""

NEARLY = 1.1
"""A backend within this factor of the fastest is as good."""


@dataclass(frozen=True)
class Outcome:
    """One training on one backend: what was said of it, and what it took.

    Attributes
    ----------
    backend, kernel, dtype, optimizer : str
    rows, features, batch_size, epochs_part : int or float
        `epochs_part` is how many epochs were trained, whole or not.
    hidden : list of int
    predicted_s, low_s, high_s : float
        By a trial, for what was trained.
    projected_s : float
        By the machine's profile alone.
    actual_s, again_s : float
        The first and the second time.
    chosen : bool
        Whether `auto` takes this backend, by the profile.
    """

    backend: str
    kernel: str
    dtype: str
    optimizer: str
    rows: int
    features: int
    hidden: list[int]
    batch_size: int
    epochs_part: float
    predicted_s: float
    low_s: float
    high_s: float
    projected_s: float
    actual_s: float
    again_s: float
    chosen: bool

    @property
    def error(self) -> float:
        """By how much the trial was off the mean of both runs, as a part."""
        return abs(self.predicted_s / self._mean - 1)

    @property
    def projection_error(self) -> float:
        """The same of the projection."""
        return abs(self.projected_s / self._mean - 1)

    @property
    def spread(self) -> float:
        """By how much both runs differ, as a part of their mean."""
        return abs(self.actual_s - self.again_s) / self._mean

    @property
    def _mean(self) -> float:
        return (self.actual_s + self.again_s) / 2


def workloads(count: int, seed: int = 0) -> list[Workload]:
    """Trainings drawn at random; sizes are spread evenly by their logarithm."""
    random, found = np.random.default_rng(seed), list[Workload]()
    while len(found) < count:
        plan = random_plan(random, DTYPES[len(found) % 2])
        rows = log_uniform(random, 200, 1_000_000)
        workload = Workload(plan, rows, min(rows, log_uniform(random, 8, 4096)))
        if workload.x_bytes <= MOST_BYTES:
            found.append(workload)
    return found


def outcomes(workload: Workload, backends: Sequence[str], profile: MachineProfile) -> Iterator[Outcome]:
    """One training on each backend."""
    chosen = next(iter(fastest_by(profile, workload)), None)
    said = {name: _said(workload, name, profile) for name in backends}
    assignment = synthetic_assignment(workload, MOST_BYTES)
    plan = replace(workload.plan, optimizer=replace(workload.plan.optimizer, learning_rate=RATE))
    assignment = replace(assignment, plan=plan, recipe=replace(assignment.recipe, epochs=10**9))
    # All of them once, and then again: what the machine does for a while then shows as spread.
    runs: dict[str, list[float]] = {name: [] for name in backends}
    kernels = {}
    for name in [*backends, *backends]:
        backend = get_backend(name)
        program = backend.compile(plan)
        training, kernels[name] = assignment.begin(backend, program), program.kernel
        steps = seconds = 0.0
        while seconds < LEAST_SECONDS or (steps < workload.steps_per_epoch and seconds < MOST_SECONDS):
            one = training.one_slice()
            steps, seconds = steps + one.steps, seconds + one.seconds
        training.run.close()
        runs[name].append(seconds / steps)
    for name in backends:
        yield _outcome(workload, name, kernels[name], said[name], runs[name], chosen == name)


def _said(workload: Workload, name: str, profile: MachineProfile) -> tuple[BackendEstimate, BackendEstimate]:
    """What is said of a training by a trial, and by the profile."""
    plan = workload.plan
    found = estimate(
        plan.network, rows=workload.rows, batch_size=workload.batch_size, loss=plan.loss, optimizer=plan.optimizer,
        dtype=plan.dtype, epochs=1, backends=[name], machines=[profile],
    )  # fmt: skip
    return found.backends[name], found.machines[profile.name][name]


def _outcome(
    workload: Workload,
    name: str,
    kernel: str,
    said: tuple[BackendEstimate, BackendEstimate],
    step_seconds: Sequence[float],
    chosen: bool,
) -> Outcome:
    tried, projected = said
    network = workload.plan.network
    # What LEAST_SECONDS of training are, by the first run.
    epochs = LEAST_SECONDS / step_seconds[0] / workload.steps_per_epoch
    low, high = tried.low_s / tried.total_s, tried.high_s / tried.total_s
    predicted = tried.per_epoch_s * epochs
    actual, again = (seconds * workload.steps_per_epoch * epochs for seconds in step_seconds)
    return Outcome(
        name, kernel, workload.plan.dtype, workload.plan.optimizer.name, workload.rows, math.prod(network.input_shape),
        _hidden(network), workload.batch_size, epochs, predicted, predicted * low, predicted * high,
        projected.per_epoch_s * epochs, actual, again, chosen,
    )  # fmt: skip


def _hidden(network: Network) -> list[int]:
    return [math.prod(shape) for shape in network.shapes[1:-1]]


def describe(found: Sequence[Outcome], profile: MachineProfile, conditions: Mapping[str, Any]) -> dict[str, Any]:
    """All outcomes for JSON, with the profile and the conditions under which they were found."""
    return {
        "format": FORMAT,
        "version": VERSION,
        **conditions,
        "profile": profile.describe(),
        "summary": summary(found),
        "configurations": [asdict(one) for one in found],
    }


def summary(found: Sequence[Outcome]) -> dict[str, Any]:
    """How good the estimates are, beside what is wanted of them."""
    spreads = [one.spread for one in found]
    choices = _choices(found)
    errors, projections = [one.error for one in found], [one.projection_error for one in found]
    inside = [one.low_s <= seconds <= one.high_s for one in found for seconds in (one.actual_s, one.again_s)]
    return {
        "trainings": len(found),
        "median_error": statistics.median(errors),
        "wanted_median_error": max(WANTED_MEDIAN, SPREADS * statistics.median(spreads)),
        "nine_of_ten_within": _nine_of_ten(errors),
        "wanted_nine_of_ten_within": max(WANTED_MOST, SPREADS * _nine_of_ten(spreads)),
        "interval_right": statistics.fmean(inside),
        "median_spread": statistics.median(spreads),
        "projected_median_error": statistics.median(projections),
        "wanted_projected_median_error": PROJECTED_MEDIAN,
        "auto_right": statistics.fmean(choices) if choices else math.nan,
    }


def _choices(found: Sequence[Outcome]) -> list[bool]:
    """Of each training on several backends whether `auto` takes the fastest, or one that is nearly as fast."""
    trainings: dict[tuple[Any, ...], list[Outcome]] = {}
    for one in found:
        trainings.setdefault((one.rows, one.features, *one.hidden, one.batch_size, one.dtype), []).append(one)
    right = []
    for group in trainings.values():
        epoch = {one.backend: min(one.actual_s, one.again_s) / one.epochs_part for one in group}
        if len(epoch) > 1:
            right += [epoch[one.backend] <= NEARLY * min(epoch.values()) for one in group if one.chosen]
    return right


def _nine_of_ten(values: Sequence[float]) -> float:
    return float(np.quantile(values, 0.9))


def outcome_line(one: Outcome) -> str:
    """One line of the table whose head is `HEAD`."""
    shape = "-".join(map(str, [one.features, *one.hidden]))
    return (
        f"{one.backend:6}{one.dtype:>8}  {shape[:34]:<34}{one.rows:>9,}{one.batch_size:>6,}{one.predicted_s:8.2f}"
        f"{one.projected_s:8.2f}{one.actual_s:8.2f}{one.again_s:8.2f}"
    )


HEAD = f"{'seconds':16}{'network':<34}{'rows':>9}{'batch':>6}{'trial':>8}{'profile':>8}{'actual':>8}{'again':>8}"


def summary_lines(found: Sequence[Outcome]) -> list[str]:
    """The summary for people."""
    if not found:
        return ["nothing was measured"]
    facts = summary(found)
    lines = [
        f"trials     median error {facts['median_error']:.1%} (wanted {facts['wanted_median_error']:.1%}), nine of ten within "
        f"{facts['nine_of_ten_within']:.1%} (wanted {facts['wanted_nine_of_ten_within']:.1%})",
        f"interval   right in {facts['interval_right']:.0%} (wanted 70 to 90 %)",
        f"spread     of the machine from run to run: median {facts['median_spread']:.1%}",
        f"profile    median error {facts['projected_median_error']:.1%} (wanted {facts['wanted_projected_median_error']:.0%})",
    ]
    if not math.isnan(facts["auto_right"]):
        lines.append(f"auto       the fastest, or within 10 % of it, in {facts['auto_right']:.0%} (wanted 95 %)")
    return lines
