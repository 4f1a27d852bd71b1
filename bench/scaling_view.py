"""What people see of how the cost grows: a table for each size that was changed, and a picture of all."""

import importlib
import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from nnaccel.bench.scaling import Point
from nnaccel.bench.stopwatch import Timing


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The slope of a straight line through the logarithms: 1 where the cost grows as the size does.

    Examples
    --------
    >>> round(exponent([1, 10, 100], [3, 30, 300]), 6)
    1.0
    """
    if len(set(sizes)) < 2:
        return math.nan
    return statistics.linear_regression([math.log(n) for n in sizes], [math.log(cost) for cost in costs]).slope


def sweep_lines(points: Sequence[Point]) -> Iterator[str]:
    """A table of one sweep, and how its cost grows."""
    name = points[0].sweep
    yield f"{name:>10}{'parameters':>12}{'ms an epoch':>13}{'us a row':>10}{'spread':>8}"
    for point in points:
        yield (
            f"{point.value:10,}{point.parameters:12,}{point.epoch_seconds * 1e3:13.4g}{point.row_seconds * 1e6:10.4g}"
            f"{Timing(point.samples).spread:8.0%}"
        )
    half = points[len(points) // 2 :]
    if len(half) > 1:
        yield f"from {half[0].value:,} on, " + _growth(name, half)


def _growth(name: str, points: Sequence[Point]) -> str:
    if name in ("width", "depth"):
        power = exponent([point.parameters for point in points], [point.row_seconds for point in points])
        return f"the cost of a row grows as the number of parameters to the power of {power:.2f}"
    power = exponent([point.value for point in points], [point.epoch_seconds for point in points])
    return f"the cost of an epoch grows as the number of {_PLURALS.get(name, name)} to the power of {power:.2f}"


_PLURALS = {"batch": "rows in a batch"}


def draw(found: Sequence[Sequence[Point]], title: str) -> Any:
    """A figure of Matplotlib with a panel for each sweep: the cost of a row by the size, on one logarithmic scale."""
    # By name, so that types can be checked where Matplotlib isn't installed.
    canvas: Any = importlib.import_module("matplotlib.backends.backend_agg")
    figure: Any = importlib.import_module("matplotlib.figure").Figure(
        figsize=(3.2 * len(found), 3.6), layout="constrained"
    )
    canvas.FigureCanvasAgg(figure)
    figure.suptitle(title)
    panels = figure.subplots(1, len(found), squeeze=False, sharey=True)[0]
    for panel, points in zip(panels, found, strict=True):
        values = [point.value for point in points]
        panel.loglog(values, [point.row_seconds * 1e6 for point in points], marker=".")
        panel.set_xticks(values, labels=[f"{value:,}" for value in values], rotation=45)
        panel.set_xticks([], minor=True)
        panel.set_xlabel(points[0].sweep)
        panel.grid(alpha=0.3, which="both")
    panels[0].set_ylabel("microseconds a row")
    return figure
