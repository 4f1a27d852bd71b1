"""Learning an encoding: what each column is, and what the training rows alone tell of it.

What kind of values a column holds, and how they are spelled, is a matter of the file: all its rows decide. What the values
are, which words are frequent and where there are gaps, is learnt from the training rows.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nnaccel.encoding import (
    Categories,
    Encoding,
    Numbers,
    describe_format,
    is_number,
    number_reader,
    plain_word,
    word_reader,
)
from nnaccel.errors import InputError, check
from nnaccel.sources import Source
from nnaccel.table import CODE, Table, Text, read_decimal_comma, read_number
from nnaccel.targets import BOOLEANS, Target

MOST_CATEGORIES = 100
"""The most words of a column that have a feature of their own."""

DATE_FORMATS = (
    "iso",
    *(
        day + time
        for day in (
            "%m/%d/%Y", "%d/%m/%Y", "%m-%d-%Y", "%d-%m-%Y", "%d.%m.%Y", "%Y/%m/%d", "%d %b %Y", "%d-%b-%Y", "%b %d, %Y",
            "%d %B %Y", "%B %d, %Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%y", "%d-%b-%y",
        )
        for time in ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
    ),
    "%Y-%m",
    "%H:%M",
    "%H:%M:%S",
    "%H:%M:%S.%f",
    "%I:%M %p",
)  # fmt: skip
"""How dates are written, in the order in which these are tried; see `nnaccel.encoding.Numbers.formats`."""

_TWO_NUMBERS = re.compile(r"\d\D+\d")
"""What all dates have: trying the formats one by one takes long."""

_MOST = 0.9
"""A column of text is called spoiled where so many of its rows are numbers, or dates."""

_NAMES_OF_COUNTERS = ("id", "index", "number", "nr")

_BLOCK_CELLS = 1 << 18


@dataclass
class Findings:
    """What was found out about the columns, for the user.

    Attributes
    ----------
    dropped : dict of str to str
        Columns that aren't used, and why.
    gaps : dict of str to int
        Of the columns used, how many training rows have no value.
    kinds : dict of str to str
        What each used column is: "number", "truth value", "date" or "category".
    formats : dict of str to str
        How dates are read.
    remarks : list of str
        What else was noticed, a sentence without its stop each.
    """

    dropped: dict[str, str] = field(default_factory=dict)
    gaps: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    formats: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def learn_encoding(
    source: Source,
    table: Table,
    rows: np.ndarray,
    unused: Collection[str],
    target: Target,
    categorical: Collection[str] = (),
) -> tuple[Encoding, Findings]:
    """Learn how to encode the columns of a table.

    Parameters
    ----------
    source : Source
        Where the table comes from.
    table : Table
    rows : int array (n,)
        The training rows, which alone are learnt from.
    unused : collection of str
        Columns that are no features, beside the target.
    target : Target
    categorical : collection of str
        Columns of text that are categories even if their words are numbers or dates.

    Raises
    ------
    InputError
        If no column is left, or numbers are too large.
    """
    findings = Findings()
    names = [name for name in source.columns if name not in unused and name not in target.names]
    forms: dict[str, str] = {}
    categories = []
    for name in names:
        counts = source.named and _counts_rows(table, name)
        # Without a name of its own, it is the index that a data frame was written with.
        if counts and name.lower().startswith("unnamed"):
            findings.dropped[name] = "counts the rows"
            continue
        if counts and name.lower().endswith(_NAMES_OF_COUNTERS):
            findings.remarks.append(f"{name!r} counts the rows: if it is but a number, --drop it")
        if name not in categorical and (form := _find_form(table, name, findings)):
            forms[name] = form
        elif column := _learn_categories(name, table.text(name), rows, findings):
            categories.append(column)
    numbers = _learn_numbers(table, forms, rows, source.keeps_columns, findings)
    encoding = Encoding(source.columns, source.named, numbers, tuple(categories), target)
    check(
        encoding.width > 0,
        f"{source.name}: no column is left to learn from"
        + "".join(f"; {name!r} {reason}" for name, reason in list(findings.dropped.items())[:5])
        + ".",
    )
    return encoding, findings


def _counts_rows(table: Table, name: str) -> bool:
    """Whether each number of a column is the last plus 1."""
    if table.is_text(name):
        return False
    with np.errstate(invalid="ignore"):
        steps = np.diff(table.number(name).astype(np.float64))
    return len(steps) > 1 and bool((steps == 1).all())


def _find_form(table: Table, name: str, findings: Findings) -> str | None:
    """How to read a column as numbers; None if it is one of categories."""
    if not table.is_text(name):
        return "number"
    text = table.text(name)
    form = find_format(text.words) if text.words else None
    findings.remarks += _spoiled(name, text) if form is None else _ambiguous(name, form, text)
    return form


def _learn_categories(name: str, text: Text, rows: np.ndarray, findings: Findings) -> Categories | None:
    """The categories of a column; None if it is of no use."""
    text = _plain(text)
    counts = np.bincount(text.codes[rows] + 1, minlength=len(text.words) + 1)
    gaps, counts = int(counts[0]), counts[1:]
    present = np.flatnonzero(counts)
    # A word that few rows have teaches a network those rows by heart.
    fewest = min(10, max(2, len(rows) // 100))
    frequent = [(-int(counts[code]), text.words[code]) for code in present if counts[code] >= fewest]
    # Of equally frequent words the alphabet decides: their order in the file depends on rows that are held out.
    words = tuple(word for _, word in sorted(frequent)[:MOST_CATEGORIES])
    if not len(present):
        findings.dropped[name] = "is empty"
    elif len(present) == 1 and not gaps:
        findings.dropped[name] = f"is {text.words[present[0]]!r} in every row"
    elif not words and not gaps:
        findings.dropped[name] = f"has {len(present):,} different texts, none in {fewest} rows or more"
    if name in findings.dropped:
        return None
    findings.kinds[name] = "category"
    if gaps:
        findings.gaps[name] = gaps
    had_numbers = any(is_number(text.words[code]) for code in present)
    return Categories(name, words, len(words) < len(present), gaps > 0, had_numbers)


def _plain(text: Text) -> Text:
    """Text whose words are spelled as `plain_word` does it, each of them once."""
    numbers: dict[str, int] = {}
    codes = [numbers.setdefault(plain_word(word), len(numbers)) for word in text.words]
    return text if tuple(numbers) == text.words else Text(text.mapped(codes, -1, np.int32), tuple(numbers))


def _spoiled(name: str, text: Text) -> list[str]:
    """What keeps a column of text from being one of numbers or dates, if but a few rows do."""
    readers: list[Callable[[str], float]] = [_read_no_code, read_decimal_comma]
    if any("," in word for word in text.words) and _reads_all(read_decimal_comma, text.words):
        return [f"{name!r} is text: a comma is a decimal point only in files that semicolons divide"]
    sample = next(filter(_TWO_NUMBERS.search, text.words), None)
    if sample is not None:
        readers += [read for read in map(word_reader, DATE_FORMATS) if _reads(read, sample)]
    counts = np.bincount(text.codes[text.codes >= 0], minlength=len(text.words))
    for read in readers:
        bad = np.array([not _reads(read, word) for word in text.words], bool)
        rows = int(counts[bad].sum())
        if rows and counts[~bad].sum() >= _MOST * counts.sum():
            first = text.words[int(np.argmax(bad))]
            others = " and the like" if bad.sum() > 1 else ""
            return [f"{name!r} is text because of {first!r}{others} in {rows:,} row{'s' if rows > 1 else ''}"]
    return []


def _read_no_code(word: str) -> float:
    if CODE.fullmatch(word):
        raise ValueError
    return read_number(word)


def _ambiguous(name: str, form: str, text: Text) -> list[str]:
    """How dates were read, if the day could stand where the month was taken to be."""
    other = form.replace("%m/%d", "%d/%m").replace("%m-%d", "%d-%m") if form.startswith("%m") else form
    read, read_other = word_reader(form), word_reader(other)
    if not _reads_all(read_other, text.words) or all(read(word) == read_other(word) for word in text.words):
        return []
    example = describe_format(form).removeprefix("a date like ")
    return [
        f"{name!r} is read with the month first, like {example}, but could have the day first: write 2024-12-31 to be sure"
    ]


def find_format(words: Sequence[str]) -> str | None:
    """How to read words as truth values, numbers or dates, if all can be read so.

    Where months and days could be taken for each other, the month is taken to come first.

    Examples
    --------
    >>> find_format(["yes", "No"]), find_format(["31/12/2024", "01/02/2024"]), find_format(["red", "green"])
    ('boolean', '%d/%m/%Y', None)
    """
    # Of a single truth value it isn't known what its opposite is.
    if {BOOLEANS.get(word.lower()) for word in words} == {0.0, 1.0}:
        return "boolean"
    if _reads_all(read_number, words) and not any(map(CODE.fullmatch, words)):
        return "number"
    if not all(map(_TWO_NUMBERS.search, words)):
        return None
    return next((form for form in DATE_FORMATS if _reads_all(word_reader(form), words)), None)


def _reads(read: Callable[[str], float], word: str) -> bool:
    return _reads_all(read, [word])


def _reads_all(read: Callable[[str], float], words: Sequence[str]) -> bool:
    try:
        for word in words:
            read(word)
    except ValueError:
        return False
    return True


def _learn_numbers(
    table: Table, forms: Mapping[str, str], rows: np.ndarray, keep_all: bool, findings: Findings
) -> Numbers:
    """Learn the scale of columns, given how each is read; `keep_all` keeps those that are the same in every row."""
    names = tuple(forms)
    formats = {name: form for name, form in forms.items() if table.is_text(name)}
    read = number_reader(table, names, formats)
    size = max(1, _BLOCK_CELLS // max(1, len(names)))
    blocks = (read(rows[start : start + size]) for start in range(0, len(rows), size))
    count, mean, deviation = count_mean_deviation(blocks, len(names))
    for name, spread in zip(names, deviation, strict=True):
        if not np.isfinite(spread):
            raise _too_large(table, name, rows)
    # The standard deviation of equal numbers needn't come out as zero, so it is compared with their size; and what varies by
    # next to nothing would make numbers of an ordinary size too large.
    negligible = np.maximum(10 * np.finfo(np.float64).eps * np.abs(mean), np.finfo(np.float32).tiny)
    varies = deviation > negligible
    had_gaps = (count > 0) & (count < len(rows))
    kept = varies | had_gaps | keep_all
    for k in np.flatnonzero(~kept):
        findings.dropped[names[k]] = f"is {mean[k]:g} in every row" if count[k] else "is empty"
        if names[k] in formats and count[k]:
            text = table.text(names[k])
            findings.dropped[names[k]] = f"is {text.words[text.codes[rows[0]]]!r} in every row"
    used = tuple(name for name, use in zip(names, kept, strict=True) if use)
    findings.gaps |= {names[k]: int(len(rows) - count[k]) for k in np.flatnonzero(kept & (count < len(rows)))}
    findings.kinds |= {name: _KINDS.get(forms[name], "date") for name in used}
    findings.formats |= {name: forms[name] for name in used if findings.kinds[name] == "date"}
    used_formats = {name: form for name, form in formats.items() if name in findings.kinds}
    return Numbers(used, used_formats, mean[kept], _scale(table, deviation, varies)[kept], had_gaps[kept])


def _scale(table: Table, deviation: np.ndarray, varies: np.ndarray) -> np.ndarray:
    """What to divide each column by.

    Bytes are pixels, which have one unit: a scale of its own would blow up those that are nearly always dark. What is the
    same in every row tells nothing, whatever it is in others: it becomes 0.
    """
    if table.numbers.dtype == np.uint8 and varies.any():
        return np.full(len(deviation), np.sqrt(np.mean(deviation**2)))
    return np.where(varies, deviation, np.inf)


def findings_of(encoding: Encoding) -> Findings:
    """What an encoding that was learnt before tells of its columns."""
    formats = encoding.numbers.formats
    forms = {name: formats.get(name, "number") for name in encoding.numbers.names}
    kinds = {name: _KINDS.get(form, "date") for name, form in forms.items()}
    return Findings(kinds=kinds | {column.name: "category" for column in encoding.categories})


_KINDS = {"number": "number", "boolean": "truth value"}


def _too_large(table: Table, name: str, rows: np.ndarray) -> InputError:
    """What to raise for a column whose standard deviation can't be computed."""
    values = table.number(name).astype(np.float64)[rows]
    row = int(np.nanargmax(np.abs(values)))
    return table.error(
        name, int(rows[row]), f"{values[row]:g} is too large to be standardised: correct it, or leave it empty"
    )


def count_mean_deviation(blocks: Iterator[np.ndarray], columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How many numbers the columns have, their mean and their standard deviation, from blocks of rows; NaN is left out.

    Two blocks are put together as in Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances", 1979.
    """
    count, mean, squares = np.zeros(columns), np.zeros(columns), np.zeros(columns)
    with np.errstate(over="ignore", invalid="ignore"):
        for block in blocks:
            there = ~np.isnan(block)
            own_count = there.sum(axis=0)
            own_mean = np.where(there, block, 0).sum(axis=0) / np.maximum(own_count, 1)
            own_squares = (np.where(there, block - own_mean, 0) ** 2).sum(axis=0)
            total = np.maximum(count + own_count, 1)
            shift = own_mean - mean
            mean = mean + shift * own_count / total
            squares = squares + own_squares + shift**2 * count * own_count / total
            count = count + own_count
        return count, mean, np.sqrt(squares / np.maximum(count, 1))
