"""The optimizers' kernel against their descriptions in float64, within guards, for every rule and length."""

import math

import numpy as np
import pytest
from numba import njit

from nnaccel.kernels import optimizer as kernel
from nnaccel.kernels.job import RULE
from nnaccel.kernels.memory import pointer
from nnaccel.losses import as_loss
from nnaccel.network import Dense, Network
from nnaccel.optimizers import L2, SGD, AdamW, as_optimizer
from nnaccel.plan import Plan
from nnaccel.reference import GradientSums, update
from tests.tolerance import assert_trajectory_close, assert_within, tolerance

OPTIMIZERS = [
    "sgd,learning_rate=0.1",
    "sgd,learning_rate=0.1,momentum=0.9",
    "sgd,learning_rate=0.1,momentum=0.9,nesterov=true",
    "adam,learning_rate=0.1",
    "adam,learning_rate=0.1,epsilon=0.01,beta_1=0.5,beta_2=0.9",
    "adam,learning_rate=0.1,epsilon=0.01,correction=moments",
    "adamw,learning_rate=0.1,weight_decay=0.3",
    "adamw,learning_rate=0.1,weight_decay=0.3,epsilon=0.01,correction=rate",
]
LENGTHS = (1, 2, 3, 15, 16, 17, 31, 33, 100, 129, 1000)
ROUNDINGS = 12  # the longest chain in a rule
GUARD, GUARDED = 3.0, 64

every_optimizer = pytest.mark.parametrize("text", OPTIMIZERS)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


@njit
def _prepare(rules, learning_rate, momentum, weight_decay, count):
    kernel.prepare(rules[0], learning_rate, momentum, weight_decay, count)


@njit
def _update(rules, decays, l2, factor, p, slot_1, slot_2, gradient, zero, n):
    kernel.update(
        rules[0],
        decays,
        l2,
        factor,
        pointer(p, zero),
        pointer(slot_1, zero),
        pointer(slot_2, zero),
        pointer(gradient, zero),
        n,
    )


@njit
def _sum_of_squares(p, zero, n):
    return kernel.sum_of_squares(pointer(p, zero), n)


class Guarded:
    """A copy of some elements between others that nobody may touch."""

    def __init__(self, elements):
        self.all = np.full(len(elements) + 2 * GUARDED, GUARD, elements.dtype)
        self.elements = self.all[GUARDED:-GUARDED]
        self.elements[:] = elements

    @property
    def address(self):
        return self.elements.ctypes.data

    def assert_untouched(self):
        assert (self.all[:GUARDED] == GUARD).all()
        assert (self.all[-GUARDED:] == GUARD).all()


def make_rule(optimizer):
    rules = np.zeros(1, RULE)
    if isinstance(optimizer, SGD):
        moving = kernel.NESTEROV if optimizer.nesterov else kernel.MOMENTUM
        rules["kind"] = moving if optimizer.momentum else kernel.SGD
    else:
        rules["kind"] = kernel.ADAM_RATE if optimizer.correction == "rate" else kernel.ADAM_MOMENTS
        rules["beta_1"], rules["beta_2"], rules["epsilon"] = optimizer.beta_1, optimizer.beta_2, optimizer.epsilon
        rules["log_beta_1"], rules["log_beta_2"] = math.log(optimizer.beta_1), math.log(optimizer.beta_2)
    return rules


def run_kernel(optimizer, p, slots, gradient, count, l2=0.0, factor=1.0, decays=False):
    """New parameters and slots, in the dtype of `p`; slots that the rule doesn't have are at address 0."""
    rules, step = make_rule(optimizer), optimizer.base_step
    _prepare(rules, step.learning_rate, step.momentum, step.weight_decay, count)
    arrays = [Guarded(array) for array in (p, *slots, gradient)]
    addresses = [array.address for array in arrays]
    slot_addresses = [*addresses[1:-1], 0, 0][:2]
    _update(rules, decays, l2, factor, addresses[0], *slot_addresses, addresses[-1], p.dtype.type(0), len(p))
    for array in arrays:
        array.assert_untouched()
    assert np.array_equal(arrays[-1].elements, gradient, equal_nan=True)
    return [array.elements for array in arrays[:-1]]


def random_block(optimizer, n, dtype, seed=0):
    """Parameters, slots and gradient; second moments are positive."""
    p, gradient, *slots = np.random.default_rng(seed).normal(size=(2 + len(optimizer.slots), n)).astype(dtype)
    if len(slots) == 2:
        slots[1] = 1 + abs(slots[1])
    return p, slots, gradient


