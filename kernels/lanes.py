"""Vectors whose lanes are rows: filled from rows, and summed over.

In plain loops LLVM would keep sums in memory, since it can't know that pointers lead to different places, and fill vectors
number by number in memory, where the processor can't read them as vectors until all that came before has ended.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nnaccel.kernels import host
from nnaccel.kernels.memory import declared

_CONTRACT = ("contract",)


@intrinsic
def weighted_sum(typingctx, target, base, weights, stride, vectors, count):
    """target = base + the sum of weights[i * stride] times the vector `i` of those that follow each other, over `count`.

    Parameters
    ----------
    target : pointer
        To a vector.
    base : float
        Of the pointers' type.
    weights, vectors : pointer
    stride, count : int
    """

    def generate(context, builder, signature, arguments):
        place, first, weight, step, source, number = arguments
        vector = _types_of(context, target)[1]
        total = cgutils.alloca_once_value(builder, _in_all_lanes(builder, first, vector))
        with cgutils.for_range(builder, number) as loop:
            w = builder.load(builder.gep(weight, [builder.mul(loop.index, step)]))
            x = _load(builder, builder.gep(source, [builder.mul(loop.index, loop.index.type(vector.count))]), vector)
            product = builder.fmul(_in_all_lanes(builder, w, vector), x, flags=_CONTRACT)
            builder.store(builder.fadd(builder.load(total), product, flags=_CONTRACT), total)
        _store(builder, builder.load(total), place)
        return context.get_dummy_value()

    return types.void(target, target.dtype, weights, types.int64, vectors, types.int64), generate


@intrinsic
def rows_into_lanes(typingctx, target, address, row_bytes, numbers, rows, columns):
    """Of each of the first columns of rows one vector, whose lanes beyond the last row are zero.

    Parameters
    ----------
    target : pointer
        To the first vector; the vectors follow each other.
    address, row_bytes : int
        Where row 0 begins, and from one row to the next; the rows' elements follow each other and have the target's type.
    numbers : pointer to int32
        Which rows.
    rows, columns : int
        How many rows, at least 1 and at most the lanes of a vector, and how many columns.
    """

    def generate(context, builder, signature, arguments):
        place, start, stride, first, count, width = arguments
        element, vector = _types_of(context, target)
        sources, integers = [], ir.VectorType(count.type, vector.count)
        lanes = ir.Constant(integers, list(range(vector.count)))
        there = builder.icmp_signed("<", lanes, _in_all_lanes(builder, count, integers))
        for lane in range(vector.count):
            number = count.type(lane)
            number = builder.select(builder.icmp_signed("<", number, count), number, count.type(0))
            row = builder.load(builder.gep(first, [number]))
            offset = builder.mul(builder.sext(row, start.type), stride)
            sources.append(builder.inttoptr(builder.add(start, offset), element.as_pointer()))
        with cgutils.for_range(builder, width) as loop:
            values = ir.Constant(vector, ir.Undefined)
            for lane, source in enumerate(sources):
                value = builder.load(builder.gep(source, [loop.index]))
                values = builder.insert_element(values, value, ir.IntType(32)(lane))
            values = builder.select(there, values, ir.Constant(vector, [0.0] * vector.count))
            _store(builder, values, builder.gep(place, [builder.mul(loop.index, loop.index.type(vector.count))]))
        return context.get_dummy_value()

    return types.void(target, types.int64, types.int64, numbers, types.int64, types.int64), generate


@intrinsic
def add_product(typingctx, target, a, b):
    """target += a * b, of vectors."""

    def generate(context, builder, signature, arguments):
        vector = _types_of(context, target)[1]
        total, x, y = (_load(builder, pointer, vector) for pointer in arguments)
        total = builder.fadd(total, builder.fmul(x, y, flags=_CONTRACT), flags=_CONTRACT)
        _store(builder, total, arguments[0])
        return context.get_dummy_value()

    return types.void(target, a, b), generate


@intrinsic
def take_sum(typingctx, a):
    """The sum over all lanes of a vector, which begin anew at zero."""

    def generate(context, builder, signature, arguments):
        vector = _types_of(context, a)[1]
        total = _over_lanes(builder, _load(builder, arguments[0], vector), vector)
        _store(builder, ir.Constant(vector, [0.0] * vector.count), arguments[0])
        return total

    return a.dtype(a), generate


def _types_of(context, pointer):
    """LLVM's types of an element that a pointer leads to, and of a vector of them."""
    element = context.get_value_type(pointer.dtype)
    return element, ir.VectorType(element, host.lanes(str(pointer.dtype)))


def _size(element):
    return 8 if isinstance(element, ir.DoubleType) else 4


def _load(builder, pointer, vector):
    loaded = builder.load(builder.bitcast(pointer, vector.as_pointer()))
    loaded.align = _size(vector.element)
    return loaded


def _store(builder, value, pointer):
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer())).align = _size(value.type.element)


def _in_all_lanes(builder, value, vector):
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)


def _over_lanes(builder, value, vector):
    name = f"llvm.vector.reduce.fadd.v{vector.count}f{8 * _size(vector.element)}"
    function = declared(builder.module, name, vector.element, [vector.element, vector])
    # Half of the lanes to the other half, and so on: the order is another one, but always the same.
    return builder.call(function, [vector.element(-0.0), value], fastmath=("reassoc",))
