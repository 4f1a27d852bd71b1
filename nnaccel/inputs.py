"""What Python hands over, as checked NumPy arrays: features, targets and weights of rows."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from nnaccel.errors import InputError, check, counted
from nnaccel.files import first_sentence
from nnaccel.losses import Loss


def as_features(data: Any, dtype: str = "float64") -> np.ndarray:
    """Any matrix of finite numbers as a NumPy array, without a copy where memory allows.

    Parameters
    ----------
    data : array, object with `__dlpack__`, data frame of numbers, or nested list
        (n, features), or rows of any other shape.
    dtype : "float32" or "float64"
        What the rows will be converted to, batch by batch.

    Returns
    -------
    array
        In its own real dtype; booleans become uint8.

    Raises
    ------
    InputError
        If it is no such matrix, or holds NaN or infinite values, or values too large for the dtype.

    Examples
    --------
    >>> as_features([[1, 2], [3, 4]]).shape
    (2, 2)
    """
    array = as_numbers(data, "X")
    check(
        array.ndim >= 2,
        f"X must have two dimensions, rows and features, not {array.ndim}: reshape it, say with X.reshape(-1, 1).",
    )
    check(array.size > 0, f"X has the shape {array.shape}: it needs at least one row and one feature.")
    return _finite(array, "X", dtype)


def as_targets(data: Any, loss: Loss, rows: int, outputs: int, dtype: str = "float64") -> np.ndarray:
    """Targets as the loss takes them: int32 (n,) labels or float (n, outputs) numbers.

    Raises
    ------
    InputError
        If they don't fit the loss, the rows or the outputs, or are too large for the dtype.
    """
    array = as_numbers(data, "y")
    check(len(array) == rows if array.ndim else False, f"X has {rows} rows but y has the shape {array.shape}.")
    if loss.targets == "labels":
        return _as_labels(array, loss, outputs)
    array = array.reshape(rows, -1) if array.ndim == 1 else array
    check(
        array.ndim == 2 and array.shape[1] == outputs,
        f"y has the shape {array.shape} but the network has {outputs} outputs: make the last layer as wide as y.",
    )
    array = _finite(array, "y", dtype)
    low, high = loss.domain
    check(
        low <= array.min() and array.max() <= high,
        f"{loss.name} needs targets from {low:g} to {high:g}, but y goes from {array.min():g} to {array.max():g}.",
    )
    return array


def as_weights(data: Any, rows: int, dtype: str = "float64") -> np.ndarray | None:
    """Weights of rows, float64 (n,), or None.

    Raises
    ------
    InputError
        If one is negative or too large for the dtype, or all are zero in it.
    """
    if data is None:
        return None
    array = _finite(as_numbers(data, "sample_weight"), "sample_weight", dtype).astype(np.float64)
    check(array.shape == (rows,), f"sample_weight must have the shape ({rows},), one for each row, not {array.shape}.")
    check(array.min() >= 0, f"sample_weight must not be negative, but row {int(np.argmin(array))} has {array.min():g}.")
    least = float(np.finfo(dtype).smallest_subnormal)
    check(array.max() >= least, f"every sample_weight is zero in {dtype}: there is nothing to learn from.")
    return array


def default_loss(y: Any, outputs: int) -> str:
    """The loss that suits targets where the user names none.

    Whole numbers are class labels if the network has several outputs; zeros and ones alone, one for each output, are
    labels that may go together; anything else is numbers.
    """
    array = as_numbers(y, "y")
    if array.dtype.kind not in "biu":
        return "mean_squared_error"
    if array.ndim == 1 and outputs > 1:
        return "softmax_cross_entropy"
    return "binary_cross_entropy" if np.isin(array, (0, 1)).all() else "mean_squared_error"


def as_numbers(data: Any, name: str) -> np.ndarray:
    """Real numbers as a NumPy array, whatever they came in; they may be NaN or infinite.

    Raises
    ------
    InputError
        If they are no real numbers; `name` says what they should be.
    """
    if isinstance(data, np.ma.MaskedArray):
        gaps = int(np.sum(data.mask))
        check(not gaps, f"{name} has {counted(gaps, 'masked value')}: fill the gaps first, say with {name}.filled(0).")
        array = data.data
    elif isinstance(data, np.ndarray):
        array = data
    elif hasattr(data, "to_numpy"):
        _check_columns(data, name)
        array = data.to_numpy()
    elif hasattr(data, "__dlpack__"):
        array = from_dlpack(data, name)
    else:
        try:
            array = np.asarray(data)
        except ValueError:
            raise InputError(f"the rows of {name} are not equally long.") from None
    if array.dtype.kind == "O":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            raise InputError(f"{name} holds something else than numbers: encode text as numbers first.") from None
    check(array.dtype.kind in "biuf", f"{name} holds {array.dtype} values, not real numbers: convert it first.")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return array.view(np.uint8) if array.dtype.kind == "b" else array


def from_dlpack(data: Any, name: str) -> np.ndarray:
    """An array of another library as NumPy's: in place where it lies on the host, else copied if that library copies unasked.

    Raises
    ------
    InputError
        If it can't be, as its library doesn't move it to the host or NumPy hasn't its type; `name` says what it should be.
    """
    lacking = next((word for word in ("bfloat16", "float8") if word in str(getattr(data, "dtype", ""))), None)
    check(lacking is None, f"{name} holds {lacking} values, which NumPy doesn't have: convert it to float32 first.")
    # No gradient leads back through a training; PyTorch wants that said.
    source = data.detach() if getattr(data, "requires_grad", False) else data
    try:
        return np.from_dlpack(source, device="cpu")
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"{name} can't be taken over as a host array ({first_sentence(error)}): copy it to the host first."
        ) from error


def _check_columns(frame: Any, name: str) -> None:
    """Name the first column of a data frame that isn't numeric."""
    for column, dtype in _column_types(frame):
        if not any(word in str(dtype).lower() for word in ("int", "float", "bool", "double", "decimal")):
            raise InputError(f"column {column!r} of {name} is of type {dtype}, not a number: encode or drop it first.")


