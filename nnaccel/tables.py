"""Data in: bundled sets and files, and whatever Python hands over, as checked NumPy arrays; and how they are encoded."""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np

from nnaccel.errors import InputError, check
from nnaccel.losses import Loss

Task = Literal["classification", "multilabel", "regression"]

BUNDLED = ("digits", "iris", "wine", "breast_cancer", "diabetes")
"""The sets that scikit-learn brings along."""

_MOST_CLASSES = 100


@dataclass(frozen=True)
class Table:
    """A data set as it was read.

    Attributes
    ----------
    name : str
    x : array (n, features)
    y : array (n,) or (n, outputs)
        Class labels of any kind, or numbers.
    task : "classification", "multilabel" or "regression"
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    task: Task


def read_table(source: str, task: str = "auto") -> Table:
    """Read a bundled set, or a file FILE.npz with the arrays X and y.

    Parameters
    ----------
    source : str
        A name in `BUNDLED`, or a path.
    task : "auto", "classification" or "regression"
        What y means. "auto": text, booleans and whole numbers of at most 100 different values are classes, an array (n, k)
        of zeros and ones is k labels a row, and anything else is numbers to predict.

    Raises
    ------
    InputError
        If the source can't be read, or its arrays don't fit together.

    Examples
    --------
    >>> table = read_table("iris")
    >>> table.x.shape, table.task
    ((150, 4), 'classification')
    """
    path = Path(source)
    if source in BUNDLED:
        x, y = _read_bundled(source)
    elif path.suffix == ".npz":
        x, y = _read_npz(path)
    else:
        raise InputError(
            f"there is no data set {source!r}; give one of {', '.join(BUNDLED)}, or a FILE.npz with arrays X and y."
        )
    x = as_features(x)
    check(y.size > 0, f"{source}: y has the shape {y.shape}: it holds nothing to learn.")
    check(y.ndim in (1, 2), f"{source}: y must have one dimension, or two for several outputs, not {y.ndim}.")
    check(len(x) == len(y), f"{source}: X has {len(x)} rows and y {len(y)}: they must have equally many.")
    chosen = _task_of(y) if task == "auto" else _checked_task(task, y)
    if chosen == "regression":
        y = _finite(_as_numbers(y, "the target"), "the target")
    else:
        check(
            len(np.unique(y)) >= 2,
            f"{source}: every row has the same target, {y.flat[0]}: there is nothing to learn.",
        )
    return Table(path.stem, x, y, chosen)


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
    array = _as_numbers(data, "X")
    check(
        array.ndim >= 2,
        f"X must have two dimensions, rows and features, not {array.ndim}: reshape it, say with X.reshape(-1, 1).",
    )
    check(array.size > 0, f"X has the shape {array.shape}: it needs at least one row and one feature.")
    return _finite(array, "X", dtype)


def as_targets(data: Any, loss: Loss, rows: int, outputs: int) -> np.ndarray:
    """Targets as the loss takes them: int32 (n,) labels or float (n, outputs) numbers.

    Raises
    ------
    InputError
        If they don't fit the loss, the rows or the outputs.
    """
    array = _as_numbers(data, "y")
    check(len(array) == rows if array.ndim else False, f"X has {rows} rows but y has the shape {array.shape}.")
    if loss.targets == "labels":
        return _as_labels(array, loss, outputs)
    array = array.reshape(rows, -1) if array.ndim == 1 else array
    check(
        array.ndim == 2 and array.shape[1] == outputs,
        f"y has the shape {array.shape} but the network has {outputs} outputs: make the last layer as wide as y.",
    )
    array = _finite(array, "y")
    low, high = loss.domain
    check(
        low <= array.min() and array.max() <= high,
        f"{loss.name} needs targets from {low:g} to {high:g}, but y goes from {array.min():g} to {array.max():g}.",
    )
    return array


def as_weights(data: Any, rows: int) -> np.ndarray | None:
    """Weights of rows, float64 (n,), or None.

    Raises
    ------
    InputError
        If one is negative, or all are zero.
    """
    if data is None:
        return None
    array = _finite(_as_numbers(data, "sample_weight").astype(np.float64), "sample_weight")
    check(array.shape == (rows,), f"sample_weight must have the shape ({rows},), one for each row, not {array.shape}.")
    check(array.min() >= 0, f"sample_weight must not be negative, but row {int(np.argmin(array))} has {array.min():g}.")
    check(array.max() > 0, "every sample_weight is zero: there is nothing to learn from.")
    return array


def default_loss(y: Any, outputs: int) -> str:
    """The loss that suits targets where the user names none.

    Whole numbers are class labels if the network has several outputs; zeros and ones alone, one for each output, are
    labels that may go together; anything else is numbers.
    """
    array = _as_numbers(y, "y")
    if array.dtype.kind not in "biu":
        return "mean_squared_error"
    if array.ndim == 1 and outputs > 1:
        return "softmax_cross_entropy"
    return "binary_cross_entropy" if np.isin(array, (0, 1)).all() else "mean_squared_error"


@dataclass(frozen=True)
class Encoding:
    """How rows become what a network takes and how its predictions are read, learnt from training rows alone.

    Attributes
    ----------
    task : "classification", "multilabel" or "regression"
    mean, scale : float64 array (features,)
        A feature x enters as (x - mean) / scale.
    classes : array (classes,), optional
        In classification, the label of each class number.
    target_mean, target_scale : float64 array (outputs,), optional
        In regression, the target enters as (y - mean) / scale.
    """

    task: Task
    mean: np.ndarray
    scale: np.ndarray
    classes: np.ndarray | None = None
    target_mean: np.ndarray | None = None
    target_scale: np.ndarray | None = None

    @staticmethod
    def learn(x: np.ndarray, y: np.ndarray, task: Task, scale_targets: bool = True) -> "Encoding":
        """The encoding that standardises features and, if wanted, numeric targets, and numbers the classes.

        A column that is the same in every row is only centred. Counts stay as they are for a loss such as Poisson's.
        """
        mean, scale = _mean_and_scale(x)
        if task == "classification":
            return Encoding(task, mean, scale, classes=np.unique(y))
        if task == "multilabel" or not scale_targets:
            return Encoding(task, mean, scale)
        target_mean, target_scale = _mean_and_scale(y.reshape(len(y), -1))
        return Encoding(task, mean, scale, None, target_mean, target_scale)

    @property
    def loss(self) -> str:
        """The usual loss of the task."""
        return {
            "classification": "softmax_cross_entropy",
            "multilabel": "binary_cross_entropy",
            "regression": "mean_squared_error",
        }[self.task]

    def features(self, x: np.ndarray, dtype: str) -> np.ndarray:
        """Encode features, (n, features), in the dtype of the network."""
        check(
            x.shape[1:] == self.mean.shape,
            f"the rows have {x.shape[1]} features, but the model was trained on {len(self.mean)}.",
        )
        encoded: np.ndarray = ((x - self.mean) / self.scale).astype(dtype)
        return encoded

    def targets(self, y: np.ndarray) -> np.ndarray:
        """Encode targets, (n,) or (n, outputs)."""
        if self.classes is not None:
            numbers = np.searchsorted(self.classes, y).clip(max=len(self.classes) - 1).astype(np.int32)
            unseen = self.classes[numbers] != y
            if unseen.any():
                raise InputError(f"class {y[unseen][0]} has no training row: hold out fewer rows.")
            return numbers
        if self.target_mean is None or self.target_scale is None:
            return y
        scaled: np.ndarray = (y.reshape(len(y), -1) - self.target_mean) / self.target_scale
        return scaled

    def numbers(self, predictions: np.ndarray) -> np.ndarray:
        """Undo the scaling of predicted targets, (n, outputs); probabilities stay as they are."""
        if self.target_mean is None or self.target_scale is None:
            return predictions
        unscaled: np.ndarray = predictions * self.target_scale + self.target_mean
        return unscaled


def _mean_and_scale(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    if not np.isfinite(scale).all():
        raise InputError(
            f"the numbers of column {int(np.argmin(np.isfinite(scale)))} are too large to be standardised: scale them first."
        )
    # The standard deviation of equal numbers needn't come out as zero, so it is compared with their size.
    constant = scale <= 10 * np.finfo(np.float64).eps * np.abs(mean)
    return mean, np.where(constant, 1.0, scale)


def _read_bundled(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Read scikit-learn's own CSV files: importing scikit-learn takes longer than most trainings on them."""
    package = importlib.util.find_spec("sklearn")
    check(
        package is not None,
        f"the set {name!r} comes with scikit-learn, which is not installed: pip install scikit-learn.",
    )
    assert package is not None
    folder = Path(str(package.origin)).parent / "datasets" / "data"
    if name == "diabetes":
        return np.loadtxt(folder / "diabetes_data_raw.csv.gz"), np.loadtxt(folder / "diabetes_target.csv.gz")
    file, header_lines = {
        "digits": ("digits.csv.gz", 0),
        "iris": ("iris.csv", 1),
        "wine": ("wine_data.csv", 1),
        "breast_cancer": ("breast_cancer.csv", 1),
    }[name]
    data = np.loadtxt(folder / file, delimiter=",", skiprows=header_lines)
    return data[:, :-1], data[:, -1].astype(np.int64)


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if not path.exists():
        raise InputError(f"there is no file {path}.")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            for name in ("X", "y"):
                check(
                    name in arrays.files,
                    f"{path} has no array {name!r}, only {', '.join(arrays.files) or 'none'}: save it with np.savez(file, X=..., y=...).",
                )
            return arrays["X"], arrays["y"]
    except InputError:
        raise
    except (OSError, BadZipFile, ValueError, EOFError) as error:
        raise InputError(f"{path} can't be read as an NPZ file: {_first_sentence(error)}.") from error


