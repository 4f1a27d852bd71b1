"""Which rows are used, and in which order: functions of the seed and the epoch alone, computed on the host.

The generator is Philox keyed by (seed, stream), so that any epoch's order can be had without replaying those before.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from nnaccel.errors import check

_SPLIT_STREAM = 2**64 - 1
"""The stream of the validation split; epochs count from 0 and initial parameters from 2**63."""

INITIAL_STREAM = 2**63


def generator(seed: int, stream: int) -> np.random.Generator:
    """A random generator that depends on nothing but `seed` (its lowest 64 bits) and `stream`."""
    return np.random.Generator(np.random.Philox(key=np.array([int(seed) % 2**64, stream], dtype=np.uint64)))


class Order(ABC):
    """Decides the order of the rows in each epoch."""

    @abstractmethod
    def epoch(self, number: int, rows: np.ndarray) -> np.ndarray:
        """The order of the training rows in an epoch.

        Parameters
        ----------
        number : int
            The epoch, from 0.
        rows : int32 array (n,)
            The numbers of the rows to train on.

        Returns
        -------
        int32 array (n,)
            The same numbers, in the order in which to use them.
        """


@dataclass(frozen=True)
class Shuffled(Order):
    """A new random order in each epoch."""

    seed: int = 0

    def epoch(self, number: int, rows: np.ndarray) -> np.ndarray:
        return generator(self.seed, number).permutation(rows)


@dataclass(frozen=True)
class Sequential(Order):
    """The order of the data, in every epoch."""

    def epoch(self, number: int, rows: np.ndarray) -> np.ndarray:
        return rows


def batch_bounds(rows: int, batch_size: int) -> np.ndarray:
    """Where each batch of an epoch begins, and the end: int32 (batches + 1,); the last batch may be shorter.

    Examples
    --------
    >>> batch_bounds(10, 4)
    array([ 0,  4,  8, 10], dtype=int32)
    """
    return np.append(np.arange(0, rows, batch_size), rows).astype(np.int32)


def split(rows: int, fraction: float, seed: int, labels: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Choose the rows to train on and those to hold out.

    Parameters
    ----------
    rows : int
        The number of rows.
    fraction : float
        The part to hold out, above 0 and below 1.
    seed : int
        The same seed gives the same split.
    labels : array (n,), optional
        Class labels. Each class is then held out in proportion, as near as whole rows allow.

    Returns
    -------
    training, held_out : int32 arrays
        Row numbers in rising order; neither is empty.

    Raises
    ------
    InputError
        If the fraction is out of range, or leaves no row on one side.

    Examples
    --------
    >>> training, held_out = split(10, 0.2, seed=0)
    >>> len(training), len(held_out)
    (8, 2)
    """
    check(0 < fraction < 1, f"the validation fraction must be above 0 and below 1, not {fraction}.")
    count = round(rows * fraction)
    check(
        0 < count < rows,
        f"a validation fraction of {fraction} of {rows} rows leaves nothing to "
        f"{'validate' if count == 0 else 'train'} on: change the fraction.",
    )
    shuffled = generator(seed, _SPLIT_STREAM).permutation(rows).astype(np.int32)
    if labels is not None:
        # Sorted by class, a held-out set at even distances takes from each class in proportion.
        by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
        places = ((np.arange(count) + 0.5) * rows / count).astype(np.int64)
        held_out = by_class[places]
    else:
        held_out = shuffled[:count]
    training = np.ones(rows, dtype=bool)
    training[held_out] = False
    return np.flatnonzero(training).astype(np.int32), np.sort(held_out)
