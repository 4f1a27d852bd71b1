"""Products over panels against NumPy in float64, within guards, for every height, depth and width of a tile."""

import numpy as np
import pytest
from numba import njit

from nnaccel.kernels import gemm as kernel
from nnaccel.kernels import host
from nnaccel.kernels.memory import pointer
from tests.tolerance import assert_within, product_tolerance, tolerance

SIZES = (1, 2, 15, 16, 17, 31, 33, 100, 129, 1000)
GUARDED = 64
"""Elements of NaN before and behind each buffer: whatever reads them shows, as does whatever writes there."""

every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


@njit
def _product(a, capacity, b, width, c, base, rows, steps, panel, floor):
    kernel.product(
        pointer(a, floor), capacity, pointer(b, floor), width, pointer(c, floor), pointer(base, floor),
        rows, steps, panel, floor,
    )  # fmt: skip


@njit
def _row_products(a, capacity, b, c, base, rows, steps, floor):
    kernel.row_products(pointer(a, floor), capacity, pointer(b, floor), pointer(c, floor), base, rows, steps, floor)


@njit
def _block_product(a, b, width, c, base, base_stride, rows, steps, panel, alpha):
    kernel.block_product(
        pointer(a, alpha), pointer(b, alpha), width, pointer(c, alpha), pointer(base, alpha), base_stride,
        rows, steps, panel, alpha,
    )  # fmt: skip


@njit
def _column_sums(b, width, sums, base, rows, panel, alpha):
    kernel.column_sums(pointer(b, alpha), width, pointer(sums, alpha), pointer(base, alpha), rows, panel, alpha)


@njit
def _transpose(source, source_stride, target, target_stride, rows, columns, panel, example):
    kernel.transpose(
        pointer(source, example), source_stride, pointer(target, example), target_stride, rows, columns, panel
    )


@njit
def _panel_width(columns, panel):
    return kernel.panel_width(columns, panel)


class Guarded:
    """A copy of an array, in one piece, amid elements that nobody may read or write."""

    def __init__(self, array, filler=np.nan):
        self.all = np.full(array.size + 2 * GUARDED, filler, array.dtype)
        self.array = self.all[GUARDED:-GUARDED].reshape(array.shape)
        self.array[...] = array
        self._before = self.all.copy()

    @property
    def address(self):
        return self.array.ctypes.data

    def assert_unchanged(self, but=None):
        """Nothing was written, except at these places of the array."""
        allowed = np.zeros(self.array.shape, bool)
        if but is not None:
            allowed[but] = True
        same = self.all.view(np.uint8) == self._before.view(np.uint8)
        same = same.reshape(len(self.all), -1).all(axis=1)
        assert same[:GUARDED].all()
        assert same[-GUARDED:].all()
        assert (same[GUARDED:-GUARDED].reshape(self.array.shape) | allowed).all()


