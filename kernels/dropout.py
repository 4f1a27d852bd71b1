"""Dropout masks, bit for bit those of `nnaccel.dropout`, multiplied into values where they lie.

All words are uint32, and every sum is cast back to that: numba computes in 64 bits, LLVM then finds that 32 suffice.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types, uint32
from numba.core import cgutils
from numba.extending import intrinsic

from nnaccel.kernels.memory import JIT, at, lanes_of, like, wide_vectors

_PARITY = 0x1BD11BDA
_LANES = 4
_LANE_VALUES = 1 << 16
_ROUNDING = 1.5 * 2.0**52
"""A float64 of this size has no room for fractions."""
_BLOCKS = 16
"""How many blocks of random bits are drawn at once: a vector of each word."""


@intrinsic
def _random_bits(typingctx):
    """Room on the stack for `_BLOCKS` blocks: a pointer to their words, and one to the same memory as lanes.

    On a little-endian machine the two words of a block, one after the other, are its four lanes in order.
    """
    words, lanes = types.CPointer(types.uint32), types.CPointer(types.uint16)

    def generate(context, builder, signature, arguments):
        room = cgutils.alloca_once(builder, ir.IntType(32), size=2 * _BLOCKS)
        room.align = 64
        pair = [room, builder.bitcast(room, context.get_value_type(lanes))]
        return context.make_tuple(builder, signature.return_type, pair)

    return types.Tuple((words, lanes))(), generate


@njit(**JIT)
def _mix(a: Any, b: Any, rotation: int) -> Any:
    """One round."""
    a = uint32(a + b)
    return a, uint32(((b << uint32(rotation)) | (b >> uint32(32 - rotation))) ^ a)


@njit(**JIT)
def threefry2x32(key_0: Any, key_1: Any, a: Any, b: Any) -> Any:
    """Encrypt the words (a, b) with 13 rounds of Threefry-2x32 (Salmon et al., SC 2011); all are uint32."""
    key_2 = uint32(key_0 ^ key_1 ^ _PARITY)
    a, b = uint32(a + key_0), uint32(b + key_1)
    a, b = _mix(a, b, 13)
    a, b = _mix(a, b, 15)
    a, b = _mix(a, b, 26)
    a, b = _mix(a, b, 6)
    a, b = uint32(a + key_1), uint32(b + key_2 + 1)
    a, b = _mix(a, b, 17)
    a, b = _mix(a, b, 29)
    a, b = _mix(a, b, 16)
    a, b = _mix(a, b, 24)
    a, b = uint32(a + key_2), uint32(b + key_0 + 2)
    a, b = _mix(a, b, 13)
    a, b = _mix(a, b, 15)
    a, b = _mix(a, b, 26)
    a, b = _mix(a, b, 6)
    a, b = uint32(a + key_0), uint32(b + key_1 + 3)
    return _mix(a, b, 17)


@njit(**JIT)
def step_key(seed: int, step: int, layer: int) -> Any:
    """The two words that the masks of one layer in one step are drawn with.

    Parameters
    ----------
    seed : int
        Of 64 bits.
    step : int
        How many updates came before.
    layer : int
        The number of the layer, from 0.
    """
    return threefry2x32(uint32(seed), uint32(seed >> 32), uint32(step), uint32(layer))


@njit(**JIT)
def threshold(rate: float, factor: float) -> int:
    """Which of 65536 values drop a unit: those below round(rate * factor * 65536), and never all."""
    # Rounds half to even, as Python does; its function would be a call to a library on some processors.
    return min(int((rate * factor * _LANE_VALUES + _ROUNDING) - _ROUNDING), _LANE_VALUES - 1)


@njit(**JIT)
def drop(
    key_0: Any,
    key_1: Any,
    threshold: int,
    first_row: int,
    rows: int,
    first_unit: int,
    units: int,
    values: Any,
    stride: int,
) -> None:
    """Multiply values by their mask: 0 where dropped, else 65536 / (65536 - threshold).

    Parameters
    ----------
    key_0, key_1 : uint32
        What `step_key` gives.
    threshold : int
        What `threshold` gives.
    first_row, rows : int
        The number within the batch of the first row, and how many there are.
    first_unit, units : int
        The number within the layer of the first unit, a multiple of 4, and how many there are, at least one.
    values : pointer
        Row r begins at r * stride.
    stride : int
    """
    wide_vectors()
    words, lanes = _random_bits()
    kept, dropped = like(values[0], _LANE_VALUES / (_LANE_VALUES - threshold)), like(values[0], 0.0)
    limit = np.uint16(threshold)
    # The blocks that are drawn at once lie side by side, and in as many rows as there is room for.
    width = min(-(-units // _LANES), _BLOCKS)
    height, reciprocal = _BLOCKS // width, -(-65536 // width)
    for row in range(0, rows, height):
        for unit in range(0, units, width * _LANES):
            block = (first_unit + unit) // _LANES
            for i in range(_BLOCKS):  # some beyond the edges: whole vectors are faster than a rest one by one
                down = i * reciprocal >> 16  # i // width, for which there is no vector instruction
                across = i - down * width
                a, b = threefry2x32(key_0, key_1, uint32(first_row + row + down), uint32(block + across))
                words[2 * i], words[2 * i + 1] = a, b
            for down in range(min(height, rows - row)):
                bits, part = at(lanes, down * width * _LANES), at(values, (row + down) * stride + unit)
                for i in range(min(width * _LANES, units - unit)):
                    # A product also where dropped: 0 * NaN is NaN, and a training that diverges must show.
                    part[i] = part[i] * (kept if bits[i] >= limit else dropped)


@njit(**JIT)
def drop_lanes(key_0: Any, key_1: Any, threshold: int, first_row: int, units: int, values: Any) -> None:
    """The same for values of which each unit's are one vector, whose lanes are rows from `first_row` on."""
    wide_vectors()
    kept, dropped = like(values[0], _LANE_VALUES / (_LANE_VALUES - threshold)), like(values[0], 0.0)
    rows = lanes_of(values)
    for unit in range(units):
        word, shift, v = unit % _LANES // 2, uint32(unit % 2 * 16), at(values, unit * rows)
        for r in range(rows):
            words = threefry2x32(key_0, key_1, uint32(first_row + r), uint32(unit // _LANES))
            bits = ((words[1] if word else words[0]) >> shift) & uint32(_LANE_VALUES - 1)
            v[r] = v[r] * (kept if bits >= uint32(threshold) else dropped)
