"""What the commands' options may look like, turned into values; and the options that several commands have."""

import dataclasses
import functools
import inspect
import math
import re
import sys
from collections.abc import Callable
from typing import Annotated, Any, TextIO

import typer

from nnaccel.cli.screen import printable, send_nowhere
from nnaccel.errors import InputError

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

DATA_HELP = (
    "A CSV, TSV, Parquet, NPY, NPZ (arrays X and y) or IDX file, compressed or not; or digits, iris, wine, breast_cancer, "
    "diabetes."
)

Header = Annotated[
    bool | None,
    typer.Option("--header/--no-header", help="Whether the first line of a text file holds the columns' names."),
]
Delimiter = Annotated[
    str | None, typer.Option(help="Between the values of a text file: a character, tab or space; found out by default.")
]
TextEncoding = Annotated[str, typer.Option("--encoding", help="Of a text file, such as cp1252.")]
RowRange = Annotated[
    str, typer.Option("--rows", metavar="START:STOP", help="Only these rows, counted from 0, such as :8000 or 8000:.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show nothing but errors and what --json asks for.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object; the rest on stderr.")]
Metrics = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="NAME,...",
        help="What to judge by; early stopping watches the first: accuracy, balanced_accuracy, f1, roc_auc, log_loss; r2, "
        "root_mean_squared_error, mean_absolute_error, median_absolute_error.",
    ),
]


def flat(command: Callable[..., None]) -> Callable[..., None]:
    """The command as Typer wants it: each dataclass among its parameters gives way to parameters for its fields.

    Fields are annotated as parameters are, with `typer.Option`; so commands share options that are written once.

    Examples
    --------
    >>> @dataclasses.dataclass(frozen=True)
    ... class Size:
    ...     rows: int = 1
    ...     columns: int = 2
    >>> @flat
    ... def area(name: str, size: Size, unit: str = "m2") -> None:
    ...     print(name, size.rows * size.columns, unit)
    >>> list(inspect.signature(area).parameters)
    ['name', 'rows', 'columns', 'unit']
    >>> area(name="field", rows=3)
    field 6 m2
    """
    declared = list(inspect.signature(command).parameters.values())
    groups = {parameter.name: parameter.annotation for parameter in declared if _is_group(parameter)}
    parameters = [part for parameter in declared for part in _parts(parameter)]

    @functools.wraps(command)
    def flattened(**given: Any) -> None:
        built = {
            name: group(
                **{field.name: given.pop(field.name) for field in dataclasses.fields(group) if field.name in given}
            )
            for name, group in groups.items()
        }
        command(**built, **given)

    # Typer reads both.
    vars(flattened)["__signature__"] = inspect.Signature(parameters)
    flattened.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return flattened


def _is_group(parameter: inspect.Parameter) -> bool:
    return dataclasses.is_dataclass(parameter.annotation)


def _parts(parameter: inspect.Parameter) -> list[inspect.Parameter]:
    """The parameter itself; or, of a dataclass, one for each field. All by name, as these may be in any order."""
    if not _is_group(parameter):
        return [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
    return [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
        for field in dataclasses.fields(parameter.annotation)
    ]


def widths(text: str) -> list[int]:
    """The widths of hidden layers: "64,64", or "" for none.

    Examples
    --------
    >>> widths("64,32")
    [64, 32]
    """
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise InputError(f"--hidden takes widths such as 64,64, not {text!r}.") from None


def seconds(text: str) -> float:
    """A time: "90", "90s", "10m", "1h30m".

    Examples
    --------
    >>> seconds("1h30m")
    5400.0
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip().lower())
    if not parts or "".join(number + unit for number, unit in parts) != text.strip().lower():
        raise InputError(f"a time is written like 90s, 10m or 1h30m, not {text!r}.")
    return math.fsum(float(number) * _SECONDS[unit or "s"] for number, unit in parts)


def count(option: str, text: str, least: int = 1) -> int:
    """A whole number, as people write large ones: "1e6", "2.5e6", "1_000_000".

    Parameters
    ----------
    option : str
        What it is for, to name it where it is none.
    text : str
    least : int

    Examples
    --------
    >>> count("--rows", "2.5e6"), count("--rows", "1_000")
    (2500000, 1000)
    """
    try:
        number = int(text) if text.strip("_0123456789") == "" else float(text)
    except ValueError:
        number = math.nan
    if not (least <= number < math.inf and number == int(number)):
        raise InputError(f"{option} takes a whole number, {least} or more, such as 1000 or 1e6, not {text!r}.")
    return int(number)


def batch_size(text: str) -> int | None:
    """A number of rows, or "full" for all of them.

    Examples
    --------
    >>> batch_size("200"), batch_size("full")
    (200, None)
    """
    if text == "full":
        return None
    try:
        return int(text)
    except ValueError:
        raise InputError(f"--batch-size takes a number of rows or 'full', not {text!r}.") from None


def row_range(text: str) -> range:
    """Rows from a start up to a stop, either of which may be left out.

    Examples
    --------
    >>> row_range("100:200"), row_range(":8000")
    (range(100, 200), range(0, 8000))
    """
    start, colon, stop = text.partition(":")
    try:
        rows = range(int(start or 0), int(stop or sys.maxsize))
    except ValueError:
        rows = range(0)
    if not colon or rows.start < 0 or not rows:
        raise InputError(f"--rows takes a start and a later stop, such as 0:1000, :1000 or 1000:, not {text!r}.")
    return rows


def fraction_or_file(text: str) -> float | str:
    """A part of the rows, or else the name of a file.

    Examples
    --------
    >>> fraction_or_file("0.2"), fraction_or_file("test.csv")
    (0.2, 'test.csv')
    """
    try:
        return float(text)
    except ValueError:
        return text


def names(text: str | None) -> list[str]:
    """Names between commas.

    Examples
    --------
    >>> names("accuracy, f1")
    ['accuracy', 'f1']
    """
    return [part.strip() for part in (text or "").split(",") if part.strip()]


class Speaker:
    """Prints lines for people: on stdout, or on stderr where stdout is for something else; nothing if quiet.

    Attributes
    ----------
    stream : text file
    """

    def __init__(self, quiet: bool, stream: TextIO) -> None:
        self._quiet, self.stream = quiet, stream

    def __call__(self, line: str = "") -> None:
        if self._quiet:
            return
        try:
            print(printable(line), file=self.stream, flush=True)
        except OSError:
            # Nobody listens any more, as behind `| head` or where a terminal was closed; the work goes on.
            self._quiet = True
            send_nowhere(self.stream)


def speaker(quiet: bool, stdout_taken: bool) -> Speaker:
    """The speaker of a command, whose stdout may be taken by its result."""
    return Speaker(quiet, sys.stderr if stdout_taken else sys.stdout)
