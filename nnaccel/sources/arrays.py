"""Arrays: NumPy's own files, the IDX files of MNIST, and arrays in memory."""

import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nnaccel.errors import InputError, check
from nnaccel.files import first_sentence, opened, reading
from nnaccel.sources import ALL_ROWS, FileOptions, Source, clip_rows, part_rows
from nnaccel.table import Column, Table, Text, row_place

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


class ArraySource(Source):
    """A matrix of numbers and, perhaps, targets.

    Parameters
    ----------
    name : str
    x : array (n, ...)
        Rows of any shape; a row is flattened.
    y : array (n,) or (n, outputs), optional
        Numbers or text.
    """

    keeps_columns: ClassVar[bool] = True
    named = False

    def __init__(self, name: str, x: np.ndarray, y: np.ndarray | None = None, remarks: tuple[str, ...] = ()) -> None:
        self.name, self.remarks = name, remarks
        self._x, self._y = _matrix(name, x), None if y is None else _targets(name, y, len(x))
        outputs = 0 if self._y is None else self._y.shape[1]
        self.targets = ("target",) if outputs == 1 else tuple(f"target {k}" for k in range(outputs))
        self.columns = (*map(str, range(self._x.shape[1])), *self.targets)

    def parts(self, places: Mapping[str, int], text: Collection[str] = (), rows: range = ALL_ROWS) -> Iterator[Table]:
        yield from self._slices(places, rows, part_rows(len(self.columns)))

    def read(self, places: Mapping[str, int], text: Collection[str] = (), rows: range = ALL_ROWS) -> Table:
        table = next(self._slices(places, rows, len(self._x)), None)
        if table is None:
            raise InputError(f"{self.name} has no rows" + ("." if rows == ALL_ROWS else " there: see --rows."))
        return table

    def _slices(self, places: Mapping[str, int], rows: range, size: int) -> Iterator[Table]:
        features = self._x.shape[1]
        numbers = {name: position for name, position in places.items() if position < features}
        positions = list(numbers.values())
        all_in_order = positions == list(range(features))
        chosen = clip_rows(rows, len(self._x))
        for start in range(chosen.start, chosen.stop, max(1, size)):
            part = slice(start, min(start + size, chosen.stop))
            matrix = self._x[part] if all_in_order else self._x[part][:, positions]
            yield Table(self.name, tuple(numbers), matrix, self._targets(places, part), row_place(start))

    def _targets(self, places: Mapping[str, int], part: slice) -> dict[str, Column]:
        if self._y is None:
            return {}
        first = self._x.shape[1]
        return {name: as_column(self._y[part, place - first]) for name, place in places.items() if place >= first}


def read_npy(path: Path, options: FileOptions) -> ArraySource:
    """An NPY file: a matrix, whose target is one of its columns or lies in a file of its own.

    A matrix that isn't compressed stays on the disk until its rows are used.
    """
    array = _load_npy(path)
    check(array.ndim >= 2, f"{path} holds an array of the shape {array.shape}: a table needs rows and columns.")
    if options.target is None:
        return ArraySource(path.name, array)
    return ArraySource(path.name, array, _load_array(Path(options.target)))


def read_npz(path: Path) -> ArraySource:
    """An NPZ file with the arrays X and, perhaps, y."""
    try:
        with reading(path), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            check(
                "X" in arrays.files,
                f"{path} has no array 'X', only {', '.join(arrays.files) or 'none'}: save it with np.savez(file, X=..., y=...).",
            )
            return ArraySource(path.name, arrays["X"], arrays["y"] if "y" in arrays.files else None)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path} can't be read as an NPZ file: {first_sentence(error)}.") from error


def read_idx(path: Path, options: FileOptions) -> ArraySource:
    """An IDX file of images and the file of their labels, which lies beside it where it is named as MNIST names them."""
    images = _load_idx(path)
    if images.ndim < 2:
        raise InputError(
            f"{path} holds one number a row, so it is a file of labels: give it as --target of the images."
        )
    if options.target is not None:
        return ArraySource(path.name, images, _load_array(Path(options.target)))
    labels = path.with_name(path.name.replace("images", "labels").replace(f"idx{images.ndim}", "idx1"))
    if labels == path or not labels.exists():
        return ArraySource(path.name, images)
    return ArraySource(path.name, images, _load_idx(labels), (f"the target is in {labels.name}, which lies beside",))


def _load_array(path: Path) -> np.ndarray:
    with opened(path) as stream:
        head = stream.read(6)
    return _load_npy(path) if head.startswith(b"\x93NUMPY") else _load_idx(path)


def _load_npy(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            compressed = file.read(6) != b"\x93NUMPY"
        if not compressed:
            with reading(path):
                on_disk: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
                return on_disk
        with opened(path) as stream:
            array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
            return array
    except ValueError as error:
        raise InputError(f"{path} can't be read as an NPY file: {first_sentence(error)}.") from error


def _load_idx(path: Path) -> np.ndarray:
    """The array of an IDX file: two zero bytes, the type, the number of dimensions, their sizes, then the values.

    Described with MNIST, https://yann.lecun.com/exdb/mnist.
    """
    with opened(path) as stream:
        head = stream.read(4)
        check(
            len(head) == 4 and head[:2] == b"\0\0" and head[2] in _IDX_TYPES and head[3] > 0,
            f"{path} is neither an IDX nor an NPY file.",
        )
        shape = tuple(np.frombuffer(stream.read(4 * head[3]), ">u4").tolist())
        dtype = np.dtype(_IDX_TYPES[head[2]])
        data = stream.read()
    size = math.prod(shape) * dtype.itemsize
    check(
        len(shape) == head[3] and len(data) == size,
        f"{path} is damaged: it should hold {size:,} bytes of values, but has {len(data):,}.",
    )
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _matrix(name: str, x: np.ndarray) -> np.ndarray:
    check(
        x.dtype.kind in "biuf",
        f"{name}: X holds {x.dtype} values, not real numbers: save text as CSV or Parquet instead.",
    )
    check(x.ndim >= 2, f"{name}: X must have two dimensions, rows and columns, not the shape {x.shape}.")
    check(x.size > 0, f"{name}: X has the shape {x.shape}: it needs at least one row and one column.")
    flat = x.reshape(len(x), -1)
    return flat.view(np.uint8) if x.dtype.kind == "b" else flat


def _targets(name: str, y: np.ndarray, rows: int) -> np.ndarray:
    check(y.size > 0, f"{name}: y has the shape {y.shape}: it holds nothing to learn.")
    check(y.ndim in (1, 2), f"{name}: y must have one dimension, or two for several outputs, not {y.ndim}.")
    check(len(y) == rows, f"{name}: X has {rows} rows and y {len(y)}: they must have equally many.")
    check(y.dtype.kind in "biufSUT", f"{name}: y holds {y.dtype} values, not numbers or text: convert it first.")
    return y.reshape(rows, -1)


def as_column(values: np.ndarray) -> Column:
    """A column of values of any kind: numbers stay numbers, truth values, dates and all else become text."""
    return values if values.dtype.kind in "iuf" else Text.of(_cells(values))


def _cells(values: np.ndarray) -> list[str]:
    """Values as a file of text would have them; what is missing is empty."""
    if values.dtype.kind == "M":
        different, places = np.unique(values, return_inverse=True)
        words = np.datetime_as_string(different, unit="auto")
        return [str(word) for word in words[places]]
    if values.dtype.kind == "S":
        return [value.decode("utf-8", "replace") for value in values.tolist()]
    return ["" if _is_missing(value) else str(value) for value in values.tolist()]


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ in ("NAType", "NaTType") or value != value
