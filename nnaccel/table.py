"""A table: columns of numbers and of text as they were read, before anything is learnt of them.

Numbers are NaN where a value is missing. Text is stored as numbers of words, -1 where it is missing, so that a column of a
million rows and ten different words takes four bytes a row.
"""

import functools
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnaccel.errors import InputError

CODE = re.compile("0[0-9]+")
"""A number whose leading zeros mean something, such as a postal code: it is a word."""

GAPS = frozenset(["", "?", "-", "--", ".", "na", "n/a", "#n/a", "#na", "<na>", "nan", "-nan", "nat", "null"])
"""How people write that a value is missing, in lower case; "none" is not among them, as it may well be a class. What models
learnt depends on it: another list is another format of model files."""


class Vocabulary(dict[str, int]):
    """Numbers words as they come: `vocabulary[cell]` is the number of the word in a cell, -1 for a gap.

    Blanks around a word don't count.

    Examples
    --------
    >>> vocabulary = Vocabulary()
    >>> [vocabulary[cell] for cell in ("red", " green", "red ", "?", "green")], vocabulary.words
    ([0, 1, 0, -1, 1], ['red', 'green'])
    """

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._numbers: dict[str, int] = {}

    def __missing__(self, cell: str) -> int:
        word = cell.strip()
        if word.lower() in GAPS:
            number = -1
        else:
            number = self._numbers.setdefault(word, len(self.words))
            if number == len(self.words):
                self.words.append(word)
        self[cell] = number
        return number


@dataclass(frozen=True)
class Text:
    """A column of text.

    Attributes
    ----------
    codes : int32 array (n,)
        For each row the number of its word, -1 where it is missing.
    words : tuple of str
        Different ones, without blanks around them.
    """

    codes: np.ndarray
    words: tuple[str, ...]

    @staticmethod
    def of(cells: Sequence[str]) -> "Text":
        """The column of these cells."""
        vocabulary = Vocabulary()
        codes = np.fromiter(map(vocabulary.__getitem__, cells), np.int32, len(cells))
        return Text(codes, tuple(vocabulary.words))

    def mapped(self, values: Sequence[Any], gap: Any, dtype: Any) -> np.ndarray:
        """Each row's value, given one for each word and one for gaps."""
        # A gap's code, -1, takes the last.
        table: np.ndarray = np.array([*values, gap], dtype)[self.codes]
        return table


Column = Text | np.ndarray


def row_place(first: int) -> Callable[[int], str]:
    """What says where a row of a table stands, if the table begins at the row with the number `first`, from 0."""
    return lambda index: f"row {first + index + 1}"


@dataclass(frozen=True)
class Table:
    """Rows of a file or of a data frame.

    Attributes
    ----------
    source : str
        What they come from, for sentences.
    number_names : tuple of str
        The columns of `numbers`.
    numbers : array (n, k) of any real dtype
        NaN where a value is missing.
    others : mapping of str to Text or array (n,)
        The other columns: text, and numbers that stand apart.
    place : callable
        Says where the row of an index stands: "row 17", or "line 18" in a file of text.
    decimal_comma : bool
        Whether numbers that are text have a decimal comma.

    Examples
    --------
    >>> table = Table("shop", ("price",), np.array([[1.5], [np.nan]]), {"size": Text.of(["M", "L"])})
    >>> len(table), table.text("price").words
    (2, ('1.5',))
    """

    source: str
    number_names: tuple[str, ...]
    numbers: np.ndarray
    others: Mapping[str, Column]
    place: Callable[[int], str] = row_place(0)
    decimal_comma: bool = False

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.numbers)

    def number(self, name: str, what: str = "a number") -> np.ndarray:
        """A column of numbers, (n,); text is read as numbers, and `what` says what a word should have been.

        Raises
        ------
        InputError
            If a word is no number.
        """
        column = self._column(name)
        if not isinstance(column, Text):
            return column
        return self.parsed(name, read_decimal_comma if self.decimal_comma else read_number, what)

    def parsed(self, name: str, read: Callable[[str], float], what: str) -> np.ndarray:
        """A column of text, each word turned into a number by `read`, (n,); NaN where it is missing.

        Raises
        ------
        InputError
            If `read` raises `ValueError` for a word; `what` says what it should have been.
        """
        text = self.text(name)
        values = []
        for code, word in enumerate(text.words):
            try:
                values.append(read(word))
            except ValueError:
                raise self.error(name, int(np.argmax(text.codes == code)), f"{word!r} is not {what}") from None
        return text.mapped(values, np.nan, np.float64)

    def text(self, name: str) -> Text:
        """A column of text; numbers are written as text, whole ones without a point."""
        column = self._column(name)
        if isinstance(column, Text):
            return column
        values, codes = np.unique(column, return_inverse=True)
        words = tuple(write_number(value) for value in values[~np.isnan(values)])
        return Text(np.where(codes < len(words), codes, -1).astype(np.int32), words)

    def is_text(self, name: str) -> bool:
        """Whether a column is text."""
        return isinstance(self._column(name), Text)

    def missing(self, name: str) -> np.ndarray:
        """Where a column has gaps, bool (n,)."""
        column = self._column(name)
        gaps: np.ndarray = column.codes < 0 if isinstance(column, Text) else np.isnan(column)
        return gaps

    def matrix(self, names: tuple[str, ...], rows: Any = slice(None)) -> np.ndarray:
        """Some columns of `numbers`, (rows, k); not copied if they are all of them, in order."""
        chosen: np.ndarray = self.numbers[rows]
        return chosen if names == self.number_names else chosen[:, [self._positions[name] for name in names]]

    @functools.cached_property
    def _positions(self) -> dict[str, int]:
        """Where the columns of numbers stand: there may be thousands."""
        return {name: position for position, name in enumerate(self.number_names)}

    def _column(self, name: str) -> Column:
        return self.others[name] if name in self.others else self.numbers[:, self._positions[name]]

    def error(self, name: str, row: int, finding: str) -> InputError:
        """What to raise for a value: the file, the place and the column, then what was found there."""
        return InputError(f"{self.source}, {self.place(row)}, column {name!r}: {finding}.")


