"""Dropout masks that are the same integers on every backend, whatever the order in which they are computed.

A mask is a function of (seed, step, layer, row in the batch, unit) alone: Threefry-2x32 with 13 rounds (Salmon et al.,
"Parallel random numbers: as easy as 1, 2, 3", SC 2011). One block of 64 random bits serves four neighbouring units. The
words are held in int64 and masked to 32 bits, since not every array library shifts unsigned integers.
"""

from dataclasses import dataclass
from typing import Any

from nnaccel.arrays import Array, Namespace

_WORD = 0xFFFFFFFF
_PARITY = 0x1BD11BDA
_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_ROUNDS = 13
_LANES = 4
_LANE_VALUES = 1 << 16


def threefry2x32(key: tuple[int, int], counter: tuple[Any, Any]) -> tuple[Any, Any]:
    """Encrypt two 32-bit words with Threefry-2x32-13.

    Parameters
    ----------
    key : (int, int)
        Two words, each below 2**32.
    counter : (int or int64 array, int or int64 array)
        Two words, or arrays of words that broadcast against each other.

    Returns
    -------
    (int or int64 array, int or int64 array)
        Two words, in the type of the counter.

    Examples
    --------
    >>> [hex(word) for word in threefry2x32((0, 0), (0, 0))]  # the known answer of the paper's library
    ['0x9d1c5ec6', '0x8bd50731']
    """
    schedule = (*key, key[0] ^ key[1] ^ _PARITY)
    a, b = (counter[0] + schedule[0]) & _WORD, (counter[1] + schedule[1]) & _WORD
    for i in range(_ROUNDS):
        a = (a + b) & _WORD
        rotation = _ROTATIONS[i % 8]
        b = (((b << rotation) & _WORD) | (b >> (32 - rotation))) ^ a
        if i % 4 == 3:
            injection = i // 4 + 1
            a = (a + schedule[injection % 3]) & _WORD
            b = (b + schedule[(injection + 1) % 3] + injection) & _WORD
    return a, b


@dataclass(frozen=True)
class DropoutSource:
    """Where the masks of one step come from.

    Attributes
    ----------
    seed : int
        The seed of the training, of any size; its lowest 64 bits count.
    step : int
        How many updates came before.
    factor : float
        Multiplies the rate of every layer: 0 switches dropout off.
    first_row : int
        The number within the batch of the first row asked for, so that a batch can be processed in parts.
    """

    seed: int
    step: int
    factor: float = 1.0
    first_row: int = 0

    def mask(self, layer: int, rate: float, like: Array, xp: Namespace) -> Array:
        """What to multiply the outputs of a layer by: 0 where dropped, else 1 / (1 - rate).

        Parameters
        ----------
        layer : int
            The number of the layer, from 0.
        rate : float
            The part of the units to drop, from 0 to below 1, before `factor`; it is rounded to a multiple of 2**-16.
        like : array (n, ...)
            The outputs of the layer: the mask has their shape, dtype and device.
        """
        threshold = min(round(rate * self.factor * _LANE_VALUES), _LANE_VALUES - 1)
        rows, units = like.shape[0], 1
        for length in like.shape[1:]:
            units *= length
        key = threefry2x32((self.seed & _WORD, self.seed >> 32 & _WORD), (self.step & _WORD, layer))
        row = xp.arange(self.first_row, self.first_row + rows, dtype=xp.int64, device=like.device)[:, None]
        block = xp.arange(-(-units // _LANES), dtype=xp.int64, device=like.device)[None, :]
        words = threefry2x32(key, (row, block))
        lanes = xp.stack([lane for word in words for lane in (word & 0xFFFF, word >> 16)], axis=2)
        kept = xp.reshape(lanes, (rows, -1))[:, :units] >= threshold
        scale = _LANE_VALUES / (_LANE_VALUES - threshold)
        return xp.reshape(xp.astype(kept, like.dtype) * scale, like.shape)
