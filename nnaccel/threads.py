"""A limit on the threads of the libraries that NumPy calls: theirs is a setting of the process, so it is shared."""

import contextlib
import threading
from collections.abc import Iterator
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
            if _users == 0:
                _limit.restore_original_limits()
