"""Ctrl-C and its like on the command line: an answer at once, even while native code is at work."""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

import typer

EXIT_CODE = 128
"""Added to the number of the signal that has ended a command: 130 for Ctrl-C, 143 for SIGTERM."""

_PATIENCE = 1.0
"""As that of `nnaccel.interruption`: a second signal after so many seconds is meant."""

_STOPS_WITHIN = 0.5
_END = 0


class _Ended(KeyboardInterrupt):
    """A signal came where nothing has to be kept."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextlib.contextmanager
def answered(tell: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, SIGTERM and SIGHUP end the work as Ctrl-C does: once a training has kept what it can.

    If that takes over half a second, since a step may take long and can't be cut, this is told; a second signal ends the
    process at once. What is on disk then is whole, as it always is.
    """
    if threading.current_thread() is not threading.main_thread() or os.name != "posix":
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is signal.SIG_DFL:
            signal.signal(number, _end)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    # The interpreter writes a signal's number there as it arrives; handlers wait for native code to return.
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(reader, tell), daemon=True)
    watcher.start()
    try:
        yield
    except _Ended as ended:
        raise typer.Exit(EXIT_CODE + ended.number) from None
    finally:
        signal.set_wakeup_fd(wakeup)
        os.write(writer, bytes([_END]))
        watcher.join()
        os.close(writer)
        os.close(reader)
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(reader: int, tell: Callable[[str], None]) -> None:
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    while (number := os.read(reader, 1)[0]) not in ends:
        if number == _END:
            return
    noted = time.monotonic()
    if not select.select([reader], [], [], _STOPS_WITHIN)[0]:
        tell("it stops once the step under way is done; interrupt again to lose that and stop at once.")
    while (number := os.read(reader, 1)[0]) != _END:
        if number in ends and time.monotonic() - noted > _PATIENCE:
            os._exit(EXIT_CODE + number)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise _Ended(number)
