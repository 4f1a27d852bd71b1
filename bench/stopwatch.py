"""A stopwatch for contenders that take turns in one process, so that a slow minute of the machine hits all alike."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

PAUSE = 0.12
"""Seconds before each turn, in which the threads of the one before go to sleep: those of OpenBLAS spin for some 0.1 s.

This thread stays awake: a core that has slept takes some time to reach its full speed, which would count against the quick.
"""

LEAST_SECONDS = 0.02
"""A turn goes on for so long: the other cores have slept."""


@dataclass(frozen=True)
class Timing:
    """How long one contender took, round by round.

    Attributes
    ----------
    samples : tuple of float
        Seconds; at least two.
    """

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median, in seconds."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, as a part of the median."""
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return (high - low) / 2 / self.median

    def ratio(self, other: "Timing") -> float:
        """How many times as long this took as the other: the median over the rounds.

        Both samples of a round were taken one soon after the other, so that the machine's drift cancels.

        Examples
        --------
        >>> Timing((3.0, 6.0, 9.0)).ratio(Timing((1.0, 2.0, 4.0)))
        3.0
        """
        return statistics.median(a / b for a, b in zip(self.samples, other.samples, strict=True))


def _nothing() -> None:
    pass


class Turn(NamedTuple):
    """What a contender does when it is its turn.

    Attributes
    ----------
    run : callable
        What is timed.
    prepare : callable
        What comes before, untimed.
    """

    run: Callable[[], object]
    prepare: Callable[[], object] = _nothing


def rounds(
    turns: Mapping[str, Turn],
    pause: float = PAUSE,
    clock: Callable[[], float] = time.perf_counter,
    least_seconds: float = LEAST_SECONDS,
) -> Iterator[dict[str, float]]:
    """Time contenders in turn, for as many rounds as the caller takes.

    Parameters
    ----------
    turns : mapping of str to Turn
        By the contender's name. Who begins changes from round to round.
    pause : float
        Seconds to wait before each turn.
    clock : callable
        Tells the time in seconds.
    least_seconds : float
        What is over sooner is prepared and run again, and again.

    Yields
    ------
    dict of str to float
        The seconds that each took in one round, on average.
    """
    names, number = list(turns), 0
    gc.collect()
    while names:
        first = number % len(names)
        yield _one_round({name: turns[name] for name in names[first:] + names[:first]}, pause, clock, least_seconds)
        number += 1


def _one_round(
    turns: Mapping[str, Turn], pause: float, clock: Callable[[], float], least_seconds: float
) -> dict[str, float]:
    collecting, seconds = gc.isenabled(), {}
    gc.disable()
    try:
        for name, turn in turns.items():
            _stay_awake(pause)
            seconds[name] = _average(turn, clock, least_seconds)
    finally:
        if collecting:
            gc.enable()
    return seconds


def _stay_awake(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def _average(turn: Turn, clock: Callable[[], float], least_seconds: float) -> float:
    total, runs = 0.0, 0
    while not runs or total < least_seconds:
        turn.prepare()
        start = clock()
        turn.run()
        total += clock() - start
        runs += 1
    return total / runs
