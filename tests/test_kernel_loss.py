"""The losses' kernels against their formulas in float64: groups of rows in panels; within guards."""

from typing import NamedTuple

import numpy as np
import pytest
from numba import njit

from nnaccel.fused import loss_fields
from nnaccel.kernels import host
from nnaccel.kernels import loss as kernel
from nnaccel.kernels.job import JOB, scratch_size
from nnaccel.kernels.memory import int32_pointer, pointer, records_of
from nnaccel.losses import as_loss
from tests.problems import targets_for
from tests.test_kernel_gemm import Guarded, in_panels, width_for
from tests.test_reference import LOSS_TEXTS
from tests.tolerance import assert_within, tolerance

COUNTS = (1, 2, 3, 10, 31, 33, 100)
ROUNDINGS = 8
"""The longest chain in a formula, with what exp and log are off."""
DATA = 50
"""So many rows the caller has."""

every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
every_loss = pytest.mark.parametrize("text", LOSS_TEXTS)

_job = records_of(JOB)


@njit
def _losses_and_deltas(job, outputs, deltas, numbers, rows, count, scale, row_losses, room, example):
    kernel.losses_and_deltas(
        _job(job, 0), pointer(outputs, example), pointer(deltas, example), int32_pointer(numbers), rows, count, scale,
        pointer(row_losses, 1.0), pointer(room, example),
    )  # fmt: skip


class Case(NamedTuple):
    """Outputs of rows, and the caller's data by the numbers of those rows."""

    outputs: np.ndarray
    numbers: np.ndarray
    targets: np.ndarray
    weights: np.ndarray | None


def make_case(loss, rows, count, dtype, weighted=True):
    random = np.random.default_rng(rows + 1000 * count)
    numbers = random.integers(0, DATA, rows).astype(np.int32)
    outputs = random.normal(0, 2, (rows, count)).astype(dtype)
    targets = targets_for(loss, DATA, count, random)
    if loss.targets == "values":
        targets = targets.astype(dtype)
        outputs.flat[0] = targets[numbers[0], 0]  # an error of 0
    return Case(outputs, numbers, targets, random.uniform(0, 2, DATA).astype(dtype) if weighted else None)


def make_job(loss, case, capacity, count):
    job = np.zeros(1, JOB)
    job["capacity"], job["targets"] = capacity, case.targets.ctypes.data
    # Clipped at the epsilon of float64, as in the formula that the kernels are compared with.
    for name, value in loss_fields(loss, "float64").items():
        job[name] = value
    job["weights"] = 0 if case.weights is None else case.weights.ctypes.data
    job["scratch_size"] = scratch_size(host.panel(case.outputs.dtype.name), count)
    return job


def by_panels(loss, case, scale=1.0):
    """The weighted losses of all rows and their gradients, from the kernel for groups."""
    (rows, count), dtype = case.outputs.shape, case.outputs.dtype
    capacity, panel = rows + 3, host.panel(dtype.name)
    job = make_job(loss, case, capacity, count)
    outputs = Guarded(in_panels(case.outputs, capacity))
    deltas = Guarded(np.full_like(outputs.array, np.pi))
    losses, room = Guarded(np.full(rows, np.pi)), Guarded(np.full(job["scratch_size"][0], np.nan, dtype))
    addresses = outputs.address, deltas.address, case.numbers.ctypes.data
    _losses_and_deltas(job.ctypes.data, *addresses, rows, count, scale, losses.address, room.address, dtype.type(0))
    outputs.assert_unchanged()
    deltas.assert_unchanged(np.s_[:, :rows])
    losses.assert_unchanged(np.s_[:])
    room.assert_unchanged(np.s_[:])
    in_rows = deltas.array.transpose(1, 0, 2).reshape(capacity, -1)[:rows]
    last = (count - 1) // panel * panel
    padding = in_rows[:, count : last + width_for(count - last, dtype)]
    assert not padding[np.isfinite(case.outputs).all(axis=1)].any()
    return losses.array, in_rows[:, :count]


def exactly(loss, case):
    """The losses and gradients in float64, without weights."""
    targets = case.targets[case.numbers]
    targets = targets if loss.targets == "labels" else targets.astype(np.float64)
    return loss.value_and_gradient(case.outputs.astype(np.float64), targets, np)


def magnitudes(loss, case):
    """How large what the formulas add up is: for the loss of each row, and for each element of the gradient."""
    o, count = np.abs(case.outputs.astype(np.float64)), case.outputs.shape[1]
    if loss.name == "softmax_cross_entropy":
        distance = o + o.max(axis=1, keepdims=True)
        return (1 + np.log(count) + 2 * distance.max(axis=1)), 1 + distance
    y = np.abs(case.targets[case.numbers].astype(np.float64))
    size = o + y
    if loss.name == "poisson":
        rate = np.exp(case.outputs.astype(np.float64))
        return (rate + y * (1 + np.log(np.maximum(y, 1)) + o)).sum(axis=1), rate + y
    value, slope = {
        "sum_of_squares": (size**2, 2 * size),
        "mean_squared_error": (size**2 / count, 2 * size / count),
        "half_squared_error": (size**2, size),
        "mean_absolute_error": (size / count, 1 / count + 0 * size),
        "huber": (2 * size * np.minimum(size, getattr(loss, "delta", 1)) / count, size / count),
        "binary_cross_entropy": (1 + size * (1 + y) + _steepness(loss, case), 1 + y),
    }[loss.name]
    return value.sum(axis=1), slope


