"""Learning an encoding: what each column is, and what the training rows alone tell of it."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from nnaccel.encoding import BOOLEANS, Categories, Encoding, Numbers, number_reader, word_reader
from nnaccel.errors import check
from nnaccel.sources import Source
from nnaccel.table import Table, Text
from nnaccel.targets import Target

MOST_CATEGORIES = 100
"""The most words of a column that have a feature of their own."""

DATE_FORMATS = (
    "iso",
    *(
        day + time
        for day in ("%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%d.%m.%Y", "%d-%m-%Y", "%d %b %Y", "%d-%b-%Y", "%b %d, %Y")
        for time in ("", " %H:%M", " %H:%M:%S")
    ),
    "%Y-%m",
    "%m/%d/%y",
    "%d.%m.%y",
    "%H:%M",
    "%H:%M:%S",
)
"""How dates are written, in the order in which these are tried; see `nnaccel.encoding.Numbers.formats`."""

_BLOCK_CELLS = 1 << 18


@dataclass
class Findings:
    """What was found out about the columns, for the user.

    Attributes
    ----------
    dropped : dict of str to str
        Columns that aren't used, and why.
    gaps : dict of str to int
        How many training rows have none of a column's value.
    kinds : dict of str to str
        What each used column is: "number", "truth value", "date" or "category".
    formats : dict of str to str
        How dates are read.
    """

    dropped: dict[str, str] = field(default_factory=dict)
    gaps: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    formats: dict[str, str] = field(default_factory=dict)


def learn_encoding(
    source: Source, table: Table, rows: np.ndarray, unused: Collection[str], target: Target
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

    Raises
    ------
    InputError
        If no column is left, or numbers are too large.
    """
    findings = Findings()
    names = [name for name in source.columns if name not in unused and name not in target.names]
    formats: dict[str, str] = {}
    categories = []
    for name in names:
        if table.is_text(name):
            form, column = _learn_text(name, table.text(name), rows, findings)
            if form:
                formats[name] = findings.formats[name] = form
                findings.kinds[name] = "truth value" if form == "boolean" else "date"
            if column:
                categories.append(column)
                findings.kinds[name] = "category"
    numeric = tuple(name for name in names if name in formats or not table.is_text(name))
    numbers = _learn_numbers(table, numeric, formats, rows, source.keeps_columns, findings)
    encoding = Encoding(source.columns, source.named, numbers, tuple(categories), target)
    check(
        encoding.width > 0,
        f"{source.name}: no column is left to learn from"
        + "".join(f"; {name!r} {reason}" for name, reason in list(findings.dropped.items())[:5])
        + ".",
    )
    return encoding, findings


def _learn_text(name: str, text: Text, rows: np.ndarray, findings: Findings) -> tuple[str | None, Categories | None]:
    """A column's format, if its words are dates or truth values, or its categories; neither, if it is of no use."""
    counts = np.bincount(text.codes[rows] + 1, minlength=len(text.words) + 1)
    gaps, counts = int(counts[0]), counts[1:]
    present = np.flatnonzero(counts)
    if gaps:
        findings.gaps[name] = gaps
    if not len(present) or (len(present) == 1 and not gaps):
        findings.dropped[name] = "is empty" if gaps else f"is {text.words[present[0]]!r} in every row"
        return None, None
    form = find_format([text.words[code] for code in present])
    if form:
        return form, None
    # A word that few rows have teaches a network those rows by heart.
    fewest = min(10, max(2, len(rows) // 100))
    by_frequency = present[np.argsort(-counts[present], kind="stable")]
    kept = [code for code in by_frequency[:MOST_CATEGORIES] if counts[code] >= fewest]
    if not kept and not gaps:
        findings.dropped[name] = f"has {len(present):,} different texts, none in {fewest} rows or more"
        return None, None
    words = tuple(text.words[code] for code in kept)
    return None, Categories(name, words, has_others=len(kept) < len(present), had_gaps=gaps > 0)


def find_format(words: Sequence[str]) -> str | None:
    """How to read words as truth values or dates, if all can be read so.

    Where months and days could be taken for each other, the month is taken to come first.

    Examples
    --------
    >>> find_format(["yes", "No"]), find_format(["31/12/2024", "01/02/2024"]), find_format(["red", "green"])
    ('boolean', '%d/%m/%Y', None)
    """
    if all(word.lower() in BOOLEANS for word in words):
        return "boolean"
    return next((form for form in DATE_FORMATS if _reads_all(word_reader(form), words)), None)


def _reads_all(read: Callable[[str], float], words: Sequence[str]) -> bool:
    try:
        for word in words:
            read(word)
    except (ValueError, OverflowError):
        return False
    return True


def _learn_numbers(
    table: Table,
    names: tuple[str, ...],
    formats: dict[str, str],
    rows: np.ndarray,
    keep_all: bool,
    findings: Findings,
) -> Numbers:
    read = number_reader(table, names, formats)
    size = max(1, _BLOCK_CELLS // max(1, len(names)))
    blocks = (read(rows[start : start + size]) for start in range(0, len(rows), size))
    count, mean, deviation = count_mean_deviation(blocks, len(names))
    for name, values, spread in zip(names, count, deviation, strict=True):
        check(
            bool(np.isfinite(spread)),
            f"{table.source}: column {name!r} has infinite numbers, or ones too large to be standardised: scale or drop it.",
        )
        if values < len(rows):
            findings.gaps[name] = int(len(rows) - values)
    # The standard deviation of equal numbers needn't come out as zero, so it is compared with their size.
    varies = deviation > 10 * np.finfo(np.float64).eps * np.abs(mean)
    had_gaps = (count > 0) & (count < len(rows))
    kept = varies | had_gaps | keep_all
    for name, values, value in zip(np.array(names)[~kept], count[~kept], mean[~kept], strict=True):
        findings.dropped[str(name)] = f"is {value:g} in every row" if values else "is empty"
    names = tuple(name for name, use in zip(names, kept, strict=True) if use)
    findings.kinds |= {name: "number" for name in names if name not in formats}
    scale = np.where(varies, deviation, 1.0)
    used = {name: form for name, form in formats.items() if name in names}
    return Numbers(names, used, mean[kept], scale[kept], had_gaps[kept])


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
