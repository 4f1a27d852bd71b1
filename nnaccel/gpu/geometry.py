"""How many blocks a kernel is launched with. All kernels loop, so that these numbers decide speed alone, with one exception."""

from nnaccel.gpu.source import THREADS, WARP

Shape = tuple[int, int]
"""Along x and y."""

BY_ROWS: Shape = (WARP, THREADS // WARP)
"""The block of a kernel that has columns along x and rows along y."""

FLAT: Shape = (THREADS, 1)
"""The block of all others."""

_MOST_BLOCKS = 2048
_MOST_ALONG_Y = 65535
_NUMBERS_IN_A_SUM = 2048


def over_rows(rows: int, columns: int) -> Shape:
    """Blocks of the shape `BY_ROWS` for a matrix.

    Examples
    --------
    >>> over_rows(100, 784)
    (25, 13)
    """
    return -(-columns // WARP), min(-(-rows // BY_ROWS[1]), _MOST_ALONG_Y)


def over_numbers(count: int) -> Shape:
    """Blocks of the shape `FLAT` for a vector."""
    return max(1, min(-(-count // THREADS), _MOST_BLOCKS)), 1


def over_sums(count: int) -> Shape:
    """Blocks that each leave a part of a sum. Here the number of blocks decides the order of the sum, so nothing but `count` may.

    No more than there are threads in a block, which adds up the parts.
    """
    return max(1, min(-(-count // _NUMBERS_IN_A_SUM), THREADS)), 1
