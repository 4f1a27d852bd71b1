"""CSV, TSV and their kin: lines of values with a delimiter between them."""

import contextlib
import csv
import io
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from nnaccel.errors import InputError, check
from nnaccel.files import opened
from nnaccel.sources import ALL_ROWS, FileOptions, Source, part_rows
from nnaccel.table import GAPS, Table, Text, read_number

_DELIMITERS = ("\t", ";", "|", ",")
_DELIMITER_NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "space": " ", "pipe": "|"}
_SAMPLE_LINES = 20

Record = list[str]


class DelimitedSource(Source):
    """A text file with a row a line.

    Parameters
    ----------
    path : Path
    options : FileOptions
    expected : collection of str, optional
        Names that the first line holds if it holds names.
    """

    def __init__(self, path: Path, options: FileOptions, expected: Collection[str] | None) -> None:
        self.name, self._path = path.name, path
        self._encoding = _encoding(path, options.encoding)
        self._delimiter = self._find_delimiter() if options.delimiter is None else _one_character(options.delimiter)
        # Where values are divided by semicolons, it is because the comma stands for the decimal point.
        self._read_number = _read_decimal_comma if self._delimiter == ";" else read_number
        with self._records() as records:
            first = next(records, None)
        if first is None:
            raise InputError(f"{self.name} is empty.")
        self.named = self._has_header(first, options.header, expected)
        names = [cell.strip() for cell in first]
        self.columns = self._checked_names(names) if self.named else tuple(map(str, range(len(names))))

    def parts(self, places: Mapping[str, int], text: Collection[str] = (), rows: range = ALL_ROWS) -> Iterator[Table]:
        size = part_rows(len(self.columns))
        with self._records() as records:
            row = sum(1 for _ in islice(records, rows.start + self.named)) - self.named
            while row < rows.stop and (part := list(islice(records, min(size, rows.stop - row)))):
                self._check_widths(part, row)
                yield self._table(part, row, places, text)
                row += len(part)

    def _table(self, part: list[Record], row: int, places: Mapping[str, int], text: Collection[str]) -> Table:
        columns = list(zip(*part, strict=True))
        numbers: dict[str, np.ndarray] = {}
        texts: dict[str, Text] = {}
        for name, position in places.items():
            cells = columns[position]
            values = None if name in text else _as_numbers(cells, self._read_number)
            if values is None:
                texts[name] = Text.of(cells)
            else:
                numbers[name] = values
        matrix = np.stack(list(numbers.values()), axis=1) if numbers else np.empty((len(part), 0))
        return Table(self.name, tuple(numbers), matrix, texts, lambda index: self._line(row + index))

    @contextlib.contextmanager
    def _records(self) -> Iterator[Iterator[Record]]:
        """The lines as lists of values, blank ones left out."""
        with self._reader() as reader:
            yield filter(None, reader)

    @contextlib.contextmanager
    def _reader(self) -> Iterator[Any]:
        with opened(self._path) as stream, io.TextIOWrapper(stream, self._encoding, newline="") as text:
            reader = csv.reader(text, delimiter=self._delimiter, skipinitialspace=True, strict=True)
            try:
                yield reader
            except csv.Error as error:
                raise InputError(f"{self.name}, line {reader.line_num}: {_explained(str(error))}.") from error
            except UnicodeError as error:
                raise InputError(
                    f"{self.name}, after line {reader.line_num}: this isn't text in {self._encoding.removesuffix('-sig')} "
                    f"({getattr(error, 'reason', error)}): save it as UTF-8, or name its encoding, say --encoding cp1252."
                ) from error

    def _line(self, row: int) -> str:
        """Where a row stands, counted anew: a value in quotes may go over several lines."""
        with self._reader() as reader:
            next(islice(filter(None, reader), row + self.named, None), None)
            return f"line {reader.line_num}"

    def _check_widths(self, part: list[Record], row: int) -> None:
        width = len(self.columns)
        if set(map(len, part)) == {width}:
            return
        bad = next(i for i, record in enumerate(part) if len(record) != width)
        raise InputError(
            f"{self.name}, {self._line(row + bad)}: {_values(len(part[bad]))} instead of {width}, as many as the first "
            f"line has: mend the line, or give the right --delimiter (now {self._delimiter!r})."
        )

    def _has_header(self, first: Record, header: bool | None, expected: Collection[str] | None) -> bool:
        if header is not None:
            return header
        if expected is not None:
            return any(cell.strip() in expected for cell in first)
        data = _data_in(first)
        check(
            data is None,
            f"{self.name}: the first line holds {data!r}, so it looks like data, not like names: add --no-header, "
            "or --header if these are the names.",
        )
        return True

    def _checked_names(self, names: list[str]) -> tuple[str, ...]:
        for position, name in enumerate(names):
            earlier = names.index(name)
            check(
                not name or earlier == position,
                f"{self.name}: the columns {earlier} and {position} (from 0) have the same name {name!r}: "
                "rename one, or give --no-header if the first line holds data.",
            )
        return tuple(name or f"unnamed {position}" for position, name in enumerate(names))

    def _find_delimiter(self) -> str:
        """The one that divides the first lines into equally many values, or else divides the first line most."""
        counts = {}
        for delimiter in _DELIMITERS:
            self._delimiter = delimiter
            try:
                with self._records() as records:
                    counts[delimiter] = [len(record) for record in islice(records, _SAMPLE_LINES)]
            except InputError:
                continue
        for delimiter, widths in counts.items():
            if widths and widths[0] > 1 and len(set(widths)) == 1:
                return delimiter
        return max(reversed(counts), key=lambda delimiter: counts[delimiter][:1], default=",")


