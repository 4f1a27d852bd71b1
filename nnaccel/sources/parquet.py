"""Parquet files, through pyarrow."""

import contextlib
import importlib.util
import io
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnaccel.errors import InputError, check
from nnaccel.files import first_sentence, opened, shown_name
from nnaccel.sources import ALL_ROWS, Source, check_different, part_rows
from nnaccel.sources.frames import frame_table
from nnaccel.table import Column, Table, Text, row_place

MOST_UNPACKED, MOST_RATIO = 1 << 28, 1000
"""A file may unpack to this many bytes, or to this many times its own size if that is more: equal values take nothing in
Parquet, however many they are."""


class ParquetSource(Source):
    """A Parquet file.

    Raises
    ------
    InputError
        If pyarrow isn't installed.
    """

    named = True

    def __init__(self, path: Path) -> None:
        self.name, self._path = shown_name(path), path
        check(
            importlib.util.find_spec("pyarrow") is not None,
            f"{path} is a Parquet file, and reading it needs pyarrow: pip install 'nnaccel[parquet]'.",
        )
        with self._readable():
            file = self._open()
            schema, unpacked = file.schema_arrow, _unpacked_bytes(file.metadata)
        check(
            unpacked <= max(MOST_UNPACKED, MOST_RATIO * path.stat().st_size),
            f"{self.name} unpacks to {unpacked:,} bytes, more than {MOST_RATIO} times its size: save fewer rows, or others.",
        )
        self.columns = tuple(schema.names)
        check(len(self.columns) > 0, f"{self.name} has no columns.")
        check_different(self.name, self.columns)
        self._types = [str(_value_type(kind)) for kind in schema.types]
        # Words that repeat aren't to be written out for each row: a short file may repeat a long one very often.
        self._words = [name for name, kind in zip(self.columns, self._types, strict=True) if kind == "string"]

    def parts(self, places: Mapping[str, int], text: Collection[str] = (), rows: range = ALL_ROWS) -> Iterator[Table]:
        for position in places.values():
            check(
                not self._types[position].startswith(_UNREAD),
                f"{self.name}: column {self.columns[position]!r} holds {self._types[position]} values, which aren't "
                "encoded: drop it.",
            )
        row, size = 0, part_rows(len(places))
        wanted = list(dict.fromkeys(self.columns[place] for place in places.values()))
        with self._readable():
            for batch in self._open(self._words).iter_batches(size, columns=wanted):
                first = min(max(row, rows.start), row + len(batch))
                part = batch.slice(first - row, max(0, min(rows.stop, row + len(batch)) - first))
                if len(part):
                    columns = {
                        name: _as_column(part.column(self.columns[place]), name in text)
                        for name, place in places.items()
                    }
                    yield frame_table(self.name, columns, text, first)
                row += len(batch)
                if row >= rows.stop:
                    return

    def read(self, places: Mapping[str, int], text: Collection[str] = (), rows: range = ALL_ROWS) -> Table:
        # Column by column, as they lie in the file: what Arrow needs to read all at once is more than they become.
        numbers = [
            name for name, place in places.items() if self._types[place].startswith(_NUMBERS) and name not in text
        ]
        others: dict[str, Column] = {}
        matrix, length = np.empty((0, 0)), -1
        for name, place in places.items():
            table = super().read({name: place}, text, rows)
            check(
                length in (-1, len(table)),
                f"{self.name} can't be read as a Parquet file: its columns aren't equally long.",
            )
            length = len(table)
            if name not in numbers:
                others[name] = table.text(name)
                continue
            if not len(matrix):
                matrix = np.empty((len(table), len(numbers)))
            matrix[:, numbers.index(name)] = table.number(name)
        if not numbers:
            matrix = np.empty((len(table), 0))
        return Table(self.name, tuple(numbers), matrix, others, row_place(rows.start))

    def _open(self, words: Collection[str] = ()) -> Any:
        import pyarrow
        import pyarrow.parquet

        with opened(self._path) as stream:
            on_disk = isinstance(stream, io.BufferedReader)
            source = str(self._path) if on_disk else pyarrow.BufferReader(stream.read())
        return pyarrow.parquet.ParquetFile(source, pre_buffer=False, read_dictionary=list(words))

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        import pyarrow

        try:
            yield
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self.name} can't be read as a Parquet file: {first_sentence(error)}.") from error


_UNREAD = (
    "list",
    "large_list",
    "fixed_size_",
    "struct",
    "map",
    "binary",
    "large_binary",
    "duration",
    "union",
    "extension",
)


_NUMBERS = ("int", "uint", "float", "double", "halffloat", "decimal")


def _value_type(kind: Any) -> Any:
    """A column's type; that of its values where they are stored as numbers of words."""
    return kind.value_type if str(kind).startswith("dictionary") else kind


def _unpacked_bytes(metadata: Any) -> int:
    """What a file unpacks to, by what it says of its pages and by what becomes of its values: a number for each."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    values: int = 8 * metadata.num_columns * sum(group.num_rows for group in groups)
    pages: int = sum(group.total_byte_size for group in groups)
    return max(values, pages)


def _as_text(column: Any) -> Text:
    """A column that is stored as numbers of words; those of its words that stand in it, in the order of the rows."""
    import pyarrow

    codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    used, first, places = np.unique(codes, return_index=True, return_inverse=True)
    in_order = np.argsort(first)
    cells = column.dictionary.take(pyarrow.array(used[in_order], mask=used[in_order] < 0)).to_pylist()
    words = Text.of(["" if cell is None else cell for cell in cells])
    numbers = np.empty(len(used), np.int32)
    numbers[in_order] = words.codes
    return Text(numbers[places], words.words)


def _as_column(column: Any, text: bool) -> Column:
    """The values of a column: words as they are stored, anything else as an array."""
    if str(column.type).startswith("dictionary") and str(column.type.value_type) == "string":
        return _as_text(column)
    return _as_array(column, text)


def _as_array(column: Any, text: bool) -> np.ndarray:
    """The values of a column; whole numbers that are wanted as text become it before a gap makes fractions of them."""
    kind = str(_value_type(column.type))
    if column.type != _value_type(column.type):
        column = column.dictionary_decode()
    if kind.startswith("decimal"):
        column = column.cast("float64")
    if kind.startswith("date"):
        column = column.cast("timestamp[ms]")
    if kind.startswith(("time32", "time64")) or (text and kind.startswith(("int", "uint"))):
        column = column.cast("string")
    array: np.ndarray = column.to_numpy(zero_copy_only=False)
    if kind.startswith("time32") or kind.startswith("time64"):
        # As other programs write them: without a fraction where there is none.
        return np.array([None if time is None else _NO_FRACTION.sub("", time) for time in array], object)
    return array


_NO_FRACTION = re.compile(r"[.]0+$")