def _column_types(frame: Any) -> Iterator[tuple[Any, Any]]:
    columns, types = getattr(frame, "columns", None), getattr(frame, "dtypes", None)
    return iter(zip(columns, types, strict=False)) if columns is not None and types is not None else iter(())


def _as_labels(array: np.ndarray, loss: Loss, outputs: int) -> np.ndarray:
    check(
        array.ndim == 1, f"{loss.name} takes one class label for each row, so y of the shape (n,), not {array.shape}."
    )
    with np.errstate(invalid="ignore"):  # what has no place in int32 isn't equal to what becomes of it
        labels = array.astype(np.int32)
    check(bool((labels == array).all()), f"{loss.name} takes class labels, the whole numbers from 0 to {outputs - 1}.")
    check(
        labels.min() >= 0 and labels.max() < outputs,
        f"y has the class labels {labels.min()} to {labels.max()}, but the network's {outputs} outputs stand for 0 to {outputs - 1}.",
    )
    return labels


def _finite(array: np.ndarray, name: str, dtype: str = "float64") -> np.ndarray:
    """The array, unless it holds NaN, infinity or what `dtype` can't; the extremes tell without a temporary."""
    limit = np.finfo(dtype).max
    if array.size == 0 or array.dtype.kind != "f" or (-limit <= array.min() and array.max() <= limit):
        return array
    place = tuple(np.argwhere(~(np.abs(array) <= limit))[0])
    where = f"row {place[0]}" + (f", column {place[1]}" if array.ndim > 1 else "")
    if np.isfinite(array[place]):
        wider = ", or take dtype float64" if abs(array[place]) <= np.finfo(np.float64).max else ""
        value = np.format_float_scientific(array[place], precision=5, trim="-")
        raise InputError(f"{name} has the value {value} in {where}, too large for {dtype}: scale it{wider}.")
    raise InputError(f"{name} has the value {array[place]} in {where}: remove or replace NaN and infinite values.")