def _as_numbers(cells: tuple[str, ...], read: Callable[[str], float]) -> np.ndarray | None:
    """The numbers that the cells spell, NaN for gaps; None if a cell is neither."""
    try:
        if read is read_number and "_" not in "".join(cells):
            return np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        pass
    try:
        return np.array([np.nan if cell.strip().lower() in GAPS else read(cell) for cell in cells], np.float64)
    except ValueError:
        return None


def _read_decimal_comma(word: str) -> float:
    return read_number(word.replace(",", "."))


def _data_in(first: Record) -> str | None:
    """A value of a first line that a name wouldn't be: a number, unless such names count up, as years may."""
    numbers = [cell for cell in map(str.strip, first) if _as_numbers((cell,), read_number) is not None and cell]
    counting = [cell for cell in numbers if cell.isdigit()]
    steps = {int(b) - int(a) for a, b in pairwise(counting)}
    return numbers[0] if numbers and (counting != numbers or steps != {1}) else None


def _encoding(path: Path, given: str) -> str:
    with opened(path) as stream:
        head = stream.read(2)
    if given == FileOptions.encoding and head in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    try:
        "".encode(given)
    except LookupError:
        raise InputError(f"there is no text encoding {given!r}: give one such as utf-8, cp1252 or utf-16.") from None
    return given


def _one_character(delimiter: str) -> str:
    character = _DELIMITER_NAMES.get(delimiter, delimiter)
    check(
        len(character) == 1 and character not in '"\r\n',
        f"--delimiter takes one character, or tab, comma, semicolon, space or pipe, not {delimiter!r}.",
    )
    return character


def _values(count: int) -> str:
    return "1 value" if count == 1 else f"{count} values"


def _explained(error: str) -> str:
    """What the csv module found wrong, and what to do about it."""
    if "unexpected end of data" in error:
        return "a quotation mark is opened and never closed"
    if "expected after" in error:
        return "something follows a closing quotation mark: double the marks that belong to the value"
    if "field limit" in error:
        return "a value has more than 131,072 characters: a quotation mark may be missing"
    return error