def concatenate(waiting: deque[Table]) -> Table:
    """One table of the rows of several, which have the same columns; each is taken out and freed when it is copied.

    Raises
    ------
    MixedColumns
        If a column is numbers in one part and text in another, unless the numbers are all missing.
    """
    first = waiting[0]
    if len(waiting) == 1:
        return waiting.popleft()
    others = dict.fromkeys(name for part in waiting for name in part.others)
    texts = {name for name in others if any(part.is_text(name) for part in waiting)}
    mixed = {name for name in texts for part in waiting if not (part.is_text(name) or part.missing(name).all())}
    if mixed:
        raise MixedColumns(mixed)
    names = tuple(name for name in first.number_names if name not in others)
    numbers = np.empty((sum(map(len, waiting)), len(names)), first.numbers.dtype)
    pieces: dict[str, list[Column]] = {name: [] for name in others}
    row = 0
    while waiting:
        part = waiting.popleft()
        numbers[row : row + len(part)] = part.matrix(names)
        for name, columns in pieces.items():
            columns.append(part.text(name) if name in texts else part.number(name))
        row += len(part)
    joined = {name: _joined(columns) for name, columns in pieces.items()}
    return replace(first, number_names=names, numbers=numbers, others=joined)


class MixedColumns(Exception):
    """Some columns are numbers in one part of a file and text in another.

    Attributes
    ----------
    names : set of str
    """

    def __init__(self, names: set[str]) -> None:
        super().__init__(f"numbers and text in {sorted(names)}")
        self.names = names


def read_number(word: str) -> float:
    """The number that a word spells; Python's underscores between digits are not taken for one."""
    if "_" in word:
        raise ValueError
    return float(word)


def read_decimal_comma(word: str) -> float:
    """The number that a word spells, with a comma for the decimal point."""
    return read_number(word.replace(",", "."))


def as_float64(numbers: np.ndarray) -> np.ndarray:
    """Numbers in float64; not copied if they are. Of a signalling NaN, which arrays in files may hold, nobody is warned."""
    with np.errstate(invalid="ignore"):
        return numbers.astype(np.float64, copy=False)


def write_number(value: Any) -> str:
    """A number as text, whole ones without a point.

    Examples
    --------
    >>> write_number(3.0), write_number(0.1)
    ('3', '0.1')
    """
    # In half precision 1e15 is infinite, and some patterns of bits in extended precision have no absolute value.
    number = float(value)
    return str(int(number)) if abs(number) < 1e15 and number == int(number) else str(value)


def _joined(pieces: list[Column]) -> Column:
    numbers: dict[str, int] = {}
    arrays = []
    for piece in pieces:
        if isinstance(piece, Text):
            codes = [numbers.setdefault(word, len(numbers)) for word in piece.words]
            arrays.append(piece.mapped(codes, -1, np.int32))
        else:
            arrays.append(piece)
    joined = np.concatenate(arrays)
    return Text(joined, tuple(numbers)) if isinstance(pieces[0], Text) else joined
