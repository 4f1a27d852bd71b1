"""Encodings: how rows of a table become what a network takes. What was learnt is arrays and words, applied in NumPy.

A feature matrix has, in this order: the numbers, standardised, with 0 for gaps; a column of zeros and ones for each
of those that had gaps; and for each column of categories one of zeros and ones for each.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from nnaccel.described import entries, entry, named_entries
from nnaccel.errors import InputError
from nnaccel.sources import ALL_ROWS, Source
from nnaccel.table import Table, Text, as_float64, read_number
from nnaccel.targets import BOOLEANS, Target

_KIND = "table"
"""What model files call such an encoding."""

_BLOCK_CELLS = 1 << 16
"""How many numbers are encoded at a time: they should stay in the cache."""

_EXAMPLE = datetime(2024, 12, 31, 13, 45)
"""Its month, day, hour and minute can't be taken for each other."""


@dataclass(frozen=True, eq=False)
class Numbers:
    """Columns that become numbers.

    Attributes
    ----------
    names : tuple of str
    formats : mapping of str to str
        For those that are text, how it is read: "number", "boolean", "iso" for dates by ISO 8601, or a format of
        `strptime`.
    mean, scale : float64 array (k,)
        A number x enters as (x - mean) / scale, a gap as 0.
    had_gaps : bool array (k,)
        Which have a column that is 1 for a gap and 0 otherwise.
    """

    names: tuple[str, ...]
    formats: Mapping[str, str]
    mean: np.ndarray
    scale: np.ndarray
    had_gaps: np.ndarray

    @staticmethod
    def restore(described: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> "Numbers":
        """The numbers of an encoding's description; `ValueError` if there are none."""
        names, formats = tuple(entries(described, "numbers", str)), named_entries(described, "formats", str)
        for form in formats.values():
            check_format(form)
        if any(name not in arrays for name in ("mean", "scale", "had_gaps")):
            raise ValueError("the encoding lacks an array")
        mean, scale, had_gaps = (arrays[name].astype(np.float64) for name in ("mean", "scale", "had_gaps"))
        for array in (mean, scale, had_gaps):
            if array.shape != (len(names),) or np.isnan(array).any():
                raise ValueError("the encoding's arrays have the wrong length, or hold what is no number")
        if not ((scale > 0).all() and np.isfinite(mean).all()):
            raise ValueError("the encoding's scales aren't positive, or its means aren't finite")
        return Numbers(names, formats, mean, scale, had_gaps.astype(bool))

    @property
    def width(self) -> int:
        """How many columns they become."""
        return len(self.names) + int(self.had_gaps.sum())


@dataclass(frozen=True)
class Categories:
    """A column of text that becomes a column of zeros and ones for each of some words.

    Attributes
    ----------
    name : str
    words : tuple of str
        The ones that were frequent, the most frequent first; as `plain_word` spells them.
    has_others : bool
        Whether there is a column for all other words, which were rare or are new. Without it, they have no 1.
    had_gaps : bool
        Whether there is a column for gaps. Without it, a gap counts among the other words.
    had_numbers : bool
        Whether some word was a number. Where none was, a column of numbers is something else.
    """

    name: str
    words: tuple[str, ...]
    has_others: bool
    had_gaps: bool
    had_numbers: bool

    @staticmethod
    def restore(described: Mapping[str, Any]) -> "Categories":
        """The categories that were described; `ValueError` if there are none."""
        words = entries(described, "words", str)
        if len(set(words)) < len(words):
            raise ValueError("a column of categories has a word twice")
        flags = [entry(described, name, bool) for name in ("others", "gaps", "had_numbers")]
        return Categories(entry(described, "name", str), tuple(words), *flags)

    def describe(self) -> dict[str, Any]:
        """The categories for JSON; see `restore`."""
        flags = {"others": self.has_others, "gaps": self.had_gaps, "had_numbers": self.had_numbers}
        return {"name": self.name, "words": list(self.words), **flags}

    @property
    def width(self) -> int:
        """How many columns it becomes."""
        return len(self.words) + self.has_others + self.had_gaps

    def columns(self, text: Text) -> np.ndarray:
        """Which of its columns is 1 in each row, int (n,); -1 for none."""
        others = len(self.words) if self.has_others else -1
        place = {word: k for k, word in enumerate(self.words)}
        gap = self.width - 1 if self.had_gaps else others
        return text.mapped([place.get(plain_word(word), others) for word in text.words], gap, np.int64)


@dataclass(frozen=True, eq=False)
class Encoding:
    """How rows of a table become features, and targets numbers, learnt from training rows alone.

    Attributes
    ----------
    columns : tuple of str
        All columns of the file that it was learnt from, in order, the unused and the target included.
    named : bool
        Whether they had names; otherwise columns are told by their position.
    numbers : Numbers
    categories : tuple of Categories
    target : Target
    """

    columns: tuple[str, ...]
    named: bool
    numbers: Numbers
    categories: tuple[Categories, ...]
    target: Target

    @property
    def width(self) -> int:
        """How many features there are."""
        return self.numbers.width + sum(column.width for column in self.categories)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that features are made of."""
        return (*self.numbers.names, *(column.name for column in self.categories))

    @property
    def texts(self) -> frozenset[str]:
        """The columns to read as text."""
        target = self.target.names if self.target.is_text else ()
        return frozenset((*self.numbers.formats, *(column.name for column in self.categories), *target))

    def places(self, source: Source, also: Collection[str] = ()) -> dict[str, int]:
        """Where the columns stand in another source, the target's only if they are there.

        By name; or by position where the source or the encoding has no names, with or without the target.

        Parameters
        ----------
        source : Source
        also : collection of str
            More columns of the file that it was learnt from, wanted if they are there.

        Raises
        ------
        InputError
            If a column is missing.
        """
        if source.named and self.named:
            there = set(source.columns)
            missing = [name for name in self.inputs if name not in there]
            if missing:
                raise InputError(
                    f"{source.name} has no column {', '.join(map(repr, missing[:5]))}"
                    f"{f' and {len(missing) - 5} more' if len(missing) > 5 else ''}, which the model was trained on; it has "
                    f"{source.describe_columns()}."
                )
            layout = source.columns
        else:
            layout = self._layout(source)
        place = {name: position for position, name in enumerate(layout)}
        wanted = (*self.inputs, *self._present(layout), *(name for name in also if name in place))
        return {name: place[name] for name in wanted}

    def tables(self, source: Source, rows: range = ALL_ROWS) -> Iterator[Table]:
        """The rows of another source, part by part, with the columns that were learnt."""
        return source.parts(self.places(source), self.texts, rows)

    def features(self, table: Table, dtype: str, rows: np.ndarray | None = None) -> np.ndarray:
        """Encode rows, (n, width), in the dtype of the network.

        Parameters
        ----------
        table : Table
        dtype : "float32" or "float64"
        rows : int array, optional
            Which rows; all by default.

        Raises
        ------
        InputError
            If a value is text where numbers were learnt, no date where dates were, infinite, or too large.
        """
        features = np.zeros((len(table) if rows is None else len(rows), self.width), dtype)
        read = number_reader(table, self.numbers.names, self.numbers.formats)
        for column in self.categories:
            _check_is_text(table, column)
        columns = [(column.columns(table.text(column.name)), column.width) for column in self.categories]
        size = max(1, _BLOCK_CELLS // max(1, self.width))
        for start in range(0, len(features), size):
            block = features[start : start + size]
            chosen: Any = slice(start, start + len(block)) if rows is None else rows[start : start + size]
            self._write_numbers(block, read(chosen), table, chosen)
            first = self.numbers.width
            for ones, width in columns:
                own = ones[chosen]
                known = np.flatnonzero(own >= 0)
                block[known, first + own[known]] = 1
                first += width
        return features

    def new_gaps(self, table: Table) -> dict[str, int]:
        """How many rows lack a value in the columns that had one in every training row."""
        had_none = [name for name, had in zip(self.numbers.names, self.numbers.had_gaps, strict=True) if not had]
        had_none += [column.name for column in self.categories if not column.had_gaps]
        counts = {name: int(table.missing(name).sum()) for name in had_none}
        return {name: count for name, count in counts.items() if count}

    def describe(self) -> dict[str, Any]:
        """All but the arrays, for JSON; see `restore`."""
        return {
            "kind": _KIND,
            "columns": list(self.columns),
            "named": self.named,
            "numbers": list(self.numbers.names),
            "formats": dict(self.numbers.formats),
            "categories": [column.describe() for column in self.categories],
            "target": self.target.describe(),
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name."""
        arrays = {
            "mean": self.numbers.mean,
            "scale": self.numbers.scale,
            "had_gaps": self.numbers.had_gaps.astype(np.uint8),
            "target_mean": self.target.mean,
            "target_scale": self.target.scale,
        }
        return {name: array for name, array in arrays.items() if array is not None}

    @staticmethod
    def restore(described: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> "Encoding":
        """The encoding of a description and its arrays.

        Raises
        ------
        ValueError
            If they don't fit together.
        """
        check_kind(described)
        numbers = Numbers.restore(described, arrays)
        categories = tuple(map(Categories.restore, entries(described, "categories", dict)))
        target = Target.restore(entry(described, "target", dict), arrays.get("target_mean"), arrays.get("target_scale"))
        columns, named = tuple(entries(described, "columns", str)), entry(described, "named", bool)
        encoding = Encoding(columns, named, numbers, categories, target)
        used = (*encoding.inputs, *target.names)
        if len(set(used)) < len(used) or not {*used, *numbers.formats} <= set(encoding.columns):
            raise ValueError("the encoding uses a column twice, or one that it doesn't have")
        if set(arrays) != set(encoding.arrays()):
            raise ValueError("the encoding has an array too many")
        return encoding

    def _write_numbers(self, block: np.ndarray, raw: np.ndarray, table: Table, rows: Any) -> None:
        """Standardise numbers, (m, k), into the first columns of `block`, and mark the gaps."""
        count = len(self.numbers.names)
        gaps = np.isnan(raw)
        with np.errstate(over="ignore"):
            scaled = (raw - self.numbers.mean) / self.numbers.scale
        if gaps.any():
            scaled[gaps] = 0
            block[:, count : self.numbers.width] = gaps[:, self.numbers.had_gaps]
        limit = np.finfo(block.dtype).max
        if scaled.size and not (-limit <= scaled.min() and scaled.max() <= limit):
            row, column = np.argwhere(np.abs(scaled) > limit)[0]
            index = int(rows.start + row if isinstance(rows, slice) else rows[row])
            raise table.error(
                self.numbers.names[column], index, f"{raw[row, column]:g} is too large: correct it, or leave it empty"
            )
        block[:, :count] = scaled

    def _present(self, columns: Sequence[str]) -> tuple[str, ...]:
        """The target's columns, if all are there."""
        names = self.target.names
        return names if all(name in columns for name in names) else ()

    def _layout(self, source: Source) -> tuple[str, ...]:
        """What the columns of a source without names are, by their number."""
        without_target = tuple(name for name in self.columns if name not in self.target.names)
        only_inputs = tuple(name for name in self.columns if name in self.inputs)
        for layout in (self.columns, without_target, only_inputs):
            if len(layout) == len(source.columns):
                return layout
        raise InputError(
            f"{source.name} has {len(source.columns)} columns, but the model was trained on a file of {len(self.columns)} "
            f"({len(without_target)} without the target): give a file with the same columns"
            + (", or with their names in the first line." if self.named else ".")
        )


def check_kind(described: Any) -> None:
    """Raise `ValueError` unless what is described is the encoding of a table."""
    kind = entry(described, "kind", str)
    if kind != _KIND:
        raise ValueError(f"it has an encoding of the kind {kind!r}, which is unknown here")


def _check_is_text(table: Table, column: Categories) -> None:
    """Refuse numbers where none of the words that were learnt is one: they are something else."""
    words = table.text(column.name).words
    if words and column.words and not column.had_numbers and all(map(is_number, words)):
        raise table.error(
            column.name,
            0,
            f"there are numbers, such as {words[0]!r}, where text was learnt, such as {column.words[0]!r}: "
            "correct it, or leave it empty",
        )


def plain_encoding(inputs: int | Sequence[str], target: Target) -> Encoding:
    """The encoding that changes nothing: the columns are numbers that go to the network as they are, then the targets.

    Parameters
    ----------
    inputs : int or sequence of str
        How many numbers a row has, or what they are called.
    target : Target
    """
    named = not isinstance(inputs, int)
    names = tuple(map(str, range(inputs) if isinstance(inputs, int) else inputs))
    numbers = Numbers(names, {}, np.zeros(len(names)), np.ones(len(names)), np.zeros(len(names), bool))
    return Encoding((*names, *target.names), named=named, numbers=numbers, categories=(), target=target)


def number_reader(table: Table, names: tuple[str, ...], formats: Mapping[str, str]) -> Callable[[Any], np.ndarray]:
    """A function that gives the numbers of some rows of a table, float64 (m, k), NaN for gaps.

    Parameters
    ----------
    names : tuple of str
    formats : mapping of str to str
        How those that are text are read.
    """
    if names == table.number_names and not formats:
        return lambda rows: as_float64(table.matrix(names, rows))
    place = {name: position for position, name in enumerate(table.number_names)}
    plain = [k for k, name in enumerate(names) if name in place and name not in formats]
    positions = [place[names[k]] for k in plain]
    others = sorted(set(range(len(names))) - set(plain))
    columns = {k: _number_column(table, names[k], formats) for k in others}

    def read(rows: Any) -> np.ndarray:
        chosen = table.numbers[rows]
        block = np.empty((len(chosen), len(names)))
        block[:, plain] = as_float64(chosen[:, positions])
        for k, column in columns.items():
            block[:, k] = column[rows]
        return block

    return read


def _number_column(table: Table, name: str, formats: Mapping[str, str]) -> np.ndarray:
    form = formats.get(name, "number")
    what = f"{describe_format(form)}, as the column's others were: correct it, or leave it empty"
    return table.number(name, what) if form == "number" else table.parsed(name, word_reader(form), what)


def word_reader(form: str) -> Callable[[str], float]:
    """What turns a word into a number: a truth value into 0 or 1, a date into days since 1970.

    It raises `ValueError` for a word that is none.

    Examples
    --------
    >>> word_reader("boolean")("Yes"), word_reader("%d.%m.%Y")("02.01.1970"), word_reader("iso")("1970-01-01T12:00")
    (1.0, 1.0, 0.5)
    """
    if form == "number":
        return read_number
    if form == "boolean":
        return _boolean
    if form == "iso":
        return lambda word: _days(datetime.fromisoformat(word))
    return lambda word: _days(datetime.strptime(word, form))


def check_format(form: str) -> None:
    """Raise `ValueError` unless `word_reader` knows the format."""
    if form in ("number", "boolean", "iso"):
        return
    # None that we write has days without a year, of which Python 3.13 warns.
    yearless = "%d" in form and not ("%Y" in form or "%y" in form)
    try:
        matches = not yearless and bool(datetime.strptime(_EXAMPLE.strftime(form), form))
    except re.error:  # strptime makes a pattern of it, in which no directive may stand twice
        matches = False
    if not matches:
        raise ValueError(f"{form!r} is no format of dates")


def is_number(word: str) -> bool:
    """Whether a word spells a number."""
    try:
        read_number(word)
    except ValueError:
        return False
    return True


def describe_format(form: str) -> str:
    """What a word should be, for a sentence.

    Examples
    --------
    >>> describe_format("iso"), describe_format("%d.%m.%Y %H:%M")
    ('a date like 2024-12-31', 'a date like 31.12.2024 13:45')
    """
    if form == "number":
        return "a number"
    if form == "boolean":
        return f"one of {', '.join(BOOLEANS)}"
    return f"a date like {_EXAMPLE.date().isoformat() if form == 'iso' else _EXAMPLE.strftime(form)}"


def plain_word(word: str) -> str:
    """A word, a whole number without its point: what is written 3 in one file is often 3.0 where a column has gaps.

    Examples
    --------
    >>> plain_word("3.0"), plain_word("3"), plain_word("3.05"), plain_word("v1.0")
    ('3', '3', '3.05', 'v1.0')
    """
    whole, _, zeros = word.partition(".")
    return whole if zeros and not zeros.strip("0") and whole.lstrip("-").isdecimal() else word


def _boolean(word: str) -> float:
    value = BOOLEANS.get(plain_word(word).lower())
    if value is None:
        raise ValueError
    return value


def _days(moment: datetime) -> float:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.timestamp() / 86_400
