"""The dropout kernel multiplies by the masks of the reference, to the last bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from nnaccel.dropout import DropoutSource, threefry2x32
from nnaccel.kernels import dropout as kernel
from nnaccel.kernels.memory import pointer

UNITS = (1, 2, 3, 4, 15, 16, 17, 31, 32, 33, 64, 65, 100, 129, 1000)
GUARD = 3.0

every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


@njit
def threshold(rate, factor):
    return kernel.threshold(rate, factor)


@njit
def encrypt(key_0, key_1, a, b):
    return kernel.threefry2x32(key_0, key_1, a, b)


@njit
def _drop(seed, step, layer, rate, factor, first_row, rows, first_unit, units, values, zero, stride):
    key_0, key_1 = kernel.step_key(seed, step, layer)
    threshold = kernel.threshold(rate, factor)
    kernel.drop(key_0, key_1, threshold, first_row, rows, first_unit, units, pointer(values, zero), stride)


def run_kernel(values, source, layer, rate, units=None, first_unit=0):
    """Drop units of a view of rows, in place; the rest of the array that it views is nobody's to touch."""
    seed = (source.seed + 2**63) % 2**64 - 2**63
    units = values.shape[1] if units is None else units
    _drop(
        seed,
        source.step,
        layer,
        rate,
        source.factor,
        source.first_row,
        len(values),
        first_unit,
        units,
        values[:, first_unit:].ctypes.data,
        values.dtype.type(0),
        values.strides[0] // values.itemsize,
    )


def guarded(values):
    """A copy of the values within a larger array, and that array."""
    room = np.full((len(values) + 4, values.shape[1] + 70), GUARD, values.dtype)
    view = room[2:-2, 35:-35]
    view[:] = values
    return view, room


def assert_same_bits(got, want):
    assert got.dtype == want.dtype
    assert np.ascontiguousarray(got).tobytes() == np.ascontiguousarray(want).tobytes()


def random_values(rows, units, dtype):
    return np.random.default_rng(units).normal(size=(rows, units)).astype(dtype)


@every_dtype
@pytest.mark.parametrize("units", UNITS)
def test_values_are_multiplied_by_the_mask(units, dtype):
    for rows in (1, 2, 7, 19, 40):
        values = random_values(rows, units, dtype)
        source = DropoutSource(2**40 + 3, step=2**33 + 2**17 + 7, first_row=5)
        view, room = guarded(values)
        run_kernel(view, source, 2, 0.3)
        assert_same_bits(view, values * source.mask(2, 0.3, values, np))
        view[:] = GUARD
        assert (room == GUARD).all()


@every_dtype
@pytest.mark.parametrize("seed", [0, 5, -1, 2**63 + 5, 2**80 + 1])
@pytest.mark.parametrize(("rate", "factor"), [(0.5, 1.0), (0.3, 0.0), (0.9, 0.37), (1 - 2**-40, 1.0), (0.6, 1.5)])
def test_every_seed_and_rate(seed, rate, factor, dtype):
    values = random_values(9, 37, dtype)
    source = DropoutSource(seed, 7, factor)
    got = values.copy()
    run_kernel(got, source, 0, rate)
    assert_same_bits(got, values * source.mask(0, rate, values, np))


@every_dtype
@pytest.mark.parametrize("width", [4, 16, 32, 64, 68])
def test_a_layer_in_parts_has_the_mask_of_the_whole(width, dtype):
    values = random_values(13, 150, dtype)
    source = DropoutSource(5, 7)
    got = values.copy()
    for first in range(0, 150, width):
        run_kernel(got, source, 1, 0.4, min(width, 150 - first), first)
    assert_same_bits(got, values * source.mask(1, 0.4, values, np))


def test_a_unit_whose_bits_equal_the_threshold_is_kept():
    bits = threefry2x32(threefry2x32((5, 0), (7, 0)), (0, 0))[0] & 0xFFFF
    for rate, kept in ((bits / 2**16, True), ((bits + 1) / 2**16, False)):
        values = np.ones((1, 1))
        run_kernel(values, DropoutSource(5, 7), 0, rate)
        assert (values != 0).all() == kept


def test_what_is_no_number_shows_though_dropped():
    values = np.full((20, 20), np.nan, "float32")
    run_kernel(values, DropoutSource(5, 7), 0, 0.9)
    assert np.isnan(values).all()


@given(rate=st.floats(0, 1, exclude_max=True), factor=st.floats(0, 1))
def test_thresholds_are_rounded_as_the_reference_does(rate, factor):
    assert threshold(rate, factor) == min(round(rate * factor * 65536), 65535)


def test_ties_go_to_the_even_threshold():
    assert [threshold((k + 0.5) / 65536, 1.0) for k in range(6)] == [0, 2, 2, 4, 4, 6]


WORDS = st.integers(0, 2**32 - 1)


@given(key=st.tuples(WORDS, WORDS), counter=st.tuples(WORDS, WORDS))
def test_the_cipher_is_the_references(key, counter):
    assert encrypt(*np.array((*key, *counter), np.uint32)) == threefry2x32(key, counter)
