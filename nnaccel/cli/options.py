"""What the commands' options may look like, turned into values."""

import math
import re

from nnaccel.errors import InputError

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def widths(text: str) -> list[int]:
    """The widths of hidden layers: "64,64", or "" for none.

    Examples
    --------
    >>> widths("64,32")
    [64, 32]
    """
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise InputError(f"--hidden takes widths such as 64,64, not {text!r}.") from None


def seconds(text: str) -> float:
    """A time: "90", "90s", "10m", "1h30m".

    Examples
    --------
    >>> seconds("1h30m")
    5400.0
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip().lower())
    if not parts or "".join(number + unit for number, unit in parts) != text.strip().lower():
        raise InputError(f"a time is written like 90s, 10m or 1h30m, not {text!r}.")
    return math.fsum(float(number) * _SECONDS[unit or "s"] for number, unit in parts)


def batch_size(text: str) -> int | None:
    """A number of rows, or "full" for all of them.

    Examples
    --------
    >>> batch_size("200"), batch_size("full")
    (200, None)
    """
    if text == "full":
        return None
    try:
        return int(text)
    except ValueError:
        raise InputError(f"--batch-size takes a number of rows or 'full', not {text!r}.") from None
