"""Data frames, and mappings of names to columns, in memory."""

import math
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from nnaccel.errors import InputError, check
from nnaccel.sources import ALL_ROWS, Source, check_different, clip_rows, part_rows
from nnaccel.sources.arrays import as_column
from nnaccel.table import Column, Table, Text, row_place


class FrameSource(Source):
    """A data frame, or a mapping of names to columns.

    Parameters
    ----------
    frame : data frame or mapping
        `frame[name]` is a column: it has `to_numpy`, or `np.asarray` takes it.
    name : str

    Examples
    --------
    >>> source = FrameSource({"age": [31, 45], "town": ["Bonn", "Kiel"]})
    >>> source.columns
    ('age', 'town')
    """

    named = True

    def __init__(self, frame: Any, name: str = "the data") -> None:
        self.name, self._frame = name, frame
        self._keys = list(frame.keys() if isinstance(frame, Mapping) else frame.columns)
        self.columns = tuple(map(str, self._keys))
        check(len(self.columns) > 0, f"{name} has no columns.")
        check_different(name, self.columns)

    def parts(self, places: Mapping[str, int], text: Collection[str] = (), rows: range = ALL_ROWS) -> Iterator[Table]:
        columns = {name: self._column(position, name in text) for name, position in places.items()}
        count = len(next(iter(columns.values()))) if columns else 0
        for name, column in columns.items():
            check(len(column) == count, f"column {name!r} of {self.name} has {len(column)} rows, others {count}.")
        chosen, size = clip_rows(rows, count), part_rows(len(columns))
        for start in range(chosen.start, chosen.stop, size):
            part = slice(start, min(start + size, chosen.stop))
            yield frame_table(self.name, {name: column[part] for name, column in columns.items()}, text, start)

    def _column(self, position: int, text: bool) -> np.ndarray:
        column = self._frame[self._keys[position]]
        try:
            array = column.to_numpy() if hasattr(column, "to_numpy") else np.asarray(column)
        except ValueError:
            raise InputError(
                f"column {self.columns[position]!r} of {self.name} holds lists that aren't equally long: drop it."
            ) from None
        array = _as_numbers(array) if array.dtype.kind == "O" and array.ndim == 1 and not text else array
        check(
            array.ndim == 1 and array.dtype.kind in "biufOSUTM",
            f"column {self.columns[position]!r} of {self.name} holds {array.dtype} values of the shape {array.shape[1:]}: "
            "encode or drop it first.",
        )
        return array


def _as_numbers(objects: np.ndarray) -> np.ndarray:
    """Objects as numbers, NaN for what is missing, if there are only numbers among them; otherwise as they are."""
    kinds = set(map(type, objects))
    missing = {kind for kind in kinds if kind.__name__ in ("NoneType", "NAType", "NaTType")}
    kinds -= missing
    if not kinds or not all(issubclass(kind, (Real, Decimal)) and not issubclass(kind, bool) for kind in kinds):
        return objects
    try:
        return np.array([math.nan if type(value) in missing else float(value) for value in objects])
    except (OverflowError, ValueError):
        return objects


def frame_table(name: str, columns: Mapping[str, Column], text: Collection[str], first_row: int) -> Table:
    """A table of columns of any kind; those of `text` become text."""
    read = {
        key: column if isinstance(column, Text) else as_column(column, key in text) for key, column in columns.items()
    }
    numbers = {key: column for key, column in read.items() if isinstance(column, np.ndarray)}
    others: dict[str, Column] = {key: column for key, column in read.items() if key not in numbers}
    some = next(iter(columns.values()))
    rows = len(some.codes if isinstance(some, Text) else some)
    matrix = np.empty((rows, len(numbers)))
    for place, column in enumerate(numbers.values()):
        matrix[:, place] = column
    return Table(name, tuple(numbers), matrix, others, row_place(first_row))
