"""What users hand over, in the forms that scikit-learn's checks take, and rows as they lie where these would copy them."""

import contextlib
import reprlib
import sys
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as narwhals
import numpy as np
import scipy.sparse

from nnaccel.errors import InputError, check
from nnaccel.inputs import from_dlpack
from nnaccel.machine import available_memory
from nnaccel.order import BlockShuffled

if TYPE_CHECKING:
    import pandas

NARROW = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32")
"""What takes less room than float64, which holds each value exactly."""


def taken_rows(data: Any, name: str = "X") -> Any:
    """Features as scikit-learn's checks take them: arrays on the host, sparse matrices, lists, pandas' tables.

    Parameters
    ----------
    data : array, sparse matrix, table, object with `__dlpack__`, or nested list
    name : str
        What messages call it.

    Returns
    -------
    The same, unless it is a table of another library than pandas, or an array of another than NumPy.

    Raises
    ------
    InputError
        If a column holds times, or text that is no number; if an array lies where it can't be read from.

    Examples
    --------
    >>> import pandas
    >>> taken_rows(pandas.DataFrame({"height": [1.5, 1.8], "town": ["Ulm", "Rom"]}))
    Traceback (most recent call last):
    nnaccel.errors.InputError: column 'town' of X holds 'Ulm', which is no number: encode it first, as \
sklearn.preprocessing.OneHotEncoder does, or drop it.
    """
    if isinstance(data, (np.ndarray, list)) or scipy.sparse.issparse(data) or _is_numeric(data):
        return data
    table = _as_table(data)
    if isinstance(table, narwhals.LazyFrame):
        raise InputError(f"{name} is a query, which has no rows yet: collect them first.")
    return _as_pandas(table, name) if isinstance(table, narwhals.DataFrame) else taken(data, name)


def taken(data: Any, name: str) -> Any:
    """Targets, weights or classes as scikit-learn's checks take them: arrays on the host, lists, what pandas has.

    Parameters
    ----------
    data : array, column, table, object with `__dlpack__`, or list
    name : str
        What messages call it.

    Raises
    ------
    InputError
        If a value is missing among text; if an array lies where it can't be read from.
    """
    if isinstance(data, (np.ndarray, list)) or _is_of_pandas(data):
        return data
    if hasattr(data, "to_numpy") or hasattr(data, "__arrow_c_stream__"):
        return _complete(np.asarray(data), name)
    return from_dlpack(data, name) if hasattr(data, "__dlpack__") else data


def taken_set(given: Any, name: str) -> Any:
    """X, y and perhaps the weights of a set of rows, each as `taken`."""
    if not isinstance(given, (tuple, list)) or len(given) not in (2, 3):
        return given
    x, *others = given
    kinds = zip(others, ("y", "sample_weight"), strict=False)
    return [taken_rows(x, f"the X of {name}"), *(taken(part, f"the {kind} of {name}") for part, kind in kinds)]


def stand_in(X: Any) -> np.ndarray | None:
    """Rows to show to scikit-learn's checks in place of narrow numbers, which they would copy, each to eight bytes.

    Parameters
    ----------
    X : object

    Returns
    -------
    array, optional
        Zeros of the same shape, which take no room, if X is an array of narrow numbers that programs read where they lie.
        As these are finite, there is nothing to check but the shape.
    """
    if not isinstance(X, np.ndarray) or isinstance(X, (np.matrix, np.ma.MaskedArray)) or X.ndim != 2:
        return None
    readable = X.dtype.isnative and X.flags.aligned and not any(stride % X.itemsize for stride in X.strides)
    return np.broadcast_to(np.float64(0), X.shape) if X.dtype.name in NARROW and readable else None


def as_floats(X: Any) -> Any:
    """Rows as scikit-learn's checks would have made them, where `stand_in` spared them that."""
    return X.astype(np.float64) if X.dtype.name in NARROW else X


