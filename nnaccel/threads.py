"""How many threads work at once: a limit on those of the libraries that NumPy calls, and the cores that trainings share."""

import _thread
import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

_lock = threading.Lock()
_users = 0
_limit: Any = None


@contextlib.contextmanager
def at_most(threads: int | None) -> Iterator[None]:
    """Keep BLAS and OpenMP within a number of threads while the block runs; None leaves them as they are.

    Where blocks overlap in several threads, the first one's limit holds until the last has ended: each setting and
    restoring on its own could leave the process limited for good.

    Examples
    --------
    >>> with at_most(1):
    ...     pass
    """
    global _users, _limit
    if threads is None:
        yield
        return
    from threadpoolctl import threadpool_limits

    with _lock:
        _users += 1
        if _users == 1:
            _limit = threadpool_limits(limits=threads)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users < 0:  # in a child of a fork, which has begun at 0
                _users = 0
            elif _users == 0:
                _limit.restore_original_limits()


def allowed_threads(wanted: int | None, cores: int) -> int:
    """How many threads a training may keep busy, at least 1.

    Parameters
    ----------
    wanted : int, optional
        The most that the user wants; None is no limit.
    cores : int
        How many this process may use.

    Returns
    -------
    int
        No more than BLAS may use, either: joblib's workers and `threadpoolctl.threadpool_limits` say by that how many
        threads there are for each.

    Examples
    --------
    >>> allowed_threads(1, cores=8)
    1
    """
    limits: list[int] = [library["num_threads"] for library in _blas().info()]
    return max(1, min([cores, *limits] if wanted is None else [wanted, cores, *limits]))


@functools.cache
def _blas() -> Any:
    """The BLAS libraries of this process; to look for them takes milliseconds, to ask them nothing."""
    import numpy  # noqa: F401  (loads the one that it was built with)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


_busy = 0


@contextlib.contextmanager
def busy_cores(wanted: int, cores: int) -> Iterator[int]:
    """Take up to `wanted` of the process' cores while the block runs; yields how many there were, at least 1.

    Calls in several threads at once share the cores, rather than all of them using each.

    Examples
    --------
    >>> with busy_cores(2, cores=2) as first, busy_cores(2, cores=2) as second:
    ...     first, second
    (2, 1)
    """
    global _busy
    with _lock:
        granted = max(1, min(wanted, cores - _busy))
        _busy += granted
    try:
        yield granted
    finally:
        with _lock:
            _busy = max(0, _busy - granted)  # a child of a fork has begun at 0


ALONE_EVERY = 64
"""While a team is faster, one of so many calls goes to a single thread, to see how fast that is now."""

MOST_ALONE = 16
"""While one thread is faster, a team is tried again after 2, 4, 8, ... calls, but no more than so many."""


class Pace:
    """Whether a team of threads really is faster than one, as a run finds out while it works.

    The cores of a virtual machine may be halves of one physical core at one moment and lie far apart at the next: by the
    same work a team then takes between two thirds of one thread's time and twice as much, for tenths of a second.
    """

    def __init__(self) -> None:
        self._alone = self._together = self._last_together = 0.0
        self._calls, self._together_in_a_row, self._pause, self._next_trial = 0, 0, 1, 0

    def threads(self, wanted: int) -> int:
        """How many of the wanted threads to take for the next call: all, or one."""
        self._calls += 1
        if wanted == 1 or self._together_in_a_row == 1 or not self._together:
            return wanted
        if not self._alone:
            return 1
        if self._together < self._alone:
            return wanted if self._calls % ALONE_EVERY else 1
        return wanted if self._calls >= self._next_trial else 1

    def note(self, threads: int, seconds: float) -> None:
        """So long took a row in the last call."""
        if threads == 1:
            self._alone, self._together_in_a_row = seconds, 0
            return
        self._together_in_a_row += 1
        # A core that has slept takes some time to reach its full speed: the first call of a team means nothing, and no
        # single one means that it is slower.
        if self._together_in_a_row > 1:
            self._together, self._last_together = min(seconds, self._last_together or seconds), seconds
            self._pause = 1 if self._together < self._alone else min(2 * self._pause, MOST_ALONE)
            self._next_trial = self._calls + self._pause


def run_team(
    work: Callable[[int], None], threads: int, begin: Callable[[int], None], abandon: Callable[[], None]
) -> None:
    """Do work(0) here, and work(1), work(2), ... in new threads.

    New threads rather than a pool: none is left over for a process that is forked, and starting one takes some 50 us.

    Parameters
    ----------
    work : callable
        Takes the number of the thread. Beyond 0 it waits until work(0) begins, and work(0) waits for the others before it
        returns: nobody else does. What it needs, it must keep alive.
    threads : int
        How many, with this one. If the system gives fewer, there are fewer.
    begin : callable
        Called with how many there are, right before work(0).
    abandon : callable
        Called if something was raised, perhaps before work(0) could begin: the others mustn't wait for ever.
    """
    started = 0
    try:
        elsewhere = _other_cores() if threads > 1 else set()
        with contextlib.suppress(RuntimeError):  # the system's limit on threads
            while started < threads - 1:
                _thread.start_new_thread(_run_elsewhere, (work, 1 + started, elsewhere))
                started += 1
        begin(1 + started)
        work(0)
    except BaseException:
        abandon()
        raise


def _run_elsewhere(work: Callable[[int], None], thread: int, cores: set[int]) -> None:
    if cores:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, cores)
    work(thread)


def _other_cores() -> set[int]:
    """The cores that a new thread may run on, but for this thread's; none where the system can't be told.

    Linux may leave two threads on one core for a tenth of a second, since both have always run there only just now.
    """
    try:
        import ctypes

        return os.sched_getaffinity(0) - {ctypes.CDLL(None).sched_getcpu()}
    except (AttributeError, OSError, TypeError):
        return set()


def _forget() -> None:
    """In a new process none of its parent's threads is running, and nobody will open their lock."""
    global _lock, _users, _busy
    _lock, _users, _busy = threading.Lock(), 0, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
