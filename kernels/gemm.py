"""Products of matrices that lie in panels.

A panel is a few columns of a matrix, as many as the tile has, row after row in one piece: column c of row r is at
`(c // PANEL) * PANEL * capacity + r * PANEL + c % PANEL`, where the matrix has room for `capacity` rows. So every product reads and
writes memory in the order in which it lies, transposed or not, and nothing is ever packed.

Panels of activations are always full. The last panel of weights is one vector wide where its columns fit in. What is
beyond the last column is zero in weights; in activations it may be anything, and changes nothing.
"""

import numpy as np
from numba import njit

from nnaccel.kernels import host
from nnaccel.kernels.memory import JIT, at, like, panel_of
from nnaccel.kernels.tile import COLUMNS, ROWS, add_columns, dot_rows, make_tiles
from nnaccel.kernels.transpose import transpose_vectors

DEPTH = 2048
"""Steps after which a product's sums go to memory: so much of a panel of weights stays in the second-level cache."""

BATCH_DEPTH = 512
"""The same for sums over the rows of a batch, where both factors come anew for each block."""

_VECTORS = host.tile().vectors
_wide_by_rows, _narrow_by_rows = make_tiles(_VECTORS, ROWS), make_tiles(1, ROWS)
_wide_by_columns, _narrow_by_columns = make_tiles(_VECTORS, COLUMNS), make_tiles(1, COLUMNS)


@njit(**JIT)
def panel_width(columns, panel):
    """How many elements a row of a panel of weights takes, in which so many columns are left."""
    return panel // _VECTORS if columns * _VECTORS <= panel else panel


@njit(**JIT)
def product(a, capacity, b, width, c, base, rows, steps, panel, floor):
    """One panel of C = max(base + A @ B, floor).

    Parameters
    ----------
    a : pointer
        The first row of A, in panels with room for `capacity` rows.
    b : pointer
        A panel of B: `steps` rows of `width` elements.
    c, base : pointers
        The first row of a full panel of C; one row, such as a bias.
    rows, steps : int
        The rows and the columns of A.
    panel : int
        The width of a full panel.
    floor : scalar
        0 for ReLU, else minus infinity.
    """
    one, none, next_panel = like(floor, 1.0), like(floor, -np.inf), capacity * panel
    for k in range(0, steps, DEPTH):
        depth = min(DEPTH, steps - k)
        last = floor if k + depth == steps else none
        b_rows, i = at(b, k * width), 0
        while i < rows:
            a_rows, c_rows = at(a, k * capacity + i * panel), at(c, i * panel)
            start, stride = (base, 0) if k == 0 else (c_rows, panel)
            if width == panel:
                i += _wide_by_rows(rows - i, a_rows, next_panel, b_rows, c_rows, panel, start, stride, depth, one, last)
            else:
                i += _narrow_by_rows(
                    rows - i, a_rows, next_panel, b_rows, c_rows, panel, start, stride, depth, one, last
                )


@njit(**JIT)
def row_products(a, capacity, b, c, base, rows, steps, floor):
    """c = max(base + A @ b, floor) for a single column: the first of each row of a panel.

    Parameters
    ----------
    a : pointer
        The first row of A, in panels with room for `capacity` rows.
    b : pointer
        So many elements as A has columns, up to the end of a vector.
    c : pointer
        A full panel.
    base : scalar
    rows, steps : int
        The rows and the columns of A.
    """
    i, panel = 0, panel_of(a)
    while i < rows:
        i += dot_rows(rows - i, at(a, i * panel), capacity * panel, b, at(c, i * panel), base, steps, floor)


@njit(**JIT)
def block_product(a, b, width, c, base, base_stride, rows, steps, panel, alpha):
    """C = base + alpha * A.T @ B for one panel of A and one of B: a block of the gradient of weights.

    Parameters
    ----------
    a, b : pointers
        Full panels of `steps` rows.
    width : int
        How many elements a row of C takes: `panel`, or those of one vector.
    c, base : pointers
        A block of C; what to add to, rows `base_stride` elements apart: C itself, or one row of zeros with stride 0.
    rows : int
        How many columns of A count, at most `panel`.
    """
    none = like(alpha, -np.inf)
    for k in range(0, steps, BATCH_DEPTH):
        depth = min(BATCH_DEPTH, steps - k)
        a_rows, b_rows, i = at(a, k * panel), at(b, k * panel), 0
        while i < rows:
            c_rows = at(c, i * width)
            start, stride = (at(base, i * base_stride), base_stride) if k == 0 else (c_rows, width)
            if width == panel:
                i += _wide_by_columns(
                    rows - i, at(a_rows, i), 0, b_rows, c_rows, width, start, stride, depth, alpha, none
                )
            else:
                i += _narrow_by_columns(
                    rows - i, at(a_rows, i), 0, b_rows, c_rows, width, start, stride, depth, alpha, none
                )


@njit(**JIT)
def column_sums(b, width, sums, base, rows, panel, alpha):
    """sums = base + alpha * (the sums of a panel's columns): a block of the gradient of biases."""
    for k in range(0, rows, BATCH_DEPTH):
        depth, start = min(BATCH_DEPTH, rows - k), base if k == 0 else sums
        add_columns(at(b, k * panel), width * _VECTORS // panel, sums, start, depth, alpha)


@njit(**JIT)
def transpose(source, source_stride, target, target_stride, rows, columns, panel):
    """target[c, r] = source[r, c], at most a panel of either; whole vectors are written, with zeros beyond the last row."""
    lanes = panel // _VECTORS
    for r in range(0, rows, lanes):
        for c in range(0, columns, lanes):
            transpose_vectors(
                at(source, r * source_stride + c),
                source_stride,
                at(target, c * target_stride + r),
                target_stride,
                min(lanes, rows - r),
                min(lanes, columns - c),
            )
