"""`calibrate`: measure this machine, so that the time of any training can be projected from its plan alone.

Trainings of many shapes are tried for a moment each, and the seconds that each term of `nnaccel.cost` takes are fitted to
them: nonnegative least squares of the relative errors (Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23).
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from nnaccel.backends import Backend, backend_class, backend_names, get_backend
from nnaccel.cost import Workload, regimes, terms_of_step, work_per_row
from nnaccel.kernels import host
from nnaccel.losses import MeanSquaredError, SoftmaxCrossEntropy
from nnaccel.machine import Machine, read_machine
from nnaccel.metrics import default_metrics, evaluate
from nnaccel.network import Dense, Network
from nnaccel.optimizers import SGD
from nnaccel.plan import DTYPES, Plan
from nnaccel.profile import BackendProfile, MachineProfile
from nnaccel.recipe import EarlyStopping
from nnaccel.synthetic import log_uniform, random_plan, synthetic_assignment
from nnaccel.trial import process_seconds, try_out

TRIALS = 36
"""Trainings tried in each regime."""

SMALL_TRIALS = 6
"""The same for networks so small that there is little to tell apart."""

TRIAL_SECONDS = 0.06

MOST_SECONDS = 0.02
"""A step that would take longer at `SLOW` isn't tried."""

SLOW = 2e10
"""Multiply-adds a second."""

DATA_BYTES = 1 << 24
"""So much data a trial has, as far as its rows allow: more than most caches hold."""

PASSES = 3
"""So many times the backends take turns: what a machine does for some seconds then doesn't hit one of them alone."""

PAUSE = 0.15
"""Seconds before each turn, in which the threads of the one before go to sleep: those of OpenBLAS spin for some 0.1 s."""

LEAST_STEPS = 4
"""So many steps a trial has at least."""

ROUNDS = 8
"""So often the fit is repeated with other weights."""

USUAL_ERROR = 0.1
"""What is off by more, as a part, counts less in the fit."""

FOLDS = 9
"""In so many parts the trials are left out of the fit in turn, to see how far off it is."""


class Measured(NamedTuple):
    """A trial: what there is in a step, and how long it took."""

    terms: dict[str, float]
    seconds: float


def calibrate(name: str | None = None, report: Callable[[str], None] | None = None) -> MachineProfile:
    """Measure this machine, in less than half a minute.

    Parameters
    ----------
    name : str, optional
        What to call it; by default its processor and cores.
    report : callable, optional
        Called with a line that says what is measured.

    Returns
    -------
    MachineProfile
    """
    machine, say = read_machine(), report or (lambda line: None)
    names = [name for name in backend_names() if backend_class(name).unavailable_reason() is None]
    started = {name: _started(get_backend(name), machine) for name in names}
    sessions = {name: _Session(get_backend(name), started[name]) for name in names}
    for number in range(PASSES):
        for name, session in sessions.items():
            say(f"{name}, pass {number + 1} of {PASSES}")
            time.sleep(PAUSE)
            session.measure(number)
    drifts = [session.drift() for session in sessions.values()]
    backends = {name: session.profile() for name, session in sessions.items()}
    cores = machine.quota_cores or float(machine.affinity_cores)
    processor = machine.processor or machine.architecture
    return MachineProfile(
        name=name or f"{processor}, {cores:g} cores",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        processor=processor,
        cores=cores,
        memory_bytes=machine.memory_bytes or 0,
        drift=statistics.fmean(drifts),
        backends=backends,
    )


def _started(backend: Backend, machine: Machine) -> BackendProfile:
    """The profile of a backend, but for what its steps take."""
    fused = backend.compile(random_plan(np.random.default_rng(0), "float32")).kernel != "reference"
    return BackendProfile(
        device=backend.device,
        fused=fused,
        vector_bytes=host.tile().vector_bytes if fused else 0,
        threads=machine.usable_cores(),
        setup_s=min(process_seconds(backend.name) for _ in range(2)),
        epoch_s=_epoch_seconds(backend),
        metric_s=_metric_seconds(),
    )


class _Session:
    """The trials of one backend, in all its regimes."""

    def __init__(self, backend: Backend, started: BackendProfile) -> None:
        self._backend, self._started = backend, started
        self._workloads = dict(_workloads(started))
        self._measured: dict[str, list[Measured]] = {regime: [] for regime in self._workloads}

    def measure(self, number: int) -> None:
        """One of the passes: every so manieth trial of each regime."""
        for regime, workloads in self._workloads.items():
            self._measured[regime] += [self._trial(regime, workload) for workload in workloads[number::PASSES]]

    def drift(self) -> float:
        """By how much the first trial of each regime takes longer or shorter by now."""
        again = {regime: self._trial(regime, workloads[0]) for regime, workloads in self._workloads.items()}
        changes = [math.log(again[regime].seconds / self._measured[regime][0].seconds) for regime in again]
        # Of two values the difference is the square root of 2 times as large as each is off the mean; half of a normal
        # distribution lies within 0.6745 standard deviations.
        return float(np.median(np.abs(changes)) / math.sqrt(2) / 0.6745)

    def profile(self) -> BackendProfile:
        """What all passes together say."""
        ratios = [ratio for measured in self._measured.values() for ratio in left_out_ratios(measured)]
        low, high = np.quantile(ratios, [0.1, 0.9]).tolist()
        coefficients = {regime: fit(measured) for regime, measured in self._measured.items()}
        return replace(self._started, coefficients=coefficients, ratios=(low, high))

    def _trial(self, regime: str, workload: Workload) -> Measured:
        return _measure(workload, self._backend, regime, self._started.vector_bytes)