@every_dtype
@every_optimizer
@pytest.mark.parametrize("count", [1, 7, 10**12])
@pytest.mark.parametrize(("l2", "factor", "decays"), [(0.0, 1.0, False), (0.2, 0.3, True)])
def test_one_update_equals_the_description(text, dtype, count, l2, factor, decays):
    optimizer = as_optimizer(text)
    decays = decays and isinstance(optimizer, AdamW)
    for n in LENGTHS:
        p, slots, gradient = random_block(optimizer, n, dtype, seed=n)
        got = run_kernel(optimizer, p, slots, gradient, count, l2, factor, decays)
        exact_p, exact_gradient, *exact_slots = (np.float64(array) for array in (p, gradient, *slots))

        mask, step = np.full(n, float(decays)), optimizer.base_step
        want, want_slots = optimizer.update(
            exact_p, exact_slots, factor * exact_gradient + l2 * exact_p, mask, count, step, np
        )
        # The same where all terms have one sign: that is how large the intermediate results are.
        sizes = [-abs(exact_slots[0]), exact_slots[1]] if len(slots) == 2 else [abs(slot) for slot in exact_slots]
        against = -(factor * abs(exact_gradient) + l2 * abs(exact_p))
        size, slot_sizes = optimizer.update(abs(exact_p), sizes, against, mask, count, step, np)
        for new, exact, magnitude in zip(got, (want, *want_slots), (size, *slot_sizes), strict=True):
            assert_within(new, exact, tolerance(abs(magnitude), ROUNDINGS, dtype))


@pytest.mark.parametrize(("l2", "clip"), [(0.0, None), (0.2, None), (0.0, 0.7)])
@every_dtype
@every_optimizer
def test_twenty_steps_equal_the_reference(text, dtype, l2, clip):
    """A layer's weights and biases are updated as the reference does it, from the sums of a batch of five rows."""
    steps, rows = 20, 5
    optimizer, network = as_optimizer(text), Network(3, [Dense(11)])
    plan = Plan(network, as_loss("mean_squared_error"), optimizer, L2(l2), clip, dtype)
    random = np.random.default_rng(0)
    start = random.normal(size=network.size).astype(dtype)
    gradients = rows * random.normal(size=(steps, network.size)).astype(dtype)
    weight_mask = network.weight_mask(dtype)

    def reference(dtype):
        vector, slots = start.astype(dtype), tuple(np.zeros(network.size, dtype) for _ in optimizer.slots)
        for count, gradient in enumerate(gradients.astype(dtype), start=1):
            sums = GradientSums(0.0, float(rows), gradient)
            mask = weight_mask.astype(dtype)
            vector, slots, _ = update(plan, vector, slots, mask, sums, count, optimizer.base_step, np)
        return np.concatenate([vector, *slots])

    state = [start.copy(), *(np.zeros(network.size, dtype) for _ in optimizer.slots)]
    for count, gradient in enumerate(gradients, start=1):
        factor = 1 / rows
        if clip:
            norm = factor * math.sqrt(_sum_of_squares(gradient.ctypes.data, gradient.dtype.type(0), gradient.size))
            factor *= clip / max(norm, clip)
        for weights in (False, True):
            block = weight_mask == weights
            decays = weights and isinstance(optimizer, AdamW)
            parts = [array[block] for array in (*state, gradient)]
            new = run_kernel(optimizer, parts[0], parts[1:-1], parts[-1], count, l2 * weights, factor, decays)
            for array, part in zip(state, new, strict=True):
                array[block] = part
    got, exact = np.concatenate(state), reference("float64")
    if dtype == "float32":
        assert_trajectory_close(got, reference(dtype), exact)
    else:
        assert_within(got, exact, tolerance(np.max(np.abs(exact)), steps * ROUNDINGS, dtype, equal_terms=True))


@every_dtype
@pytest.mark.parametrize("text", [*OPTIMIZERS, "adam,epsilon=1e-44,correction=moments", "adam,epsilon=1e-60"])
def test_padding_stays_zero(text, dtype):
    optimizer, zeros = as_optimizer(text), np.zeros(37, dtype)
    for count in (1, 2, 10**6):
        new = run_kernel(optimizer, zeros, [zeros] * len(optimizer.slots), zeros, count, 0.2, 0.3, True)
        assert not any(array.any() for array in new)


@every_dtype
@every_optimizer
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_no_number_shows(text, dtype, bad):
    optimizer = as_optimizer(text)
    p, slots, gradient = random_block(optimizer, 100, dtype)
    gradient[41] = bad
    for array in run_kernel(optimizer, p, slots, gradient, 3):
        assert np.flatnonzero(~np.isfinite(array)).tolist() == [41]


@every_dtype
def test_sum_of_squares(dtype):
    for n in (0, *LENGTHS):
        block = Guarded(np.random.default_rng(n).normal(size=n).astype(dtype))
        exact = math.fsum(np.float64(block.elements) ** 2)
        got = _sum_of_squares(block.address, block.elements.dtype.type(0), n)
        assert_within(got, exact, tolerance(exact, max(n, 1), "float64", equal_terms=True))


@every_dtype
def test_sum_of_squares_has_the_same_bits_wherever_the_block_lies(dtype):
    elements, room = np.random.default_rng(0).normal(size=333).astype(dtype), np.empty(400, dtype)
    sums = set()
    for offset in range(20):
        room[offset : offset + 333] = elements
        sums.add(_sum_of_squares(room[offset:].ctypes.data, room.dtype.type(0), 333))
    assert len(sums) == 1


def test_squares_of_float32_neither_overflow_nor_vanish():
    for scale in (2.0**120, 2.0**-120):
        block = np.full(100, scale, "float32")
        assert _sum_of_squares(block.ctypes.data, np.float32(0), 100) == 100 * scale**2


def test_sums_of_what_is_no_number_show():
    for bad in (np.nan, np.inf):
        block = np.ones(100, "float32")
        block[41] = bad
        np.testing.assert_equal(_sum_of_squares(block.ctypes.data, np.float32(0), 100), bad)
