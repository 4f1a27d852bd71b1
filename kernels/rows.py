"""Rows of the caller's arrays on their way into panels, and rows of panels on their way out."""

from numba import njit, types

from nnaccel.kernels.job import ROW_KINDS
from nnaccel.kernels.memory import JIT, at, like, pointers_to, prefetch, wide_vectors

AHEAD = 2
"""So many rows are asked for before they are copied: their order is random, so the processor can't guess them."""

_CACHE_LINE = 64


def _source(kind):
    """The function that copies one row of elements of a kind into panels."""
    elements = pointers_to(getattr(types, kind))

    @njit(**JIT)
    def copy(address, stride, columns, target, next_panel, panel):
        wide_vectors()
        row = elements(address)
        for first in range(0, columns, panel):
            count = min(panel, columns - first)
            source = at(row, first * stride)
            if stride == 1:
                for k in range(count):
                    target[k] = like(target[0], source[k])
            else:
                for k in range(count):
                    target[k] = like(target[0], source[k * stride])
            target = at(target, next_panel)

    return copy


_f4, _f8, _u1, _i1, _u2, _i2, _u4, _i4, _u8, _i8 = map(_source, ROW_KINDS)


@njit(**JIT)
def copy_row(kind, address, stride, columns, target, next_panel, panel):
    """Copy one row of `columns` elements, `stride` elements apart, and convert them."""
    if kind == 0:
        _f4(address, stride, columns, target, next_panel, panel)
    elif kind == 1:
        _f8(address, stride, columns, target, next_panel, panel)
    elif kind == 2:
        _u1(address, stride, columns, target, next_panel, panel)
    elif kind == 3:
        _i1(address, stride, columns, target, next_panel, panel)
    elif kind == 4:
        _u2(address, stride, columns, target, next_panel, panel)
    elif kind == 5:
        _i2(address, stride, columns, target, next_panel, panel)
    elif kind == 6:
        _u4(address, stride, columns, target, next_panel, panel)
    elif kind == 7:
        _i4(address, stride, columns, target, next_panel, panel)
    elif kind == 8:
        _u8(address, stride, columns, target, next_panel, panel)
    else:
        _i8(address, stride, columns, target, next_panel, panel)


@njit(**JIT)
def gather(source, numbers, rows, target, next_panel, panel):
    """Copy the rows of these numbers into panels.

    Parameters
    ----------
    source : record SOURCE
    numbers : pointer to int32
    rows : int
    target : pointer
        The first row of the first panel.
    next_panel : int
        Elements from one panel to the next.
    """
    for i in range(rows):
        if i + AHEAD < rows:
            ahead = source.address + numbers[i + AHEAD] * source.row_bytes
            for byte in range(0, source.touched_bytes, _CACHE_LINE):
                prefetch(ahead + byte)
        address = source.address + numbers[i] * source.row_bytes
        copy_row(source.kind, address, source.stride, source.columns, at(target, i * panel), next_panel, panel)


@njit(**JIT)
def scatter(source, next_panel, rows, columns, target, panel):
    """Copy rows of panels into rows that follow each other."""
    for first in range(0, columns, panel):
        count = min(panel, columns - first)
        for i in range(rows):
            row, out = at(source, i * panel), at(target, i * columns + first)
            for k in range(count):
                out[k] = row[k]
        source = at(source, next_panel)
