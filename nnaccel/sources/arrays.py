"""Arrays: NumPy's own files, the IDX files of MNIST, and arrays in memory."""

import io
import math
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any, ClassVar, Literal

import numpy as np

from nnaccel.errors import InputError, check
from nnaccel.files import first_sentence, member, opened, read_rest, shown_name, zipped
from nnaccel.sources import ALL_ROWS, FileOptions, Source, clip_rows, part_rows
from nnaccel.table import Column, Table, Text, row_place

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_NPY_HEADERS: dict[tuple[int, int], Callable[[IO[bytes]], Any]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_DAMAGED_HEADER = (ValueError, SyntaxError, TokenError, TypeError, RecursionError, MemoryError)
"""What reading the header of an NPY file raises: it is a piece of Python."""

_MOST_DIMENSIONS = 64
"""More than this NumPy doesn't take."""


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
        yield from self._slices(places, text, rows, part_rows(len(self.columns)))

    def read(self, places: Mapping[str, int], text: Collection[str] = (), rows: range = ALL_ROWS) -> Table:
        table = next(self._slices(places, text, rows, len(self._x)), None)
        if table is None:
            raise InputError(f"{self.name} has no rows" + ("." if rows == ALL_ROWS else " there: see --rows."))
        return table

    def _slices(self, places: Mapping[str, int], text: Collection[str], rows: range, size: int) -> Iterator[Table]:
        features = self._x.shape[1]
        numbers = {name: position for name, position in places.items() if position < features and name not in text}
        positions = list(numbers.values())
        all_in_order = positions == list(range(features))
        chosen = clip_rows(rows, len(self._x))
        for start in range(chosen.start, chosen.stop, max(1, size)):
            part = slice(start, min(start + size, chosen.stop))
            matrix = self._x[part] if all_in_order else self._x[part][:, positions]
            others = {
                name: self._column(place, part, name in text) for name, place in places.items() if name not in numbers
            }
            yield Table(self.name, tuple(numbers), matrix, others, row_place(start))

    def _column(self, place: int, part: slice, text: bool) -> Column:
        """A column of the matrix or, behind it, of the targets."""
        features = self._x.shape[1]
        if place < features:
            return as_column(self._x[part, place], text)
        assert self._y is not None, "without targets there are no columns behind the matrix"
        return as_column(self._y[part, place - features], text)


def read_npy(path: Path, options: FileOptions) -> ArraySource:
    """An NPY file: a matrix, whose target is one of its columns or lies in a file of its own.

    A matrix that isn't compressed stays on the disk until its rows are used.
    """
    array = _load_npy(path)
    check(array.ndim >= 2, f"{path} holds an array of the shape {array.shape}: a table needs rows and columns.")
    if options.target is None:
        return ArraySource(shown_name(path), array)
    return ArraySource(shown_name(path), array, _load_array(Path(options.target)))


def read_npz(path: Path, options: FileOptions) -> ArraySource:
    """An NPZ file with the arrays X and, perhaps, y, unless the targets lie in a file of their own."""
    with zipped(path) as archive:
        names = archive.namelist()
        found = ", ".join(name.removesuffix(".npy") for name in names)
        check("X.npy" in names, f"{path} has no array 'X', only {found}: save it with np.savez(file, X=..., y=...).")
        arrays = {}
        for name in {"X.npy", "y.npy"}.intersection(names):
            with member(path, archive, name) as stream:
                arrays[name] = _read_npy(path, stream)
    targets = arrays.get("y.npy") if options.target is None else _load_array(Path(options.target))
    return ArraySource(shown_name(path), arrays["X.npy"], targets)


def read_idx(path: Path, options: FileOptions) -> ArraySource:
    """An IDX file of images and the file of their labels, which lies beside it where it is named as MNIST names them."""
    images = _load_idx(path)
    if images.ndim < 2:
        raise InputError(
            f"{path} holds one number a row, so it is a file of labels: give it as --target of the images."
        )
    if options.target is not None:
        return ArraySource(shown_name(path), images, _load_array(Path(options.target)))
    labels = path.with_name(path.name.replace("images", "labels").replace(f"idx{images.ndim}", "idx1"))
    if labels == path or not labels.exists():
        return ArraySource(shown_name(path), images)
    return ArraySource(
        shown_name(path), images, _load_idx(labels), (f"the target is in {labels.name}, which lies beside",)
    )


def is_idx(head: bytes) -> bool:
    """Whether a file that begins so is an IDX file."""
    return len(head) >= 4 and head[:2] == b"\0\0" and head[2] in _IDX_TYPES and 0 < head[3] <= _MOST_DIMENSIONS


def _load_array(path: Path) -> np.ndarray:
    with opened(path) as stream:
        head = stream.read(6)
    return _load_npy(path) if head.startswith(b"\x93NUMPY") else _load_idx(path)


def _load_npy(path: Path) -> np.ndarray:
    with opened(path) as stream:
        return _read_npy(path, stream)


def _read_npy(path: Path, stream: IO[bytes]) -> np.ndarray:
    """The array of an NPY file; it stays on the disk if the stream reads a file as it lies there."""
    shape, by_columns, dtype = _npy_header(path, stream)
    check(dtype.subdtype is None, f"{path} is damaged: its values are said to be arrays themselves.")
    check(not dtype.hasobject, f"{path} holds Python objects, not numbers or text: convert the array before saving it.")
    size = math.prod(shape) * dtype.itemsize
    order: Literal["F", "C"] = "F" if by_columns else "C"
    check(len(shape) <= _MOST_DIMENSIONS, f"{path} holds an array of {len(shape)} dimensions: a table needs two.")
    # To NumPy's check of headers, but to nothing else, a truth value is a dimension.
    check(
        all(type(length) is int for length in shape),
        f"{path} is damaged: it holds an array of the shape {shape}.",
    )
    check(min(shape, default=0) >= 0 and size > 0, f"{path} holds an array of the shape {shape}, which has no values.")
    on_disk = isinstance(stream, io.BufferedReader)
    begin = stream.tell() if on_disk else 0
    # What a header claims is believed only when there are as many bytes: memory is not asked for before that.
    data = bytearray() if on_disk else read_rest(stream)
    length = path.stat().st_size - begin if on_disk else len(data)
    check(length >= size, f"{path} is damaged: it should hold {size:,} bytes of values, but has {length:,}.")
    if on_disk:
        return np.memmap(path, dtype, "r", begin, shape, order)
    return np.frombuffer(data, dtype, math.prod(shape)).reshape(shape, order=order)


def _npy_header(path: Path, stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """The shape, whether columns lie in one piece, and the dtype."""
    try:
        version = np.lib.format.read_magic(stream)
        if version not in _NPY_HEADERS:
            raise ValueError(f"its version is {version}")
        # NumPy warns of headers that Python 2 wrote, and reads them.
        with warnings.catch_warnings(action="ignore"):
            header: tuple[tuple[int, ...], bool, np.dtype[Any]] = _NPY_HEADERS[version](stream)
            return header
    except _DAMAGED_HEADER as error:
        reason = first_sentence(error)[:200] if isinstance(error, ValueError) else "its header is damaged"
        raise InputError(f"{path} can't be read as an NPY file: {reason}.") from error


def _load_idx(path: Path) -> np.ndarray:
    """The array of an IDX file: two zero bytes, the type, the number of dimensions, their sizes, then the values.

    Described with MNIST, https://yann.lecun.com/exdb/mnist.
    """
    with opened(path) as stream:
        head = stream.read(4)
        check(is_idx(head), f"{path} is neither an IDX nor an NPY file.")
        sizes, data = stream.read(4 * head[3]), read_rest(stream)
    check(len(sizes) == 4 * head[3], f"{path} is damaged: it ends before its values.")
    shape, dtype = tuple(np.frombuffer(sizes, ">u4").tolist()), np.dtype(_IDX_TYPES[head[2]])
    size = math.prod(shape) * dtype.itemsize
    check(len(data) == size, f"{path} is damaged: it should hold {size:,} bytes of values, but has {len(data):,}.")
    check(size > 0, f"{path} holds an array of the shape {shape}, which has no values.")
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
    if y.dtype.kind == "U" and y.dtype.itemsize:
        points = np.ascontiguousarray(y).reshape(-1).view(np.dtype(np.uint32).newbyteorder(y.dtype.byteorder))
        check(int(points.max()) <= sys.maxunicode, f"{name} is damaged: y holds text that isn't Unicode.")
    return y.reshape(rows, -1)


def as_column(values: np.ndarray, text: bool = False) -> Column:
    """A column of values of any kind: numbers stay numbers, unless wanted as text; all else becomes text."""
    return values if values.dtype.kind in "iuf" and not text else Text.of(_cells(values))


def _cells(values: np.ndarray) -> list[str]:
    """Values as a file of text would have them."""
    if values.dtype.kind == "M":
        different, places = np.unique(values, return_inverse=True)
        words = np.datetime_as_string(different, unit="auto")
        return [str(word) for word in words[places]]
    if values.dtype.kind == "S":
        return [value.decode("utf-8", "replace") for value in values.tolist()]
    return ["" if _is_missing(value) else str(value) for value in values.tolist()]


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ in ("NAType", "NaTType") or value != value
