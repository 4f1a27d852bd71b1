"""How sure one can be of a ratio of times that were sampled a few times each, without assuming how they are spread."""

import itertools
import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

LEVEL = 0.99
"""How sure the interval is: a comparison has some twenty rows, of which a twentieth would be wrong at 95 %."""


class Interval(NamedTuple):
    """A ratio and what it may be.

    Attributes
    ----------
    low, ratio, high : float
        From 0 to infinity where the samples are too few to tell.
    """

    low: float
    ratio: float
    high: float

    @property
    def tells(self) -> bool:
        """Whether there were samples enough."""
        return math.isfinite(self.high)

    @property
    def without_one(self) -> bool:
        """Whether equality is ruled out."""
        return not self.low <= 1.0 <= self.high


def ratio_interval(first: Sequence[float], second: Sequence[float], level: float = LEVEL) -> Interval:
    """How many times as long the second took as the first, with an interval at a level of confidence.

    The ratio is the median of the ratios of all pairs (Hodges and Lehmann 1963, doi:10.1214/aoms/1177704172, for logarithms),
    and the interval ends at the K-th smallest and the K-th largest of these, K = n m / 2 - z sqrt(n m (n + m + 1) / 12)
    rounded up: what the rank test of Mann and Whitney doesn't reject (Campbell and Gardner 1988,
    doi:10.1136/bmj.296.6634.1454). Nothing is assumed of the distribution, so that a sample that something disturbed counts
    as one sample, however long it took. With five samples each, 99 % can be had; with four, nothing can be told.

    Parameters
    ----------
    first, second : sequence of float
        Above 0.

    Examples
    --------
    >>> ratio_interval([1.0, 1.1, 1.2, 1.3, 9.0], [2.0, 2.1, 2.2, 2.3, 2.4]).without_one
    False
    >>> ratio_interval([1.0, 1.1, 1.2, 1.3, 1.4], [2.0, 2.1, 2.2, 2.3, 2.4]).without_one
    True
    >>> ratio_interval([1.0, 1.0], [2.0, 2.0])
    Interval(low=0.0, ratio=2.0, high=inf)
    """
    ratios = sorted(b / a for a, b in itertools.product(first, second))
    n, m = len(first), len(second)
    z = statistics.NormalDist().inv_cdf((1 + level) / 2)
    k = math.ceil(n * m / 2 - z * math.sqrt(n * m * (n + m + 1) / 12))
    middle = statistics.median(ratios)
    return Interval(ratios[k - 1], middle, ratios[-k]) if k > 0 else Interval(0.0, middle, math.inf)
