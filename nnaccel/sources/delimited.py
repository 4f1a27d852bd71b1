"""CSV, TSV and their kin: lines of values with a delimiter between them."""

import codecs
import contextlib
import csv
import functools
import io
import math
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from itertools import islice, pairwise, repeat
from pathlib import Path

import numpy as np

from nnaccel.errors import InputError, check
from nnaccel.files import opened, shown_name
from nnaccel.sources import ALL_ROWS, FileOptions, Source, check_different, part_rows
from nnaccel.table import CODE, GAPS, Table, Text

_DELIMITERS = ("\t", ";", "|", ",")
_DELIMITER_NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "space": " ", "pipe": "|"}
_SAMPLE_LINES = 20
_SAMPLE_ROWS = 200
_DIGITS_OF_YEARS = 4
_FEWEST_ROWS = 64
"""In a part, lest the work for each column outweigh that for its values."""
_BLANK: tuple[list[str], ...] = ([], [""])
"""What lines without a value are read as."""

_MOST_COLUMNS = 1 << 18
"""Of a text file: each takes thousands of times the memory and the time of the comma that makes it."""

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
        self.name, self._path = shown_name(path), path
        self._encoding = text_encoding(path, options.encoding)
        self._delimiter = self._find_delimiter() if options.delimiter is None else _one_character(options.delimiter)
        with self._records() as records:
            sample = list(islice(records, _SAMPLE_ROWS))
        if not sample:
            raise InputError(f"{self.name} is empty.")
        first = sample[0]
        check(
            len(first) <= _MOST_COLUMNS,
            f"{self.name} has {len(first):,} columns, but no more than {_MOST_COLUMNS:,} are read from text: save it as an "
            "array, with numpy.save.",
        )
        # Where values are divided by semicolons, it is because the comma stands for the decimal point.
        self._decimal_comma = self._delimiter == ";"
        self.named = self._has_header(sample, options.header, expected)
        self.columns = self._checked_names(first) if self.named else tuple(map(str, range(len(first))))

    def parts(self, places: Mapping[str, int], text: Collection[str] = (), rows: range = ALL_ROWS) -> Iterator[Table]:
        # A value takes some sixty bytes as text: fewer of them stay in the cache.
        most = part_rows(len(self.columns))
        size = min(most, max(_FEWEST_ROWS, most // 16))
        with self._records() as opened_records:
            records = iter(opened_records)
            row = sum(1 for _ in islice(records, min(rows.start, sys.maxsize - 1) + self.named)) - self.named
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
            values = None if name in text else _as_numbers(cells, self._decimal_comma)
            if values is None:
                texts[name] = Text.of(cells)
                continue
            numbers[name] = values
            if self._decimal_comma and not self.remarks:
                with_comma = (cell.strip() for cell in cells if "," in cell)
                self.remarks = tuple(
                    f"commas are read as decimal points, as in {cell!r}" for cell in islice(with_comma, 1)
                )
        matrix = np.stack(list(numbers.values()), axis=1) if numbers else np.empty((len(part), 0))
        place = functools.partial(self._place, row)
        return Table(self.name, tuple(numbers), matrix, texts, place, self._decimal_comma)

    def _place(self, part: int, index: int) -> str:
        """The line in which a row begins, counted anew: a value in quotes may go over several lines."""
        with self._records() as records:
            next(islice(records, part + index + self.named, None), None)
            return f"line {records.line}"

    @contextlib.contextmanager
    def _records(self) -> Iterator["_Records"]:
        with opened(self._path) as stream, io.TextIOWrapper(stream, self._encoding, newline="") as text:
            yield _Records(self.name, text, self._delimiter)

    def _check_widths(self, part: list[Record], row: int) -> None:
        width = len(self.columns)
        if set(map(len, part)) == {width}:
            return
        bad = next(i for i, record in enumerate(part) if len(record) != width)
        raise InputError(
            f"{self.name}, {self._place(row, bad)}: {_values(len(part[bad]))} instead of {width}, as many as the first "
            f"line has: mend the line, or give the right --delimiter (now {self._delimiter!r})."
        )

    def _has_header(self, sample: list[Record], header: bool | None, expected: Collection[str] | None) -> bool:
        if header is not None:
            return header
        first = sample[0]
        data = _data_in(first, self._decimal_comma) or _repeated(sample)
        if expected is None:
            self._check_names(data)
            return True
        if not expected:
            # No names are looked for: they are there where the first line holds but words, and the next one a number.
            may_be_names = data is None and not any(cell.strip().lower() in GAPS for cell in first)
            return may_be_names and len(sample) > 1 and _data_in(sample[1], self._decimal_comma) is not None
        found = sum(_as_name(cell) in expected for cell in first)
        # A single one may be a value.
        known = found > 0 and (data is None or 2 * found >= len(first))
        check(
            known or data is not None,
            f"{self.name}: the first line, {', '.join(map(repr, first[:5]))}, has none of the names looked for: give "
            "--no-header if it holds data, or mend the names.",
        )
        return known

    def _check_names(self, data: str | None) -> None:
        check(
            data is None,
            f"{self.name}: the first line holds {data!r}, so it looks like data, not like names: add --no-header, "
            "or --header if these are the names.",
        )

    def _checked_names(self, first: Record) -> tuple[str, ...]:
        names = tuple(_as_name(cell) or f"unnamed {position}" for position, cell in enumerate(first))
        check_different(self.name, names, "rename one, or give --no-header if the first line holds data")
        return names

    def _find_delimiter(self) -> str:
        """The one that divides the first lines into equally many values, or else divides the first line most.

        Blanks do only where nothing else divides the first line.
        """
        counts = {delimiter: self._sampled_widths(delimiter) for delimiter in _DELIMITERS}
        for delimiter, widths in counts.items():
            if widths and widths[0] > 1 and len(set(widths)) == 1:
                return delimiter
        most = max(reversed(counts), key=lambda delimiter: counts[delimiter][:1])
        if counts[most][:1] == [1]:
            widths = self._sampled_widths(" ")
            if len(widths) > 1 and widths[0] > 1 and len(set(widths)) == 1:
                return " "
        return most

    def _sampled_widths(self, delimiter: str) -> list[int]:
        """How many values the first lines have, up to one that can't be divided so, which has none."""
        self._delimiter = delimiter
        widths = []
        try:
            with self._records() as records:
                for record in islice(records, _SAMPLE_LINES):
                    widths.append(len(record))
        except InputError:
            widths.append(0)
        return widths


class _Records:
    """The lines of a text file as lists of values, blank ones left out; can be gone through once.

    Attributes
    ----------
    line : int
        Where the last record begins, from 1.

    Raises
    ------
    InputError
        While they are gone through, if a line can't be read.
    """

    def __init__(self, source: str, lines: io.TextIOWrapper, delimiter: str) -> None:
        self._source, self._encoding = source, lines.encoding
        self._reader = csv.reader(
            map(_without_last_blanks, lines) if delimiter == " " else lines,
            delimiter=delimiter,
            skipinitialspace=True,
            strict=True,
        )
        self.line = 1

    def __iter__(self) -> Iterator[Record]:
        blank = _BLANK
        try:
            for record in self._reader:
                if record not in blank:
                    yield record
                    # Where there is one column, an empty value in quotes is a row.
                    blank = _BLANK[: len(record)]
                self.line = self._reader.line_num + 1
        except csv.Error as error:
            last = self._reader.line_num
            lines = f"line {last}" if last <= self.line else f"lines {self.line} to {last}"
            raise InputError(f"{self._source}, {lines}: {_explained(str(error))}.") from error
        except UnicodeError as error:
            raise InputError(
                f"{self._source}, line {self._reader.line_num + _line_of(error)}: this isn't text in "
                f"{self._encoding.removesuffix('-sig')} ({getattr(error, 'reason', error)}): save it as UTF-8, or name its "
                "encoding, say --encoding cp1252."
            ) from error


_LINE_BREAKS = re.compile(r"\s*[\r\n]\s*")


def _as_name(cell: str) -> str:
    """A cell of the first line as the name of a column, in one line."""
    return _LINE_BREAKS.sub(" ", cell.strip())


def _without_last_blanks(line: str) -> str:
    """A line whose values are divided by blanks: those at its end divide nothing."""
    content = line.rstrip("\r\n")
    return content.rstrip(" ") + line[len(content) :]


def _line_of(error: UnicodeError) -> int:
    """In which line of those being decoded, from 1, the error is."""
    before = error.object[: error.start] if isinstance(error, UnicodeDecodeError) else b""
    return 1 + (before.count(b"\n") or before.count(b"\r"))


_CODE = re.compile(rf"\0\s*{CODE.pattern}\s*(?:\0|$)")
"""A code such as 007, whose zeros mean something, among cells that a NUL precedes: a pattern that begins with a
character is searched for ten times as fast as one that doesn't."""


def _as_numbers(cells: Collection[str], decimal_comma: bool) -> np.ndarray | None:
    """The numbers that the cells spell, NaN for gaps; None if a cell is neither."""

    def spelled() -> Iterator[str]:
        return map(str.replace, cells, repeat(","), repeat(".")) if decimal_comma else iter(cells)

    try:
        numbers = np.fromiter(map(float, spelled()), np.float64, len(cells))
    except ValueError:
        try:
            numbers = np.fromiter(map(_number_or_gap, spelled()), np.float64, len(cells))
        except ValueError:
            return None
    together = "\0" + "\0".join(cells)
    # Underscores between digits Python takes for a number.
    return None if "_" in together or _CODE.search(together) else numbers


def _number_or_gap(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        if cell.strip().lower() in GAPS:
            return math.nan
        raise


def _data_in(first: Record, decimal_comma: bool) -> str | None:
    """A value of a first line that a name wouldn't be: a number, unless such names count up, as years may."""
    numbers = [cell for cell in map(str.strip, first) if _is_number(cell, decimal_comma)]
    counting = [cell for cell in numbers if cell.isdecimal()]
    steps = {int(b) - int(a) for a, b in pairwise(counting)}
    are_years = len(set(counting)) > 1 and all(len(cell) == _DIGITS_OF_YEARS for cell in counting)
    # Two small numbers that follow each other may well be data, but not behind the blank name of a data frame's index.
    are_counts = steps == {1} and (len(numbers) > 2 or not first[0].strip())
    are_names = counting == numbers and (are_years or are_counts)
    return numbers[0] if numbers and not are_names else None


def _repeated(sample: list[Record]) -> str | None:
    """A word of the first line, if all of them, or several and half of them, stand again in their columns, as names wouldn't."""
    first = sample[0]
    below = list(zip(*(record for record in sample[1:] if len(record) == len(first)), strict=True))
    words = [k for k, cell in enumerate(first) if cell.strip() and not cell.strip().isdecimal()]
    again = [first[k] for k in words if below and first[k] in below[k]]
    several = len(again) > 1 and 2 * len(again) >= len(words)
    return again[0] if again and (several or len(again) == len(words)) else None


def _is_number(cell: str, decimal_comma: bool) -> bool:
    """Whether a cell is a number, and no gap: a column may be called Na."""
    numbers = _as_numbers((cell,), decimal_comma)
    return numbers is not None and bool(np.isfinite(numbers[0]))


def text_encoding(path: Path, given: str) -> str:
    """The encoding given; where that is UTF-8, which nobody needs to say, the one that a mark at the beginning tells.

    Raises
    ------
    InputError
        If there is no such encoding.
    """
    try:
        "".encode(given)
        is_utf8 = codecs.lookup(given).name in ("utf-8", "utf-8-sig")
    except (LookupError, ValueError):
        raise InputError(f"there is no text encoding {given!r}: give one such as utf-8, cp1252 or utf-16.") from None
    if not is_utf8:
        return given
    with opened(path) as stream:
        head = stream.read(4)
    # UTF-32's mark begins with UTF-16's.
    if head in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
        return "utf-32"
    return "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


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
        return "something follows a closing quotation mark: remove it, or double the marks that belong to the value"
    if "field limit" in error:
        return "a value has more than 131,072 characters: a quotation mark may be missing"
    return error
