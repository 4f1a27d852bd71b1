"""The functions of kernels that need exp and log, against NumPy in the next wider type, over all their ranges."""

import platform
import re

import numpy as np
import pytest
from numba import njit, types

from nnaccel.kernels import host, mathematics
from nnaccel.kernels.memory import JIT, pointer, wide_vectors

WIDER = {"float32": np.float64, "float64": np.longdouble}
POINTS = {"float32": 1_000_000, "float64": 100_000}

EVERYWHERE = (-np.inf, np.inf)
REFERENCES = {
    "exp": (np.exp, EVERYWHERE),
    "expm1": (np.expm1, (-np.inf, 0)),
    "log": (np.log, (0, np.inf)),
    "log1p": (np.log1p, (0, 1)),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), EVERYWHERE),
    "tanh": (np.tanh, EVERYWHERE),
    "softplus": (lambda x: np.logaddexp(x, 0), EVERYWHERE),
}
"""What each function is, and where it is promised to be that."""

LIMITS = {
    "exp": {-np.inf: 0, np.inf: np.inf, 0: 1},
    "expm1": {-np.inf: -1, 0: 0},
    "log": {0: -np.inf, np.inf: np.inf, 1: 0},
    "log1p": {0: 0},
    "sigmoid": {-np.inf: 0, np.inf: 1, 0: 0.5},
    "tanh": {-np.inf: -1, np.inf: 1, 0: 0},
    "softplus": {-np.inf: 0, np.inf: np.inf},
}

functions = pytest.mark.parametrize("name", REFERENCES)
dtypes = pytest.mark.parametrize("dtype", WIDER)


def make_loop(name):
    function = getattr(mathematics, name)

    @njit(**JIT)
    def loop(x, y, n):
        wide_vectors()
        for i in range(n):
            y[i] = function(x[i])

    @njit
    def call(x, y, n, example):
        loop(pointer(x, example), pointer(y, example), n)

    return loop, call


LOOPS = {name: make_loop(name) for name in REFERENCES}


def apply(name, x):
    y = np.empty_like(x)
    LOOPS[name][1](x.ctypes.data, y.ctypes.data, x.size, x.dtype.type(0))
    return y


def points(dtype, low, high):
    """Numbers between low and high: evenly spaced, on three scales; as many between any two powers of two; at the edges."""
    count, limits, integer = POINTS[dtype], np.finfo(dtype), f"i{np.dtype(dtype).itemsize}"
    beyond = 1.05 * np.log(limits.max)  # all functions here have reached their limits there
    even = [np.linspace(-scale, scale, count) for scale in (2, 20, beyond)]
    magnitudes = np.arange(count) * (int(np.array(limits.max).view(integer)) // count)
    edges = np.log(np.array([limits.max, 1 / limits.tiny])).view(integer)[:, None] + np.arange(-8, 9)
    bits = np.concatenate([magnitudes, edges.ravel()]).astype(integer).view(dtype)
    x = np.concatenate([*(e.astype(dtype) for e in even), bits, -bits])
    return x[(x >= low) & (x <= high) & ((np.abs(x) >= limits.tiny) | (x == 0))]


def ulps(got, reference):
    """How far apart the two are, in units of the last place of the reference in the type of `got`.

    Numbers below the smallest normal one may be taken for 0, and what is above the largest must be inf.
    """
    limits = np.finfo(got.dtype)
    with np.errstate(over="ignore"):
        rounded = reference.astype(got.dtype)
    tiny, huge = np.abs(reference) < limits.tiny, np.isinf(rounded)
    assert np.all(np.abs(got[tiny]) <= limits.tiny)
    np.testing.assert_array_equal(got[huge], rounded[huge])
    normal = ~tiny & ~huge
    return np.abs(got[normal] - reference[normal]) / np.spacing(np.abs(rounded[normal]))


@functions
@dtypes
def test_results_are_within_the_bound(name, dtype):
    wider = WIDER[dtype]
    if np.finfo(wider).nmant <= np.finfo(dtype).nmant:
        pytest.skip("no wider type to compare with")
    fused = "+fma" in host.processor().features or platform.machine().lower() in ("aarch64", "arm64")
    if name == "softplus" and not fused:
        pytest.skip("a little more than the bound without a multiply-add")
    function, (low, high) = REFERENCES[name]
    x = points(dtype, low, high)
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        reference = function(x.astype(wider))
    assert ulps(apply(name, x), reference).max() <= mathematics.ULPS


@functions
@dtypes
def test_limits(name, dtype):
    x, limits = np.array(list(LIMITS[name].items()), dtype).T
    np.testing.assert_array_equal(apply(name, np.ascontiguousarray(x)), limits)


@functions
@dtypes
def test_nan_stays_nan_whatever_its_bits(name, dtype):
    integer = f"u{np.dtype(dtype).itemsize}"
    bits = np.array([np.nan, -np.nan, np.inf, -np.inf], dtype).view(integer)
    bits[2:] += 1  # signalling
    payloads = np.arange(2**10, dtype=integer)
    x = (bits[:, None] | payloads).ravel().view(dtype)
    assert np.isnan(apply(name, x)).all()


@dtypes
def test_log_of_a_negative_number_is_nan(dtype):
    x = -np.array([np.inf, 1, np.finfo(dtype).tiny], dtype)
    assert np.isnan(apply("log", x)).all()


@dtypes
def test_tanh_is_odd_to_the_last_bit(dtype):
    x = np.concatenate([[0.0], np.random.default_rng(0).normal(size=1000)]).astype(dtype)
    np.testing.assert_array_equal(apply("tanh", -x).view("i1"), (-apply("tanh", x)).view("i1"))


@functions
@dtypes
def test_loops_are_vectorised_and_call_no_library(name, dtype):
    element = getattr(types, dtype)
    signature = (types.CPointer(element), types.CPointer(element), types.int64)
    loop, _ = LOOPS[name]
    loop.compile(signature)
    code = loop.inspect_llvm(signature)
    vector = rf"<(vscale x \d+|{host.lanes(dtype)}) x {'float' if dtype == 'float32' else 'double'}>"
    assert re.search(vector, code)
    assert dtype != "float32" or "double" not in code
    declared = set(re.findall(r"^declare .*?@([\w.]+)", code, re.MULTILINE))
    assert all(function.startswith("llvm.") for function in declared)
    become_calls = {"fma", "exp", "exp2", "log", "log2", "pow", "tanh", "ldexp", "frexp", "memcpy", "memmove"}
    assert become_calls.isdisjoint(function.split(".")[1] for function in declared)