def row_by_row(rows: Any, given: Any) -> Any:
    """Checked rows, each in one place: those of a table lie column by column, where reading one takes three times as long."""
    return np.ascontiguousarray(rows) if isinstance(rows, np.ndarray) and _is_of_pandas(given) else rows


def orders_by_blocks(X: Any, rows: np.ndarray, random: np.random.RandomState) -> Iterator[np.ndarray] | None:
    """The order of each epoch for rows that lie in a file and don't fit in memory beside all else.

    Parameters
    ----------
    X : array or sparse matrix
    rows : int array (n,)
        The numbers of those to train on.
    random : RandomState
        A seed is drawn from it if there is need for such orders.

    Returns
    -------
    iterator of int32 array (n,), optional
        None if X lies in memory, or takes no more than half of what is available.
    """
    if not _is_mapped(X) or X.nbytes <= (memory := available_memory()) // 2:
        return None
    order = BlockShuffled.within(memory // 4, X.nbytes // len(X), int(random.randint(np.iinfo(np.int32).max)))
    return (order.epoch(number, rows.astype(np.int32)) for number in count())


def _is_mapped(array: Any) -> bool:
    """Whether an array, or the one that it is a part of, is a file mapped into memory."""
    while array is not None and not isinstance(array, np.memmap):
        array = getattr(array, "base", None)
    return array is not None


def _is_of_pandas(data: Any) -> bool:
    """Whether data is what pandas has, which scikit-learn takes as it is."""
    pandas = sys.modules.get("pandas")
    kinds = (pandas.DataFrame, pandas.Series, pandas.Index, pandas.api.extensions.ExtensionArray) if pandas else ()
    return isinstance(data, kinds)


def _is_numeric(data: Any) -> bool:
    """Whether data is a table of pandas whose columns all say that they hold numbers: asked first, as it takes the least time."""
    return _is_of_pandas(data) and data.ndim == 2 and all(dtype.kind in "biufc" for dtype in data.dtypes)


def _as_table(data: Any) -> Any:
    """A table, also where Arrow's interface alone tells that it is one; all else as it is."""
    table = narwhals.from_native(data, pass_through=True)
    if table is data and hasattr(data, "__arrow_c_stream__") and hasattr(data, "schema"):
        return narwhals.DataFrame.from_arrow(data, backend="pyarrow")
    return table


def _as_pandas(table: Any, name: str) -> "pandas.DataFrame":
    """A table as pandas', which scikit-learn's checks know best: of one dtype, unless it was one of pandas before."""
    for column, dtype in table.schema.items():
        if not (dtype.is_numeric() or dtype == narwhals.Boolean):
            _check_numbers(table[column], f"column {column!r} of {name}")
    if table.implementation.is_pandas():
        return table.to_native()
    import pandas

    return pandas.DataFrame(table.to_numpy() if table.columns else None, columns=table.columns, copy=False)


def _check_numbers(column: Any, name: str) -> None:
    """Raise `InputError` unless values that aren't declared as numbers are so by what they hold."""
    kind = str(column.dtype).partition("(")[0]
    check(
        not column.dtype.is_temporal(),
        f"{name} holds {kind} values: turn them into numbers first, such as the days since one of them, or drop it.",
    )
    values = column.drop_nulls().to_numpy()
    with contextlib.suppress(TypeError, ValueError):
        np.asarray(values, np.float64)
        return
    other = next((value for value in values if not _is_number(value)), None)
    check(
        other is None,
        f"{name} holds {reprlib.repr(str(other))}, which is no number: encode it first, as sklearn.preprocessing.OneHotEncoder does, "
        "or drop it.",
    )


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _complete(values: np.ndarray, name: str) -> np.ndarray:
    """The values, unless one is missing among what isn't numbers; of those scikit-learn says it."""
    if values.dtype.kind == "O":
        row = next((row for row, value in enumerate(values) if value is None), None)
        check(row is None, f"{name} has no value in row {row}: remove that row, or fill it in.")
    return values
