"""What the commands show: a line of progress, times, and a small plot of a curve."""

import math
import os
import sys
import time
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import TextIO

_LEVELS = " ▁▂▃▄▅▆▇█"
_PLAIN_LEVELS = "  ..::||#"
_TERMINAL_SECONDS, _PLAIN_SECONDS = 0.25, 5.0


class ProgressLine:
    """One line that says how far a long work is.

    On a terminal it is rewritten at most 4 times a second; elsewhere a new line comes every 5 seconds.

    Parameters
    ----------
    stream : text file
    silent : bool
        Show nothing.
    """

    def __init__(self, stream: TextIO, silent: bool = False) -> None:
        self._stream, self._silent = stream, silent
        self._terminal = stream.isatty()
        self._shown = time.perf_counter() - (_TERMINAL_SECONDS if self._terminal else 0)
        self._width = 0

    def show(self, text: str) -> None:
        """Show this text, unless the last one has only just been shown."""
        now = time.perf_counter()
        if self._silent or now - self._shown < (_TERMINAL_SECONDS if self._terminal else _PLAIN_SECONDS):
            return
        self._shown = now
        if self._terminal:
            width, self._width = self._width, len(text)
            self._write("\r" + text.ljust(width))
        else:
            self._write(text + "\n")

    def clear(self) -> None:
        """Leave an empty line for what comes next."""
        if self._width:
            self._write("\r" + " " * self._width + "\r")
            self._width = 0

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            # The terminal was closed, or nobody listens any more: the work goes on.
            self._silent = True
            send_nowhere(self._stream)


def send_nowhere(stream: TextIO) -> None:
    """Let all further output to a stream that nobody reads any more go nowhere, also what Python flushes at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def complain(sentence: str) -> None:
    """Say on stderr what went wrong, if anybody listens."""
    try:
        print(printable(f"nnaccel: {sentence}"), file=sys.stderr, flush=True)
    except OSError:
        send_nowhere(sys.stderr)


def printable(text: str) -> str:
    """Text without what would steer a terminal: names and words come from files, which anyone may have written.

    Examples
    --------
    >>> printable("red\x1b[2Jgreen")
    'red?[2Jgreen'
    """
    return "".join("?" if unicodedata.category(character) in ("Cc", "Cf") else character for character in text)


def duration(seconds: float) -> str:
    """A time for people to read.

    Examples
    --------
    >>> duration(0.0123), duration(75), duration(7300)
    ('0.012 s', '1 min 15 s', '2 h 01 min')
    """
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 60:
        return f"{seconds:.3f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def plot(values: Sequence[float], width: int = 60, height: int = 6) -> list[str]:
    """The lines of a small plot of a curve, its first value at the left.

    Values that span more than two orders of magnitude, all positive, are drawn on a logarithmic scale.

    Examples
    --------
    >>> len(plot([3.0, 2.0, 1.0], height=4))
    4
    """
    top, bottom = max(values), min(values)
    logarithmic = bottom > 0 and top > 100 * bottom
    heights = _column_heights([math.log(v) for v in values] if logarithmic else list(values), width, height)
    levels = _LEVELS if _can_write(_LEVELS) else _PLAIN_LEVELS
    labels = [f"{top:.4g}", *[""] * (height - 2), f"{bottom:.4g}" + (" (log scale)" if logarithmic else "")]
    lines = []
    for row in range(height):
        floor = 8 * (height - 1 - row)
        cells = "".join(levels[min(8, max(0, filled - floor))] for filled in heights)
        lines.append(f"{cells.ljust(min(width, len(values)))}  {labels[row]}".rstrip())
    return lines


def _column_heights(values: list[float], width: int, height: int) -> list[int]:
    """How many eighths of a cell each column is filled, from 1 to 8 * height."""
    columns = min(width, len(values))
    edges = [round(i * len(values) / columns) for i in range(columns + 1)]
    means = [math.fsum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    return [1 + round((mean - low) / span * (8 * height - 1)) for mean in means]


def _can_write(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
