"""How the cost of a training grows: one network, of which one size at a time is changed."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from nnaccel.backends import Backend
from nnaccel.bench.cases import Case
from nnaccel.bench.conditions import read_blas
from nnaccel.bench.contender import BackendTraining, Task
from nnaccel.bench.measure import Limits
from nnaccel.bench.stopwatch import Timing, Turn, rounds

FORMAT, VERSION = "nnaccel-scaling", 1

BASE = Case("base", 8192, 64, (128, 128), 10, "relu", "softmax_cross_entropy", batch=128, epochs=2)
"""What is changed: a network of 128-128-10 on 8,192 rows of 64 features, in batches of 128."""

_SECONDS_A_SWEEP = 45.0


class Sweep(NamedTuple):
    """One size of the base, and the values that it takes.

    Attributes
    ----------
    name : str
    values : tuple of int
    change : callable
        Makes the case with a value, from the base.
    """

    name: str
    values: tuple[int, ...]
    change: Callable[[Case, int], Case]


SWEEPS: tuple[Sweep, ...] = (
    Sweep(
        "width", (16, 32, 64, 128, 256, 512, 1024), lambda case, n: replace(case, hidden=(n, n), rows=4096, epochs=1)
    ),
    Sweep("depth", (1, 2, 4, 8, 16), lambda case, n: replace(case, hidden=(128,) * n)),
    Sweep("rows", (512, 2048, 8192, 32768, 131072), lambda case, n: replace(case, rows=n, epochs=max(1, 16384 // n))),
    Sweep("batch", (8, 32, 128, 512, 2048), lambda case, n: replace(case, batch=n)),
)
"""All but the number of threads, which depends on the machine."""


@dataclass(frozen=True)
class Point:
    """What one value of one size came to.

    Attributes
    ----------
    sweep : str
    value : int
    case : Case
    threads : int, optional
    samples : tuple of float
        Seconds of `case.epochs` epochs each.
    """

    sweep: str
    value: int
    case: Case
    threads: int | None = None
    samples: tuple[float, ...] = ()

    @property
    def parameters(self) -> int:
        """The network's parameters."""
        return self.case.plan().network.parameter_count

    @property
    def epoch_seconds(self) -> float:
        """The median, for one epoch."""
        return Timing(self.samples).median / self.case.epochs

    @property
    def row_seconds(self) -> float:
        """The median, for one row of one epoch."""
        return self.epoch_seconds / (self.case.steps_per_epoch * self.case.batch)


def sweeps(threads: int) -> list[list[Point]]:
    """All points to measure, sweep by sweep.

    Parameters
    ----------
    threads : int
        The most threads to try.

    Examples
    --------
    >>> [(points[0].sweep, len(points)) for points in sweeps(2)]
    [('width', 7), ('depth', 5), ('rows', 5), ('batch', 5), ('threads', 2)]
    """
    found = [[Point(name, value, change(BASE, value)) for value in values] for name, values, change in SWEEPS]
    wide = replace(BASE, hidden=(512, 512), epochs=1)
    counts = sorted({1, threads, *(2**i for i in range(threads.bit_length()) if 2**i <= threads)})
    return [*found, [Point("threads", count, wide, count) for count in counts]]


def measure_sweep(
    backend: Backend, points: Sequence[Point], limits: Limits, tell: Callable[[str], None]
) -> list[Point]:
    """Time all points of a sweep in turn.

    Parameters
    ----------
    backend : Backend
    points : sequence of Point
        Without samples.
    limits : Limits
        Its number of threads holds for the points that have none of their own.
    tell : callable
        Gets a few words of progress.
    """
    began, turns = time.perf_counter(), {}
    for i, point in enumerate(points):
        tell(f"{point.sweep} {point.value}: getting ready")
        turns[str(i)] = _turn(backend, point, point.threads or limits.threads)
    samples: list[list[float]] = [[] for _ in points]
    for number, seconds in enumerate(rounds(turns), start=1):
        for i, taken in enumerate(samples):
            taken.append(seconds[str(i)])
        tell(f"{points[0].sweep}: round {number} of {limits.rounds}")
        if limits.reached(number, time.perf_counter() - began):
            break
    return [replace(point, samples=tuple(taken)) for point, taken in zip(points, samples, strict=True)]


def _turn(backend: Backend, point: Point, threads: int | None) -> Turn:
    training, work = BackendTraining(backend, Task.of(point.case), threads), point.case.work()
    training.train(work)
    return Turn(lambda: training.train(work), training.restart)


def scaling_limits(rounds: int | None, quick: bool, threads: int | None) -> Limits:
    """How long each sweep may take."""
    return Limits(rounds or (2 if quick else 7), 2, _SECONDS_A_SWEEP, threads)


def describe(backend: Backend, found: Sequence[Sequence[Point]], conditions: dict[str, Any]) -> dict[str, Any]:
    """All points for JSON, with the conditions under which they were measured."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "backend": backend.name,
        **conditions,
        "blas": read_blas(),
        "points": [
            {
                "sweep": point.sweep,
                "value": point.value,
                "hidden": list(point.case.hidden),
                "rows": point.case.rows,
                "batch": point.case.batch,
                "threads": point.threads,
                "parameters": point.parameters,
                "epochs_per_sample": point.case.epochs,
                "seconds_per_row": point.row_seconds,
                "samples": list(point.samples),
            }
            for points in found
            for point in points
        ],
    }
