"""A stopwatch for contenders that take turns in one process, so that a slow minute of the machine hits all alike."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

PAUSE = 0.02
"""Seconds before each turn, in which the spinning threads of the one before go to sleep."""


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


def race(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int = 11,
    pause: float = PAUSE,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time contenders in turn.

    Parameters
    ----------
    contenders : mapping of str to callable
        What to time, by name. Each runs once before, untimed.
    rounds : int
        How often each is timed, 2 or more. Who begins changes from round to round.
    pause : float
        Seconds to wait before each turn.
    clock : callable
        Tells the time in seconds.

    Returns
    -------
    dict of str to Timing
    """
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    collecting = gc.isenabled()
    try:
        for contender in contenders.values():
            contender()
        gc.collect()
        gc.disable()
        for round_number in range(rounds):
            first = round_number % len(names)
            for name in names[first:] + names[:first]:
                time.sleep(pause)
                start = clock()
                contenders[name]()
                samples[name].append(clock() - start)
    finally:
        if collecting:
            gc.enable()
    return {name: Timing(tuple(taken)) for name, taken in samples.items()}