def _first_sentence(error: Exception) -> str:
    return str(error).strip().split("\n")[0].split(". ")[0].rstrip(".")


def _task_of(y: np.ndarray) -> Task:
    if y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind in "biu" and np.isin(y, (0, 1)).all():
        return "multilabel"
    is_classes = y.ndim == 1 and (
        y.dtype.kind in "bSU" or (y.dtype.kind in "iu" and len(np.unique(y)) <= _MOST_CLASSES)
    )
    return "classification" if is_classes else "regression"


def _checked_task(task: str, y: np.ndarray) -> Task:
    if task == "classification":
        check(y.ndim == 1, f"y must have one dimension for classification, not the shape {y.shape}.")
        return "classification"
    check(task == "regression", f"unknown task {task!r}; known: auto, classification, regression.")
    return "regression"


def _as_numbers(data: Any, name: str) -> np.ndarray:
    """Real numbers as a NumPy array, whatever they came in."""
    if isinstance(data, np.ndarray):
        array = data
    elif hasattr(data, "to_numpy"):
        _check_columns(data, name)
        array = data.to_numpy()
    elif hasattr(data, "__dlpack__"):
        array = _from_dlpack(data, name)
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


def _from_dlpack(data: Any, name: str) -> np.ndarray:
    try:
        return np.from_dlpack(data, device="cpu")
    except (BufferError, RuntimeError, TypeError) as error:
        raise InputError(
            f"{name} can't be taken over as a host array ({_first_sentence(error)}): copy it to the host first."
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
        raise InputError(
            f"{name} has the value {array[place]:g} in {where}, too large for {dtype}: scale it, or take dtype float64."
        )
    raise InputError(f"{name} has the value {array[place]} in {where}: remove or replace NaN and infinite values.")