def in_panels(matrix, capacity):
    """Panels with room for `capacity` rows; beyond rows and columns, where nobody may read, is NaN."""
    rows, columns = matrix.shape
    panel = host.panel(matrix.dtype.name)
    padded = np.full((capacity, -(-columns // panel) * panel), np.nan, matrix.dtype)
    padded[:rows, :columns] = matrix
    return np.ascontiguousarray(padded.reshape(capacity, -1, panel).transpose(1, 0, 2))


def width_for(columns, dtype):
    """The width of a panel of weights in which so many columns are left."""
    return host.lanes(dtype) if columns <= host.lanes(dtype) else host.panel(dtype)


def padded(matrix, width):
    """With columns of zeros up to a width."""
    return np.pad(matrix, ((0, 0), (0, width - matrix.shape[1])))


def normal(*shape, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def triples():
    """Rows, steps and columns: each size in each place, and what lies beyond a round of steps in all their rests."""
    depth = kernel.DEPTH
    return [
        *((n, 33, 17) for n in SIZES),
        *((17, n, 31) for n in SIZES),
        *((31, 15, n) for n in SIZES),
        *((13, n, 9) for n in (depth - 1, depth, depth + 1, 2 * depth + 5)),
        (1, 1, 1),
        (129, 100, 129),
        (100, 1000, 33),
    ]


# --- product ---


@every_dtype
@pytest.mark.parametrize(("rows", "steps", "columns"), triples())
@pytest.mark.parametrize("floor", [-np.inf, 0.0])
def test_product(rows, steps, columns, floor, dtype):
    panel, capacity = host.panel(dtype), rows + 3
    x, w, bias = (normal(*shape, dtype=dtype) for shape in ((rows, steps), (steps, columns), (1, columns)))
    a = Guarded(in_panels(x, capacity))
    for j in range(0, columns, panel):
        width = width_for(columns - j, dtype)
        part, base_part = (padded(array[:, j : j + panel], width) for array in (w, bias))
        b, base = Guarded(part), Guarded(padded(base_part, panel))
        c = Guarded(np.full((capacity, panel), np.nan, dtype))
        _product(
            a.address, capacity, b.address, width, c.address, base.address, rows, steps, panel, x.dtype.type(floor)
        )
        for array in (a, b, base):
            array.assert_unchanged()
        c.assert_unchanged(np.s_[:rows])
        got = c.array[:rows, :width]
        want = np.maximum(base_part.astype(np.float64) + x.astype(np.float64) @ part, floor)
        assert_within(got, want, product_tolerance(x, part, base_part, dtype=dtype))


@every_dtype
@pytest.mark.parametrize("steps", [1, 33, kernel.DEPTH + 1])
def test_nan_and_infinity_go_through_the_floor(steps, dtype):
    rows, columns, panel = 17, 5, host.panel(dtype)
    width = width_for(columns, dtype)
    x, w = normal(rows, steps, dtype=dtype), padded(normal(steps, columns, dtype=dtype), width)
    x[3, -1], x[5, 0], x[7, 0] = np.nan, np.inf, -np.inf
    a, b, base = Guarded(in_panels(x, rows)), Guarded(w), Guarded(np.zeros(panel, dtype))
    c = Guarded(np.zeros((rows, panel), dtype))
    _product(a.address, rows, b.address, width, c.address, base.address, rows, steps, panel, x.dtype.type(0))
    with np.errstate(invalid="ignore"):
        want = np.maximum(x.astype(np.float64) @ w, 0)
    got = c.array[:, :width]
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    assert np.isnan(got[3, :columns]).all()
    np.testing.assert_array_equal(np.isinf(got), np.isinf(want))


@every_dtype
def test_a_row_has_the_same_bits_in_every_tile(dtype):
    """The threads' shares of a batch begin and end anywhere."""
    rows, steps, columns, panel = 45, 100, 9, host.panel(dtype)
    x, w = normal(rows, steps, dtype=dtype), normal(steps, panel, dtype=dtype)
    bias = normal(panel, dtype=dtype)
    for width in (host.lanes(dtype), panel):
        b = np.ascontiguousarray(w[:, :width])
        a, whole = in_panels(x, rows), np.zeros((rows, panel), dtype)
        arguments = b.ctypes.data, width
        base = bias.ctypes.data
        minus_infinity = x.dtype.type(-np.inf)
        _product(a.ctypes.data, rows, *arguments, whole.ctypes.data, base, rows, steps, panel, minus_infinity)
        for first, last in ((0, 1), (1, 3), (2, 9), (44, 45), (7, 20), (3, 44)):
            part = np.zeros((rows, panel), dtype)
            addresses = a[:, first:].ctypes.data, part[first:].ctypes.data
            _product(addresses[0], rows, *arguments, addresses[1], base, last - first, steps, panel, minus_infinity)
            np.testing.assert_array_equal(part[first:last, :columns], whole[first:last, :columns])


@every_dtype
@pytest.mark.parametrize("floor", [-np.inf, 0.0])
@pytest.mark.parametrize(("rows", "steps"), [*((n, 33) for n in SIZES), *((19, n) for n in SIZES), (1, 1), (100, 2055)])
def test_products_of_rows_with_a_single_column(rows, steps, floor, dtype):
    panel, capacity = host.panel(dtype), rows + 3
    x, w, bias = normal(rows, steps, dtype=dtype), normal(steps, dtype=dtype), np.dtype(dtype).type(0.3)
    a, b = Guarded(in_panels(x, capacity)), Guarded(w)
    c = Guarded(np.full((capacity, panel), np.nan, dtype))
    _row_products(a.address, capacity, b.address, c.address, bias, rows, steps, x.dtype.type(floor))
    a.assert_unchanged()
    b.assert_unchanged()
    c.assert_unchanged(np.s_[:rows])
    want = np.maximum(np.float64(bias) + x.astype(np.float64) @ w, floor)
    assert_within(c.array[:rows, 0], want, product_tolerance(x, w, bias, dtype=dtype))


@every_dtype
def test_products_of_rows_have_the_same_bits_in_every_group(dtype):
    rows, steps, panel = 45, 100, host.panel(dtype)
    x, w = normal(rows, steps, dtype=dtype), normal(steps, dtype=dtype)
    a, whole, zero = in_panels(x, rows), np.zeros((rows, panel), dtype), x.dtype.type(0)
    _row_products(a.ctypes.data, rows, w.ctypes.data, whole.ctypes.data, zero, rows, steps, zero)
    for first, last in ((0, 1), (1, 3), (2, 30), (44, 45), (3, 44)):
        part = np.zeros((rows, panel), dtype)
        addresses = a[:, first:].ctypes.data, w.ctypes.data, part[first:].ctypes.data
        _row_products(addresses[0], rows, *addresses[1:], zero, last - first, steps, zero)
        np.testing.assert_array_equal(part[first:last, 0], whole[first:last, 0])


# --- products with a transpose ---


def blocks():
    """Rows of the batch, and columns of either factor in one block."""
    panel, depth = host.panel("float32"), kernel.BATCH_DEPTH
    most = (1, 2, 7, 12, 13, 15, 16, 17, 31, 32)
    return [
        *((steps, 17, 9) for steps in (*SIZES, depth - 1, depth, depth + 1, 2 * depth + 3)),
        *((33, rows, columns) for rows in most for columns in (1, 8, 16, 31) if max(rows, columns) <= panel),
    ]


@every_dtype
@pytest.mark.parametrize(("steps", "rows", "columns"), blocks())
def test_block_product(steps, rows, columns, dtype):
    panel = host.panel(dtype)
    rows, columns = min(rows, panel), min(columns, panel)
    width, alpha = width_for(columns, dtype), np.dtype(dtype).type(-0.3)
    x, delta = normal(steps, rows, dtype=dtype), normal(steps, width, dtype=dtype, seed=1)
    start = normal(rows, width, dtype=dtype, seed=2)
    a = Guarded(in_panels(x, steps + 1)[0])
    b = Guarded(in_panels(delta, steps + 1)[0])
    zeros, other = Guarded(np.zeros(panel, dtype)), Guarded(start)
    own = Guarded(padded(start.T, panel).T)
    new = Guarded(np.full((panel, width), np.nan, dtype))
    factor = np.float64(alpha) * delta
    for base, stride, target, added in (
        (zeros, 0, new, 0 * start),
        (own, width, own, start),
        (other, width, new, start),
    ):
        _block_product(a.address, b.address, width, target.address, base.address, stride, rows, steps, panel, alpha)
        want = added + x.astype(np.float64).T @ factor
        assert_within(target.array[:rows], want, product_tolerance(x.T, factor, added, dtype=dtype))
        for array in {a, b, zeros, other} - {target}:
            array.assert_unchanged()
        target.assert_unchanged(np.s_[:rows])


@every_dtype
@pytest.mark.parametrize("rows", [*SIZES, kernel.BATCH_DEPTH, kernel.BATCH_DEPTH + 1, 2 * kernel.BATCH_DEPTH + 3])
def test_column_sums(rows, dtype):
    panel, alpha = host.panel(dtype), np.dtype(dtype).type(-0.3)
    for width in (host.lanes(dtype), panel):
        delta, start = normal(rows, width, dtype=dtype), normal(width, dtype=dtype, seed=1)
        b, zeros = Guarded(in_panels(delta, rows + 1)[0]), Guarded(np.zeros(width, dtype))
        new, own = Guarded(np.full(panel, np.nan, dtype)), Guarded(np.append(start, np.full(panel, np.nan, dtype)))
        for base, target, added in ((zeros, new, 0 * start), (own, own, start)):
            _column_sums(b.address, width, target.address, base.address, rows, panel, alpha)
            terms = np.float64(alpha) * delta
            bound = tolerance(np.abs(added) + np.abs(terms).sum(axis=0), rows, dtype)
            assert_within(target.array[:width], added + terms.sum(axis=0), bound)
            b.assert_unchanged()
            zeros.assert_unchanged()
            target.assert_unchanged(np.s_[:width])


# --- transpose ---


@every_dtype
def test_transpose_of_every_size_up_to_a_panel(dtype):
    panel, lanes = host.panel(dtype), host.lanes(dtype)
    for rows in range(1, panel + 1):
        written = -(-rows // lanes) * lanes
        for columns in sorted({1, 2, lanes - 1, lanes, lanes + 1, panel - 1, panel, rows}):
            assert_transposes(rows, columns, panel, written, dtype)
            assert_transposes(rows, columns, columns, panel + 1, dtype)


def assert_transposes(rows, columns, source_stride, target_stride, dtype):
    panel, lanes = host.panel(dtype), host.lanes(dtype)
    written = -(-rows // lanes) * lanes
    source = Guarded(padded(normal(rows, columns, dtype=dtype), source_stride))
    target = Guarded(np.full((columns, target_stride), np.nan, dtype))
    example = source.array.dtype.type(0)
    _transpose(source.address, source_stride, target.address, target_stride, rows, columns, panel, example)
    source.assert_unchanged()
    target.assert_unchanged(np.s_[:, :written])
    np.testing.assert_array_equal(target.array[:, :rows], source.array[:, :columns].T)
    assert not target.array[:, rows:written].any()


@every_dtype
def test_the_width_of_a_panel(dtype):
    panel = host.panel(dtype)
    for columns in range(1, 3 * panel):
        assert _panel_width(columns, panel) == width_for(columns, dtype)
