"""What `nnaccel estimate` shows: a table of backends and machines, which one `auto` takes, and what fits into a time."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from nnaccel.cli.screen import duration
from nnaccel.errors import counted

if TYPE_CHECKING:
    from nnaccel.estimation import Affordable, BackendEstimate, Estimate
    from nnaccel.profile import MachineProfile

WIDTH = 100
"""No line is longer, unless a word is."""

_DAY, _YEAR = 86400.0, 365.25 * 86400.0
_PROJECTED = "*"


@dataclass(frozen=True)
class Fitting:
    """What fits into a time.

    Attributes
    ----------
    seconds : float
    affordable : Affordable, optional
        None if nothing does.
    why : str
        Then, why not.
    """

    seconds: float
    affordable: "Affordable | None"
    why: str = ""

    def describe(self) -> dict[str, Any]:
        """All of it, for JSON."""
        if self.affordable is None:
            return {"seconds": self.seconds, "epochs": 0, "rows": 0, "hidden": None, "reason": self.why}
        return {"seconds": self.seconds, **asdict(self.affordable), "reason": None}


def lines_of(found: "Estimate", profiles: "Sequence[MachineProfile]", fitting: Fitting | None) -> list[str]:
    """The lines of an estimate for people.

    Parameters
    ----------
    found : Estimate
    profiles : sequence of MachineProfile
        Of the machines that it was projected to.
    fitting : Fitting, optional
        Where a time was given.
    """
    return [
        f"training   {counted(found.rows, 'row')}, batches of {found.batch_size:,}, {counted(found.epochs, 'epoch')}",
        "",
        *_table(found, {profile.name: profile.created[:10] for profile in profiles}),
        "",
        *_wrapped("from", "; ".join(f"{name}: {one.reason}" for name, one in found.backends.items() if one.available)),
        *_wrapped("choice", f"{found.choice} ({found.why})"),
        *_wrapped("", found.break_even),
        *_wrapped("at most", "early stopping or the time limit may end it sooner" if found.at_most else ""),
        *_wrapped("within", "" if fitting is None else _what_fits(found, fitting)),
    ]


def _table(found: "Estimate", created: Mapping[str, str]) -> list[str]:
    """A row for each backend of each machine, under the machine's name where there are several."""
    everywhere = [*found.backends.values(), *(one for there in found.machines.values() for one in there.values())]
    with_device = any(one.device_bytes for one in everywhere)
    total = "at most" if found.at_most else "in all"
    head = ["backend", "set-up", "an epoch", total, "80 % interval", "memory", *(["device"] * with_device), "fits"]
    sections = {"this machine": [_cells(_marked(name, one), one, with_device) for name, one in found.backends.items()]}
    for machine, backends in found.machines.items():
        title = f"{machine}, projected from its profile of {created[machine]}"
        sections[title] = [_cells(name, one, with_device) for name, one in backends.items()]
    widths = _widths([head, *(row for rows in sections.values() for row in rows)])
    lines = [_row(head, widths)]
    for title, rows in sections.items():
        if len(sections) > 1:
            lines += textwrap.wrap(title if rows else f"{title}: it has none of these backends", WIDTH)
        lines += [line for cells in rows for line in _row_or_reason(cells, widths)]
    if any(one.projected and one.available for one in found.backends.values()):
        lines.append(f"{_PROJECTED} projected from this machine's profile, not measured")
    return lines


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Of the columns; rows that only have a name and a reason count for the names alone."""
    whole = [row for row in rows if len(row) == len(rows[0])]
    return [max(len(row[0]) for row in rows), *(max(len(row[i]) for row in whole) for i in range(1, len(rows[0])))]


def _marked(name: str, one: "BackendEstimate") -> str:
    """The name of a backend, with a mark if its numbers are projected though those beside it may be measured."""
    return name + _PROJECTED if one.projected and one.available else name


def _cells(name: str, one: "BackendEstimate", with_device: bool) -> list[str]:
    from nnaccel.cost import readable_bytes

    if not one.available:
        return [name, ("unknown: " if one.projected else "can't run: ") + one.reason]
    interval = f"{_time(one.low_s)} to {_time(one.high_s)}" if math.isfinite(one.low_s + one.high_s) else "unknown"
    device = [readable_bytes(one.device_bytes) if one.device_bytes else "-"] if with_device else []
    return [
        name, _time(one.setup_s), _time(one.per_epoch_s), _time(one.total_s), interval, readable_bytes(one.memory_bytes),
        *device, "yes" if one.fits else "no",
    ]  # fmt: skip


def _row_or_reason(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    if len(cells) == len(widths):
        return [_row(cells, widths)]
    name, reason = cells
    indent = " " * (widths[0] + 2)
    return textwrap.wrap(f"{name.ljust(widths[0])}  {reason}", WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)])


def _time(seconds: float) -> str:
    """A time in few characters, from microseconds to years.

    Examples
    --------
    >>> _time(0.0000123), _time(0.0123), _time(75), _time(9e5), _time(9e8)
    ('0.012 ms', '12 ms', '1 min 15 s', '10 days', '28.5 years')
    """
    if seconds < 0.1:
        return f"{seconds * 1e3:.2g} ms" if seconds else "0 s"
    if not 4 * _DAY <= seconds < math.inf:
        return duration(seconds)
    return f"{seconds / _DAY:.0f} days" if seconds < 2 * _YEAR else f"{seconds / _YEAR:.3g} years"


def _what_fits(found: "Estimate", fitting: Fitting) -> str:
    what = fitting.affordable
    if what is None:
        return fitting.why
    several = [counted(what.epochs, "epoch"), counted(what.rows, "row")]
    if what.hidden:
        several.append(f"--hidden {','.join(map(str, what.hidden))}")
    return f"{duration(fitting.seconds)} on {found.choice}: {', or '.join(several)}; each with the rest as asked for"


def _wrapped(label: str, text: str) -> list[str]:
    """As many lines as a text takes, with a label before the first; none if there is nothing to say."""
    if not text:
        return []
    return textwrap.wrap(f"{label:<11}{text}", WIDTH, subsequent_indent=" " * 11, break_on_hyphens=False)
