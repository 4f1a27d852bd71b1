"""Rows of the caller's arrays on their way into panels, and rows of panels on their way out."""

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from nnaccel.kernels import host
from nnaccel.kernels.job import ROW_KINDS
from nnaccel.kernels.memory import JIT, at, declared, like, panel_of, pointer, pointers_to, prefetch, wide_vectors

_CACHE_LINE = 64


@intrinsic
def _copy_vectors(typingctx, source, count, target):
    """Copy up to a panel's row, and fill it up with zeros; nothing is read beyond the last element."""

    def generate(context, builder, signature, arguments):
        start, number, place = arguments
        element, i32, i64 = context.get_value_type(source.dtype), ir.IntType(32), ir.IntType(64)
        lanes, size = host.lanes(str(source.dtype)), 8 if source == types.CPointer(types.float64) else 4
        vector, mask = ir.VectorType(element, lanes), ir.VectorType(ir.IntType(1), lanes)
        zero = ir.Constant(vector, [0.0] * lanes)
        name = f"llvm.masked.load.v{lanes}f{8 * size}.p0"
        masked_load = declared(builder.module, name, vector, [vector.as_pointer(), i32, mask, vector])
        first = builder.insert_element(ir.Constant(ir.VectorType(i64, lanes), ir.Undefined), number, i32(0))
        undefined = ir.Constant(first.type, ir.Undefined)
        counts = builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(i32, lanes), [0] * lanes))
        for v in range(host.tile().vectors):
            numbers = ir.Constant(first.type, [v * lanes + lane for lane in range(lanes)])
            there = builder.icmp_signed("<", numbers, counts)
            p = builder.bitcast(builder.gep(start, [i64(v * lanes)]), vector.as_pointer())
            q = builder.bitcast(builder.gep(place, [i64(v * lanes)]), vector.as_pointer())
            builder.store(builder.call(masked_load, [p, i32(size), there, zero]), q).align = size
        return context.get_dummy_value()

    return types.void(source, types.int64, source), generate


@intrinsic
def own_kind(typingctx, target):
    """The number in `ROW_KINDS` of the elements that a pointer leads to."""

    def generate(context, builder, signature, arguments):
        return ir.IntType(64)(ROW_KINDS.index(str(target.dtype)))

    return types.int64(target), generate


@njit(**JIT)
def _gather_vectors(source, numbers, rows, target, next_panel):
    """Rows whose elements follow each other and need no conversion, into full panels."""
    panel = panel_of(target)
    for i in range(rows):
        row = pointer(source.address + numbers[i] * source.row_bytes, target[0])
        for first in range(0, source.columns, panel):
            place = at(target, i * panel + (first // panel) * next_panel)
            _copy_vectors(at(row, first), min(panel, source.columns - first), place)


def _converting(kind):
    """The function that copies rows of elements of one kind."""
    elements = pointers_to(getattr(types, kind))

    @njit(**JIT)
    def gather_rows(source, numbers, rows, target, next_panel, panel):
        wide_vectors()
        stride, same = source.stride, source.contiguous != 0
        for i in range(rows):
            row, place = elements(source.address + numbers[i] * source.row_bytes), at(target, i * panel)
            for first in range(0, source.columns, panel):
                count = min(panel, source.columns - first)
                if same:
                    for k in range(count):
                        place[k] = like(target[0], row[first + k])
                else:
                    for k in range(count):
                        place[k] = like(target[0], row[(first + k) * stride])
                place = at(place, next_panel)

    return gather_rows


_f4, _f8, _u1, _i1, _u2, _i2, _u4, _i4, _u8, _i8 = map(_converting, ROW_KINDS)


@njit(**JIT)
def gather(source: Any, numbers: Any, rows: int, target: Any, next_panel: int, panel: int) -> None:
    """Copy the rows of these numbers into panels, and convert them.

    Parameters
    ----------
    source : record SOURCE
    numbers : pointer to int32
    rows : int
    target : pointer
        The first row of the first panel.
    next_panel : int
        Elements from one panel to the next.
    panel : int
        The width of a panel; 1 for columns that each lie in one piece. In full panels, what is beyond the last column of
        a row may be written, with zeros.
    """
    kind = source.kind
    if kind == own_kind(target) and source.contiguous != 0 and panel == panel_of(target):
        _gather_vectors(source, numbers, rows, target, next_panel)
    elif kind == 0:
        _f4(source, numbers, rows, target, next_panel, panel)
    elif kind == 1:
        _f8(source, numbers, rows, target, next_panel, panel)
    elif kind == 2:
        _u1(source, numbers, rows, target, next_panel, panel)
    elif kind == 3:
        _i1(source, numbers, rows, target, next_panel, panel)
    elif kind == 4:
        _u2(source, numbers, rows, target, next_panel, panel)
    elif kind == 5:
        _i2(source, numbers, rows, target, next_panel, panel)
    elif kind == 6:
        _u4(source, numbers, rows, target, next_panel, panel)
    elif kind == 7:
        _i4(source, numbers, rows, target, next_panel, panel)
    elif kind == 8:
        _u8(source, numbers, rows, target, next_panel, panel)
    else:
        _i8(source, numbers, rows, target, next_panel, panel)


@njit(**JIT)
def ask_for(source: Any, numbers: Any, first: int, last: int) -> None:
    """Have the processor fetch rows that will soon be gathered: their order is random, so it can't guess them."""
    for i in range(first, last):
        address = source.address + numbers[i] * source.row_bytes
        for byte in range(0, source.ahead_bytes, _CACHE_LINE):
            prefetch(address + byte)


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
