"""Rows on their way into panels and out of them: every kind of number, every stride, within guards."""

import numpy as np
import pytest
from numba import njit

from nnaccel.kernels import host
from nnaccel.kernels import rows as kernel
from nnaccel.kernels.job import ROW_KINDS, SOURCE
from nnaccel.kernels.memory import int32_pointer, pointer, records_of
from tests.test_kernel_gemm import SIZES, Guarded

every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
every_kind = pytest.mark.parametrize("kind", ROW_KINDS)

_source = records_of(SOURCE)


@njit
def _gather(source, numbers, rows, target, next_panel, panel, example):
    kernel.gather(_source(source, 0), int32_pointer(numbers), rows, pointer(target, example), next_panel, panel)


@njit
def _scatter(source, next_panel, rows, columns, target, panel, example):
    kernel.scatter(pointer(source, example), next_panel, rows, columns, pointer(target, example), panel)


@njit
def _ask_for(source, numbers, first, last):
    kernel.ask_for(_source(source, 0), int32_pointer(numbers), first, last)


def record(x):
    """The record SOURCE of an array as it lies."""
    source = np.zeros(1, SOURCE)
    source["address"], source["kind"], source["columns"] = x.ctypes.data, ROW_KINDS.index(x.dtype.name), x.shape[1]
    source["row_bytes"], source["stride"] = x.strides[0], x.strides[1] // x.itemsize
    source["contiguous"] = x.strides[1] == x.itemsize
    source["ahead_bytes"] = x.shape[1] * x.itemsize
    return source


def numbers_of(kind, *shape):
    """Numbers of a kind, its ends among them; NaN and infinity as well, where it has them."""
    dtype, random = np.dtype(kind), np.random.default_rng(0)
    if dtype.kind == "f":
        x = random.normal(size=shape).astype(dtype)
        ends = [np.nan, np.inf, -np.inf, -0.0, 1e-30]
    else:
        info = np.iinfo(dtype)
        x = random.integers(info.min, info.max, shape, dtype, endpoint=True)
        ends = [info.min, info.max, info.max // 2, 0, 1]
    x.flat[: len(ends)] = ends[: x.size]
    return x


def assert_gathers(x, order, dtype):
    """Only the panels' rows are written, and their columns are the numbers that NumPy converts them to."""
    panel, columns, rows = host.panel(dtype), x.shape[1], len(order)
    capacity = rows + 3
    panels = Guarded(np.full((-(-columns // panel), capacity, panel), np.pi, dtype))
    numbers, source = np.array(order, np.int32), record(x)
    before = x.tobytes()
    _gather(
        source.ctypes.data, numbers.ctypes.data, rows, panels.address, capacity * panel, panel, np.dtype(dtype).type(0)
    )
    assert x.tobytes() == before
    inside = np.zeros(panels.array.shape, bool)
    inside[:, :rows] = True
    panels.assert_unchanged(inside)
    got = panels.array.transpose(1, 0, 2).reshape(capacity, -1)[:rows, :columns]
    np.testing.assert_array_equal(got, x[order].astype(dtype))


@every_dtype
@every_kind
def test_gather_converts_every_kind(kind, dtype):
    for columns in (1, 5, 33):
        assert_gathers(numbers_of(kind, 9, columns), [4, 0, 8, 8, 1], dtype)


@every_dtype
@pytest.mark.parametrize("columns", SIZES)
def test_gather_takes_any_number_of_columns(columns, dtype):
    assert_gathers(numbers_of("float32", 9, columns), [3, 8, 0], dtype)


@every_dtype
@pytest.mark.parametrize("rows", SIZES)
def test_gather_takes_any_number_of_rows_in_any_order(rows, dtype):
    order = np.random.default_rng(0).integers(0, 50, rows)
    assert_gathers(numbers_of("float64", 50, 19).astype("float32"), order, dtype)


@every_dtype
@pytest.mark.parametrize("kind", ["float32", "float64", "uint8", "int64"])
@pytest.mark.parametrize("form", ["fortran", "columns", "reversed columns", "reversed rows", "one row", "far apart"])
def test_gather_takes_any_strides(form, kind, dtype):
    x = numbers_of(kind, 18, 66)
    x = {
        "fortran": np.asfortranarray(x),
        "columns": x[:, 1::2],
        "reversed columns": x[:, ::-1],
        "reversed rows": x[::-1],
        "one row": np.broadcast_to(x[3], (18, 66)),
        "far apart": x[::3, ::5],
    }[form]
    assert_gathers(x, [5, 0, 2, 5, 4, 1], dtype)


@pytest.mark.parametrize("kind", ["float32", "int64"])
def test_asking_for_rows_changes_nothing(kind):
    x, order = numbers_of(kind, 18, 66), np.array([17, 0, 3], np.int32)
    before, source = x.tobytes(), record(x)
    for first, last in ((0, 3), (1, 2), (0, 0)):
        _ask_for(source.ctypes.data, order.ctypes.data, first, last)
    assert x.tobytes() == before


@every_dtype
@pytest.mark.parametrize("kind", ["uint8", "int64"])
def test_gather_of_rows_further_away_than_32_bits_count(kind, dtype):
    x = np.zeros((18, (1 << 27) // np.dtype(kind).itemsize), kind)  # nearly all of its pages are never touched
    x[-1, :7] = np.arange(7)
    assert (len(x) - 1) * x.strides[0] > np.iinfo(np.int32).max
    panel, order = host.panel(dtype), np.array([len(x) - 1, 0], np.int32)
    target, source = np.zeros((2, panel), dtype), record(x[:, :7])
    _gather(source.ctypes.data, order.ctypes.data, 2, target.ctypes.data, target.size, panel, target.dtype.type(0))
    np.testing.assert_array_equal(target[:, :7], x[order, :7])


@every_dtype
@pytest.mark.parametrize(("rows", "columns"), [*((n, 33) for n in SIZES), *((5, n) for n in SIZES), (1, 1), (129, 100)])
def test_scatter(rows, columns, dtype):
    panel, capacity = host.panel(dtype), rows + 3
    padded = np.full((capacity, -(-columns // panel) * panel), np.nan, dtype)
    x = padded[:rows, :columns] = np.random.default_rng(0).normal(size=(rows, columns)).astype(dtype)
    source = Guarded(np.ascontiguousarray(padded.reshape(capacity, -1, panel).transpose(1, 0, 2)))
    target = Guarded(np.full((rows, columns), np.nan, dtype))
    _scatter(source.address, capacity * panel, rows, columns, target.address, panel, np.dtype(dtype).type(0))
    source.assert_unchanged()
    target.assert_unchanged(np.s_[:])
    np.testing.assert_array_equal(target.array, x)