def _steepness(loss, case):
    """How much the rounding of a probability p counts where the formula takes log(1 - p)."""
    if not getattr(loss, "clip", False):
        return 0.0
    o, y = case.outputs.astype(np.float64), case.targets[case.numbers]
    return np.where(y > 0, 0.0, 1 + np.exp(np.minimum(o, -np.log(np.finfo(np.float64).eps))))


def assert_equals_formula(loss, case, got, weights=1.0, scale=1.0):
    """`weights` are those of the rows; gradients are multiplied by `scale` as well."""
    dtype, terms = case.outputs.dtype, ROUNDINGS + case.outputs.shape[1]
    values, gradient = exactly(loss, case)
    value_size, gradient_size = magnitudes(loss, case)
    assert_within(got[0], weights * values, tolerance(weights * value_size, terms, dtype))
    factor = np.broadcast_to(weights * scale, len(values))[:, None]
    assert_within(got[1], factor * gradient, tolerance(np.abs(factor) * gradient_size, ROUNDINGS, dtype))


def sensible(loss, count):
    return count > 1 or loss.targets == "values"


@every_dtype
@every_loss
@pytest.mark.parametrize("weighted", [True, False], ids=["weights", "no weights"])
def test_rows_in_panels(text, dtype, weighted):
    loss = as_loss(text)
    sizes = [*((17, count) for count in COUNTS), *((rows, 3) for rows in COUNTS), (33, 31), (100, 100)]
    for rows, count in sizes:
        if sensible(loss, count):
            case = make_case(loss, rows, count, dtype, weighted)
            weights = case.weights[case.numbers].astype(np.float64) if weighted else 1.0
            assert_equals_formula(loss, case, by_panels(loss, case, 0.3), weights, 0.3)


@every_dtype
@every_loss
def test_a_row_has_the_same_bits_in_every_group(text, dtype):
    """The threads' shares of a batch begin anywhere."""
    loss = as_loss(text)
    case = make_case(loss, 40, 10, dtype)
    losses, deltas = by_panels(loss, case)
    for first, last in ((0, 1), (1, 18), (3, 40), (39, 40)):
        part = case._replace(outputs=case.outputs[first:last], numbers=case.numbers[first:last].copy())
        got = by_panels(loss, part)
        np.testing.assert_array_equal(got[0], losses[first:last])
        np.testing.assert_array_equal(got[1], deltas[first:last])


@every_dtype
@every_loss
def test_large_outputs_neither_overflow_nor_vanish(text, dtype):
    loss = as_loss(text)
    case = make_case(loss, 20, 3, dtype)
    case.outputs[...] *= 40 if loss.name != "poisson" else 10
    assert_equals_formula(loss, case, by_panels(loss, case), case.weights[case.numbers].astype(np.float64))


@every_dtype
@every_loss
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_output_that_is_no_number_shows_in_its_row_alone(text, bad, place, dtype):
    loss = as_loss(text)
    case = make_case(loss, 20, 3, dtype, weighted=False)
    case.outputs[7, place] = bad
    with np.errstate(all="ignore"):
        want = exactly(loss, case)
    if (
        text.startswith("softmax_cross_entropy")
        and not loss.label_smoothing
        and bad == -np.inf
        and case.targets[case.numbers[7]] != place
    ):
        # The formula takes 0 times infinity; a class without any probability should cost the others nothing.
        want = exactly(loss, case._replace(outputs=np.maximum(case.outputs, -1000)))
    others = np.arange(20) != 7
    for mine, reference in zip(by_panels(loss, case), want, strict=True):
        assert np.isfinite(mine[others]).all()
        np.testing.assert_array_equal(np.isnan(mine), np.isnan(reference))
        np.testing.assert_array_equal(np.sign(mine[np.isinf(reference)]), np.sign(reference[np.isinf(reference)]))
        np.testing.assert_array_equal(np.isinf(mine), np.isinf(reference))


@every_dtype
@every_loss
def test_a_row_of_weight_zero_has_no_gradient(text, dtype):
    loss = as_loss(text)
    case = make_case(loss, 20, 3, dtype)
    case.weights[case.numbers[3]] = 0
    losses, deltas = by_panels(loss, case)
    assert losses[3] == 0
    assert not deltas[3].any()
    assert losses.any()
    assert deltas.any()


@every_dtype
def test_the_gradient_of_no_error_is_zero(dtype):
    for text in ("mean_absolute_error", "huber", "mean_squared_error"):
        loss = as_loss(text)
        case = make_case(loss, 5, 3, dtype)
        case.outputs[...] = case.targets[case.numbers]
        losses, deltas = by_panels(loss, case)
        assert not losses.any()
        assert not deltas.any()
