"""Sources: whatever holds rows, read part by part as tables; one file, one kind.

A source knows its columns before it reads a row. `opening.py` finds out what kind a file is.
"""

import re
import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from nnaccel.description import suggestion
from nnaccel.errors import InputError, check
from nnaccel.table import MixedColumns, Table, concatenate

PART_CELLS = 1 << 20
"""How many values a part of a file holds, so that its memory doesn't grow with the file."""

ALL_ROWS = range(sys.maxsize)


@dataclass(frozen=True)
class FileOptions:
    """How to read a file, where it doesn't tell itself.

    Attributes
    ----------
    header : bool, optional
        Whether the first line of a text file holds names. None: it does, unless the columns looked for say otherwise.
    delimiter : str, optional
        What stands between the values of a text file; None finds it out.
    encoding : str
        Of a text file. One that begins with the mark of UTF-16 or UTF-32 needn't have it named.
    target : str, optional
        A file with the targets, one for each row, where arrays lie in files of their own.
    """

    header: bool | None = None
    delimiter: str | None = None
    encoding: str = "utf-8"
    target: str | None = None


AS_IT_SAYS = FileOptions()
"""Nothing said: the file tells it all."""


class Source(ABC):
    """Rows, and what is known of their columns before they are read.

    Attributes
    ----------
    name : str
        What to call it, such as the file's name.
    columns : tuple of str
        Names; the positions from 0 where there are none.
    named : bool
        Whether the columns have names.
    targets : tuple of str
        Columns that are known to be what is to be predicted.
    remarks : tuple of str
        What a user should know of how it is read.
    keeps_columns : bool
        Whether the columns are one array, such as the pixels of an image, so that none may be left out.
    """

    name: str
    columns: tuple[str, ...]
    named: bool
    targets: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    keeps_columns: ClassVar[bool] = False

    @abstractmethod
    def parts(self, places: Mapping[str, int], text: Collection[str] = (), rows: range = ALL_ROWS) -> Iterator[Table]:
        """Tables of some rows each, in order.

        Parameters
        ----------
        places : mapping of str to int
            The columns to read: what to call each, and its position.
        text : collection of str
            Those, by their new names, that are text even if they look like numbers.
        rows : range
            Which rows, counted from 0; those beyond the end don't matter.

        Raises
        ------
        InputError
            If the file turns out to be damaged, or its rows don't fit together.
        """

    def read(self, places: Mapping[str, int], text: Collection[str] = (), rows: range = ALL_ROWS) -> Table:
        """All rows as one table.

        Raises
        ------
        InputError
            As `parts`; also if there is no row.
        """
        text = set(text)
        while True:
            parts = deque(self.parts(places, text, rows))
            check(bool(parts), f"{self.name} has no rows" + ("." if rows == ALL_ROWS else " there: see --rows."))
            try:
                return concatenate(parts)
            except MixedColumns as mixed:
                # What looked like numbers at the beginning was text after all: its spelling has to be read anew.
                text |= mixed.names

    def position(self, column: str) -> int:
        """Where a column stands, given its name or, as text, its position; negative ones count from the end.

        Raises
        ------
        InputError
            If there is no such column.
        """
        if column in self.columns:
            return self.columns.index(column)
        width = len(self.columns)
        if _POSITION.fullmatch(column) and -width <= int(column) < width:
            return int(column) % width
        raise InputError(
            f"{self.name} has no column {column!r}{suggestion(column, list(self.columns))}; it has "
            f"{self.describe_columns()}."
        )

    def positions(self, columns: str) -> list[int]:
        """Where some columns stand, given as one name or position, or several between commas."""
        if not columns.strip():
            return []
        parts = [columns] if columns in self.columns else [part.strip() for part in columns.split(",")]
        return [self.position(part) for part in parts]

    def describe_columns(self) -> str:
        """The columns, for a sentence."""
        width = len(self.columns)
        if not self.named:
            return f"{width} columns without names: give a position from 0 to {width - 1}, or -1 for the last"
        shown = ", ".join(self.columns[:20])
        return shown if width <= 20 else f"{shown} and {width - 20} more"


_POSITION = re.compile(r"-?[0-9]{1,9}")


def check_different(source: str, names: Sequence[str], remedy: str = "rename one") -> None:
    """Raise `InputError` if two columns have the same name."""
    positions: dict[str, int] = {}
    for position, name in enumerate(names):
        earlier = positions.setdefault(name, position)
        check(
            earlier == position,
            f"{source}: the columns {earlier} and {position} (from 0) have the same name {name!r}: {remedy}.",
        )


def part_rows(width: int) -> int:
    """How many rows a part has, given its columns."""
    return max(1, PART_CELLS // max(1, width))


def clip_rows(rows: range, count: int) -> range:
    """Those of the row numbers that there are, given how many rows there are."""
    return range(min(rows.start, count), min(rows.stop, count))