def fit(measured: Sequence[Measured]) -> dict[str, float]:
    """The seconds that one of each term takes.

    A trial that was disturbed shall not pull on the others: those that are far off count less, as Huber proposed (Robust
    estimation of a location parameter, 1964).
    """
    from scipy.optimize import nnls

    names = list(measured[0].terms)
    terms = np.array([[one.terms[name] for name in names] for one in measured])
    seconds = np.array([one.seconds for one in measured])
    weights = np.ones(len(seconds))
    relative = terms / seconds[:, None]
    scale = np.maximum(relative.max(axis=0), np.finfo(np.float64).tiny)  # terms differ by many orders of magnitude
    for _ in range(ROUNDS):
        found, _residual = nnls(relative / scale * weights[:, None], weights)
        off = np.abs(relative / scale @ found - 1)
        weights = np.sqrt(np.minimum(1, USUAL_ERROR / np.maximum(off, 1e-12)))
    # Relative errors of what took too long are small, of what was quick are large: the fit comes out too low.
    found *= math.exp(np.median(-np.log(np.maximum(relative / scale @ found, 1e-12))))
    return {name: float(value) for name, value in zip(names, found / scale, strict=True) if value > 0}


def left_out_ratios(measured: Sequence[Measured]) -> list[float]:
    """What each trial took, as parts of what is projected from the others."""
    ratios = []
    for part in range(FOLDS):
        rest = [one for number, one in enumerate(measured) if number % FOLDS != part]
        seconds = fit(rest)
        for one in measured[part::FOLDS]:
            projected = sum(seconds.get(name, 0.0) * count for name, count in one.terms.items())
            ratios.append(one.seconds / projected if projected else 1.0)
    return ratios


def _workloads(profile: BackendProfile) -> Iterator[tuple[str, list[Workload]]]:
    """For each regime of a backend the trainings to try; always the same, but spread over what people train."""
    for dtype in DTYPES:
        names = [f"{dtype} reference"]
        if profile.fused:
            names = [f"{dtype} small", f"{dtype} alone", *([f"{dtype} team"] if profile.threads > 1 else [])]
        for name in names:
            random = np.random.default_rng(len(name))
            count, found = (SMALL_TRIALS if name.endswith("small") else TRIALS), list[Workload]()
            while len(found) < count:
                workload = _workload(random, dtype, small=name.endswith("small"))
                if name in regimes(workload, profile) and _is_short(workload):
                    found.append(workload)
            yield name, found


def _workload(random: np.random.Generator, dtype: str, small: bool) -> Workload:
    plan = Plan(Network(3, [Dense(3, "tanh"), Dense(1)]), MeanSquaredError(), SGD(), dtype=dtype)
    return Workload(
        plan if small else random_plan(random, dtype), rows=1 << 18, batch_size=log_uniform(random, 8, 4096)
    )


def _is_short(workload: Workload) -> bool:
    return work_per_row(workload.plan) * workload.batch_size < MOST_SECONDS * SLOW


def _measure(workload: Workload, backend: Backend, regime: str, vector_bytes: int) -> Measured:
    assignment = synthetic_assignment(workload, DATA_BYTES, threads=1 if regime.endswith("alone") else None)
    trial = try_out(assignment, backend, lambda step_s: max(TRIAL_SECONDS, LEAST_STEPS * step_s))
    batch_size = assignment.recipe.batch_size
    # With the order of its rows, which is drawn once an epoch.
    step_s = trial.epoch_s / assignment.workload.rows * batch_size
    return Measured(terms_of_step(workload.plan, batch_size, vector_bytes), step_s)


def _epoch_seconds(backend: Backend) -> float:
    """What an epoch takes beside its steps where something has to happen after each."""
    plan = Plan(Network(4, [Dense(8), Dense(1)]), MeanSquaredError(), SGD())
    assignment = synthetic_assignment(Workload(plan, rows=64, batch_size=64), DATA_BYTES)
    watched = replace(assignment, recipe=replace(assignment.recipe, early_stopping=EarlyStopping()))
    whole, steps = (try_out(one, backend, lambda step_s: TRIAL_SECONDS).epoch_s for one in (watched, assignment))
    return max(0.0, whole - steps)


def _metric_seconds() -> float:
    """What a validation takes for each output of each row, beside the forward pass."""
    rows, loss = 4096, SoftmaxCrossEntropy()
    outputs, labels = np.random.default_rng(0).standard_normal((rows, 10)), np.arange(rows) % 10
    samples = []
    for _ in range(5):
        began = time.perf_counter()
        evaluate(loss, default_metrics(loss), labels, outputs, None)
        samples.append(time.perf_counter() - began)
    return statistics.median(samples) / outputs.size
