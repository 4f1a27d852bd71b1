"""Parquet files, through pyarrow."""

import importlib.util
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnaccel.errors import InputError, check
from nnaccel.files import first_sentence, opened
from nnaccel.sources import ALL_ROWS, Source, part_rows
from nnaccel.sources.frames import frame_table
from nnaccel.table import Table


class ParquetSource(Source):
    """A Parquet file.

    Raises
    ------
    InputError
        If pyarrow isn't installed.
    """

    named = True

    def __init__(self, path: Path) -> None:
        self.name, self._path = path.name, path
        check(
            importlib.util.find_spec("pyarrow") is not None,
            f"{path} is a Parquet file, and reading it needs pyarrow: pip install 'nnaccel[parquet]'.",
        )
        schema = self._open().schema_arrow
        self.columns = tuple(schema.names)
        for position, name in enumerate(self.columns):
            check(
                self.columns.index(name) == position,
                f"{self.name}: two columns have the same name {name!r}: rename one.",
            )
        self._types = [str(kind) for kind in schema.types]

    def parts(self, places: Mapping[str, int], text: Collection[str] = (), rows: range = ALL_ROWS) -> Iterator[Table]:
        for position in places.values():
            check(
                not self._types[position].startswith(_NESTED),
                f"{self.name}: column {self.columns[position]!r} holds {self._types[position]} values, which aren't "
                "encoded: drop it.",
            )
        row = 0
        for batch in self._batches([self.columns[position] for position in places.values()]):
            first = max(row, rows.start)
            part = batch.slice(first - row, max(0, min(rows.stop, row + len(batch)) - first))
            if len(part):
                columns = {name: _as_array(part.column(self.columns[position])) for name, position in places.items()}
                yield frame_table(self.name, columns, first)
            row += len(batch)
            if row >= rows.stop:
                return

    def _open(self) -> Any:
        import pyarrow
        import pyarrow.parquet

        try:
            with opened(self._path) as stream:
                compressed = not stream.seekable() or not hasattr(stream, "fileno")
                source = pyarrow.BufferReader(stream.read()) if compressed else str(self._path)
            return pyarrow.parquet.ParquetFile(source)
        except (pyarrow.ArrowException, OSError) as error:
            raise InputError(f"{self.name} can't be read as a Parquet file: {first_sentence(error)}.") from error

    def _batches(self, columns: list[str]) -> Iterator[Any]:
        import pyarrow

        try:
            yield from self._open().iter_batches(part_rows(len(columns)), columns=columns)
        except (pyarrow.ArrowException, OSError) as error:
            raise InputError(f"{self.name} is damaged: {first_sentence(error)}.") from error


_NESTED = ("list", "large_list", "fixed_size_list", "struct", "map", "binary", "large_binary", "duration", "union")


def _as_array(column: Any) -> np.ndarray:
    kind = str(column.type)
    if kind.startswith("dictionary"):
        column = column.dictionary_decode()
    if kind.startswith("decimal"):
        column = column.cast("float64")
    if kind.startswith("date"):
        column = column.cast("timestamp[ms]")
    if kind.startswith("time32") or kind.startswith("time64"):
        column = column.cast("string")
    array: np.ndarray = column.to_numpy(zero_copy_only=False)
    return array
