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

BLOCK_BYTES = 1 << 25
"""Several times what systems read ahead around a row that memory lacks, 8 MiB at most: what is read beyond a block is wasted."""


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
class BlockShuffled(Order):
    """A new random order in each epoch that reads a file piece by piece, for rows that memory doesn't hold.

    Blocks of rows that lie together come in random order, some of them make a window, and within a window all rows are
    shuffled: only as many rows as a window has need be in memory at once, and a batch mixes rows from everywhere in the
    data. Where blocks begin, and which of them meet, differs from epoch to epoch.

    Attributes
    ----------
    seed : int
    block : int
        Rows that lie together.
    window : int
        The most blocks that are shuffled together. Of how far apart rows are, about 1 - 1 / window is found within a batch.

    Examples
    --------
    >>> BlockShuffled(seed=0, block=2, window=2).epoch(0, np.arange(8, dtype=np.int32))
    array([6, 5, 0, 1, 2, 3, 4, 7], dtype=int32)
    """

    seed: int = 0
    block: int = 1024
    window: int = 64

    def __post_init__(self) -> None:
        for name, number in (("block", self.block), ("window", self.window)):
            whole = isinstance(number, (int, np.integer)) and number >= 1
            check(whole, f"{name} of BlockShuffled must be a whole number, 1 or more, not {number!r}.")

    @classmethod
    def within(cls, memory: int, row_bytes: int, seed: int = 0) -> "BlockShuffled":
        """The order whose windows take so many bytes, or two rows; a block takes 32 MiB, or what lets 16 be in a window."""
        block = max(1, min(BLOCK_BYTES, memory // 16) // max(1, row_bytes))
        return cls(seed, block, max(2, memory // max(1, block * row_bytes)))

    def epoch(self, number: int, rows: np.ndarray) -> np.ndarray:
        random = generator(self.seed, number)
        # The first block is shorter by another number of rows each time: otherwise the same rows would always be together.
        edges = np.arange(random.integers(1, self.block + 1), len(rows), self.block)
        blocks = np.split(rows, edges)
        windows = np.array_split(random.permutation(len(blocks)), -(-len(blocks) // self.window))
        return np.concatenate([random.permutation(np.concatenate([blocks[place] for place in w])) for w in windows])


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
        Class labels. Each class is then held out in proportion, as near as whole rows allow, but never wholly.

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
    count = _held_out_count(rows, fraction)
    shuffled = generator(seed, _SPLIT_STREAM).permutation(rows).astype(np.int32)
    if labels is None:
        return _both_sides(rows, shuffled[:count])
    # Sorted by class, a held-out set at even distances takes from each class in proportion.
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    places = ((np.arange(count) + 0.5) * rows / count).astype(np.int64)
    training, held_out = _both_sides(rows, by_class[places])
    _, first = np.unique(labels[held_out], return_index=True)
    lost = first[~np.isin(labels[held_out[first]], labels[training])]
    check(len(lost) < len(held_out), f"{rows} rows are too few to hold out a part of each class: change the fraction.")
    return _both_sides(rows, np.delete(held_out, lost))


def split_by_group(groups: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Hold out whole groups, chosen at random, of about a fraction of the rows together.

    Parameters
    ----------
    groups : int array (n,)
        The number of each row's group, from 0, each used.
    fraction, seed
        As in `split`.

    Returns
    -------
    training, held_out : int32 arrays
        As `split`.

    Raises
    ------
    InputError
        If the fraction is out of range, or there is but one group.

    Examples
    --------
    >>> training, held_out = split_by_group(np.array([0, 0, 1, 1, 2, 2]), 0.3, seed=0)
    >>> len(held_out)
    2
    """
    count = _held_out_count(len(groups), fraction)
    sizes = np.bincount(groups)
    check(len(sizes) > 1, "all rows are of one group, so that none can be held out: group by another column.")
    chosen: list[int] = []
    held_out = 0
    for group in generator(seed, _SPLIT_STREAM).permutation(len(sizes)).tolist():
        # A group is held out if that brings their number nearer to what is wanted, and something is left to train on.
        if 2 * held_out + sizes[group] < 2 * count and len(chosen) < len(sizes) - 1:
            chosen.append(group)
            held_out += sizes[group]
    return _both_sides(len(groups), np.flatnonzero(np.isin(groups, chosen or [np.argmin(sizes)])))


def split_by_time(times: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Hold out the latest rows, about a fraction of them; rows of one time stay together.

    Parameters
    ----------
    times : array (n,)
        Finite numbers.
    fraction : float
        As in `split`.

    Returns
    -------
    training, held_out : int32 arrays
        As `split`.

    Raises
    ------
    InputError
        If the fraction is out of range, or all rows are of one time.

    Examples
    --------
    >>> split_by_time(np.array([2001, 2003, 2002, 2003]), 0.5)
    (array([0, 2], dtype=int32), array([1, 3], dtype=int32))
    """
    count = _held_out_count(len(times), fraction)
    first_held_out = np.sort(times)[-count]
    sides = [times >= first_held_out, times > first_held_out]
    possible = [held_out for held_out in sides if held_out.any() and not held_out.all()]
    check(bool(possible), "all rows are of one time, so that none can be held out: take another column.")
    nearest = min(possible, key=lambda held_out: abs(int(held_out.sum()) - count))
    return _both_sides(len(times), np.flatnonzero(nearest))


def _held_out_count(rows: int, fraction: float) -> int:
    check(0 < fraction < 1, f"the validation fraction must be above 0 and below 1, not {fraction}.")
    count = round(rows * fraction)
    check(
        0 < count < rows,
        f"a validation fraction of {fraction} of {rows} rows leaves nothing to "
        f"{'validate' if count == 0 else 'train'} on: change the fraction.",
    )
    return count


def _both_sides(rows: int, held_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The row numbers not held out and those held out, in rising order."""
    training = np.ones(rows, dtype=bool)
    training[held_out] = False
    return np.flatnonzero(training).astype(np.int32), np.sort(held_out).astype(np.int32)
