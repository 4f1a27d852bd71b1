"""The activations of kernels against their formulas in float64."""

import numpy as np
import pytest
from numba import njit

from nnaccel.activations import ACTIVATIONS, as_activation
from nnaccel.kernels import activation as kernel
from nnaccel.kernels.memory import pointer
from tests.tolerance import assert_within, tolerance

ROUNDINGS = 4
"""How many roundings follow each other, beside those of the functions that `tests/test_kernel_mathematics.py` looks at."""

TEXTS = [*ACTIVATIONS, "leaky_relu,slope=0.25", "elu,alpha=1.7"]

activations = pytest.mark.parametrize("activation", [as_activation(text) for text in TEXTS], ids=TEXTS)
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


@njit
def value(kind, parameter, z):
    return kernel.value(kind, parameter, z)


@njit
def derivative(kind, parameter, saved):
    return kernel.derivative(kind, parameter, saved)


@njit
def activate(kind, parameter, z, y, n, example):
    kernel.activate(kind, parameter, pointer(z, example), pointer(y, example), n)


@njit
def chain(kind, parameter, saved, delta, n, example):
    kernel.chain(kind, parameter, pointer(saved, example), pointer(delta, example), n)


def identified(activation):
    """The activation's kind and parameter."""
    parameter = getattr(activation, "slope", getattr(activation, "alpha", 0.0))
    return kernel.ACTIVATIONS.index(activation.name), parameter


def call(loop, activation, source, target):
    loop(*identified(activation), source.ctypes.data, target.ctypes.data, source.size, source.dtype.type(0))


def inputs(dtype, count=1000):
    """Numbers of all sizes that sums of a layer have, 0 among them, the first of them small."""
    random = np.random.default_rng(0)
    return np.concatenate([[0, -0.0], random.normal(size=count) * np.geomspace(0.01, 30, count)]).astype(dtype)


def saved_by(activation, z):
    """What the derivative at z is taken from, and the derivative in float64."""
    saved = z if activation.saves == "input" else activation.value(z.astype(np.float64), np).astype(z.dtype)
    return saved, activation.derivative(saved.astype(np.float64), np)


def value_tolerance(activation, z, dtype):
    """Rounding the result and the input, and for gelu taking 1 from tanh, which the reference does."""
    saved = z if activation.saves == "input" else activation.value(z, np)
    magnitude = np.abs(activation.value(z, np)) + np.abs(z * activation.derivative(saved, np))
    if activation.name == "gelu":
        magnitude += np.abs(z)
    return tolerance(magnitude, ROUNDINGS, dtype)


def derivative_tolerance(activation, saved, dtype):
    """No term is larger than 1, what was saved, and the constants of the activation; but gelu's factor of 1 - tanh**2 is."""
    largest = max(1, *np.abs(activation.derivative(np.array([-1.0, 0.0, 1.0]), np)))
    magnitude = largest + np.abs(saved)
    if activation.name == "gelu":
        magnitude += np.abs(saved) * (1 + 3 * activation.CUBIC * saved**2)
    return tolerance(magnitude, ROUNDINGS, dtype)


def guarded(x, guard=16):
    """A copy of x in the middle of a larger array, and a function that checks that around it nothing was written."""
    whole = np.full(x.size + 2 * guard, np.pi, x.dtype)
    inside = whole[guard : guard + x.size]
    inside[:] = x

    def check():
        np.testing.assert_array_equal(whole[:guard], x.dtype.type(np.pi))
        np.testing.assert_array_equal(whole[guard + x.size :], x.dtype.type(np.pi))

    return inside, check


def test_names_are_those_of_the_descriptions():
    names = kernel.ACTIVATIONS
    assert names == tuple(ACTIVATIONS)
    assert [getattr(kernel, name.upper()) for name in names] == list(range(len(names)))


@activations
@dtypes
def test_values_equal_the_formula(activation, dtype):
    z = inputs(dtype)
    exact = z.astype(np.float64)
    y, check = guarded(np.zeros_like(z))
    call(activate, activation, z, y)
    assert_within(y, activation.value(exact, np), value_tolerance(activation, exact, dtype))
    check()


@activations
@dtypes
def test_derivatives_equal_the_formula(activation, dtype):
    saved, expected = saved_by(activation, inputs(dtype))
    delta = np.random.default_rng(1).normal(size=saved.size).astype(dtype)
    got, check = guarded(delta)
    call(chain, activation, saved, got)
    bound = derivative_tolerance(activation, saved.astype(np.float64), dtype) * np.abs(delta)
    assert_within(got, delta.astype(np.float64) * expected, bound)
    check()


@activations
@dtypes
def test_single_numbers_equal_the_formula(activation, dtype):
    z = inputs(dtype, 20)
    exact = z.astype(np.float64)
    values = [value(*identified(activation), number) for number in z]
    assert_within(values, activation.value(exact, np), value_tolerance(activation, exact, dtype))
    saved, expected = saved_by(activation, z)
    derivatives = [derivative(*identified(activation), number) for number in saved]
    assert_within(derivatives, expected, derivative_tolerance(activation, saved.astype(np.float64), dtype))


@activations
@dtypes
def test_any_length_in_place_or_not(activation, dtype):
    """No length changes a bit of what stands within it, and nothing is written beyond it."""
    z = inputs(dtype, 100)
    whole, slopes = np.empty_like(z), np.ones_like(z)
    call(activate, activation, z, whole)
    saved, _ = saved_by(activation, z)
    call(chain, activation, saved, slopes)
    for n in [*range(36), 63, 64, 65, 99]:
        for in_place in (False, True):
            inside, check = guarded(z[:n] if in_place else np.zeros_like(z[:n]))
            call(activate, activation, inside if in_place else z[:n], inside)
            np.testing.assert_array_equal(inside, whole[:n])
            check()
        inside, check = guarded(np.ones_like(z[:n]))
        call(chain, activation, saved[:n], inside)
        np.testing.assert_array_equal(inside, slopes[:n])
        check()


@activations
@dtypes
def test_nan_and_infinity_come_through(activation, dtype):
    z = np.array([np.nan, np.inf, -np.inf] * 20, dtype)
    y = np.zeros_like(z)
    call(activate, activation, z, y)
    with np.errstate(invalid="ignore"):
        expected = activation.value(z.astype(np.float64), np)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(y[~finite], expected[~finite])
    assert_within(y[finite], expected[finite], tolerance(np.abs(expected[finite]), ROUNDINGS, dtype))


@activations
@dtypes
def test_nan_from_above_comes_through_where_the_unit_is_on(activation, dtype):
    delta = np.full(50, np.nan, dtype)
    call(chain, activation, np.ones_like(delta), delta)
    assert np.isnan(delta).all()


@dtypes
def test_relu_that_is_off_gives_zero_whatever_comes_from_above(dtype):
    delta = np.array([np.nan, np.inf, -np.inf, 1.0] * 10, dtype)
    call(chain, as_activation("relu"), np.zeros_like(delta), delta)
    np.testing.assert_array_equal(delta, 0)


@dtypes
def test_large_inputs_have_finite_derivatives(dtype):
    z = np.array([-1, 1] * 20, dtype) * np.sqrt(np.finfo(dtype).max) * 10  # their squares are no numbers
    for name in ("gelu", "silu"):
        slopes = np.ones_like(z)
        call(chain, as_activation(name), z, slopes)
        np.testing.assert_array_equal(slopes, z > 0)
