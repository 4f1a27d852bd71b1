"""What a call of `train` brings to the device, packed for one copy: row numbers, batches, and the numbers of each step.

All that depends on a step alone is computed here, in float64 and for all steps at once, so that kernels only read it.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nnaccel.dropout import threefry2x32
from nnaccel.gpu.records import MASK_NUMBERS, SLICE, STEP_NUMBERS
from nnaccel.optimizers import Adam, Step
from nnaccel.plan import Plan

ALIGNMENT = 16
"""Bytes; of whatever is packed."""

_SMALLEST = 2.0**-126
"""The smallest normal number of float32: if the floor became 0, padding would be 0 / 0."""

_WORD = 0xFFFFFFFF
_LANE_VALUES = 1 << 16


@dataclass(frozen=True)
class Work:
    """Some steps to be done.

    Attributes
    ----------
    order : int array
        Row numbers, from the first batch on.
    bounds : int array (s + 1,)
        Where each batch begins, from 0 on.
    steps : float64 array (s, 4)
        The numbers of each `Step`.
    counts : int array (s,)
        How many updates come before each.
    seed : int
    """

    order: np.ndarray
    bounds: np.ndarray
    steps: np.ndarray
    counts: np.ndarray
    seed: int


class Packed(NamedTuple):
    """Bytes to copy to the device, and where among them the log of so many steps will be."""

    data: np.ndarray
    log: int
    steps: int


def dropping_layers(plan: Plan) -> list[int]:
    """The numbers of the layers that drop."""
    return [number for number, layer in enumerate(plan.network.layers) if layer.dropout]


def pack(plan: Plan, work: Work, log: np.ndarray | None = None) -> Packed:
    """Pack some steps.

    Parameters
    ----------
    log : float64 array (s, 3), optional
        What the log says already: then the first step waits for its update.
    """
    header = np.zeros(1, SLICE)
    finished = log is not None
    log = np.zeros((len(work.steps), 3)) if log is None else log
    parts = {
        "numbers": step_numbers(plan, work.steps, work.counts),
        "masks": mask_numbers(plan, work),
        "log": np.ascontiguousarray(log, np.float64),
        "bounds": np.ascontiguousarray(work.bounds, np.int32),
        "order": np.ascontiguousarray(work.order, np.int32),
    }
    end = _aligned(header.nbytes)
    for name, part in parts.items():
        header[name] = end
        end = _aligned(end + part.nbytes)
    header["step"], header["dropping"] = int(finished), len(dropping_layers(plan))
    data = np.zeros(end, np.uint8)
    for start, part in ((0, header), *((int(header[name][0]), part) for name, part in parts.items())):
        data[start : start + part.nbytes] = part.reshape(-1).view(np.uint8)
    return Packed(data, int(header["log"][0]), len(work.steps))


def packed_bytes(plan: Plan, rows: int, steps: int) -> int:
    """How many bytes `pack` needs for so many row numbers and steps, or a few less."""
    a_step = STEP_NUMBERS.itemsize + len(dropping_layers(plan)) * MASK_NUMBERS.itemsize + 3 * 8 + 4
    return SLICE.itemsize + 6 * ALIGNMENT + steps * a_step + 4 * rows


def step_numbers(plan: Plan, steps: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The record STEP_NUMBERS of each step.

    Both of Adam's corrections become one formula, which differs in its epsilon alone: multiplied through by
    c_2 = sqrt(1 - beta_2**t), lr / c_1 * m / (sqrt(v) / c_2 + epsilon) is lr * c_2 / c_1 * m / (sqrt(v) + epsilon * c_2).
    """
    numbers, optimizer = np.zeros(len(steps), STEP_NUMBERS), plan.optimizer
    rate, momentum, weight_decay, _ = np.asarray(steps, np.float64).T
    numbers["rate"], numbers["momentum"], numbers["decay"] = rate, momentum, rate * weight_decay
    if isinstance(optimizer, Adam):
        exponents = counts + 1.0
        correction = np.sqrt(1 - optimizer.beta_2**exponents)
        numbers["rate"] = rate * correction / (1 - optimizer.beta_1**exponents)
        floor = optimizer.epsilon * (correction if optimizer.correction == "moments" else 1.0)
        numbers["floor"] = np.maximum(floor, _SMALLEST)
    return numbers


def mask_numbers(plan: Plan, work: Work) -> np.ndarray:
    """The record MASK_NUMBERS of each step and each layer that drops; see `nnaccel.dropout`."""
    layers = dropping_layers(plan)
    numbers = np.zeros((len(work.steps), len(layers)), MASK_NUMBERS)
    if not layers:
        return numbers
    rates = np.array([plan.network.layers[layer].dropout for layer in layers])
    factors = work.steps[:, [Step._fields.index("dropout")]]
    counter = (work.counts.astype(np.int64)[:, None] & _WORD, np.array(layers, np.int64)[None, :])
    key = (work.seed & _WORD, work.seed >> 32 & _WORD)
    numbers["key_0"], numbers["key_1"] = threefry2x32(key, counter)
    numbers["threshold"] = np.minimum(np.rint(rates * factors * _LANE_VALUES), _LANE_VALUES - 1)
    return numbers


def _aligned(size: int) -> int:
    return math.ceil(size / ALIGNMENT) * ALIGNMENT
