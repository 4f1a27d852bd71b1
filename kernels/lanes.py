"""Sums over vectors whose lanes are rows: what plain loops would keep fetching from memory, since LLVM can't know that
pointers lead to different places."""

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
        element, vector = _types_of(context, target)
        total = cgutils.alloca_once_value(builder, _in_all_lanes(builder, first, vector))
        with cgutils.for_range(builder, number) as loop:
            w = builder.load(builder.gep(weight, [builder.mul(loop.index, step)]))
            x = _load(builder, builder.gep(source, [builder.mul(loop.index, loop.index.type(vector.count))]), vector)
            product = builder.fmul(_in_all_lanes(builder, w, vector), x, flags=_CONTRACT)
            builder.store(builder.fadd(builder.load(total), product, flags=_CONTRACT), total)
        builder.store(builder.load(total), builder.bitcast(place, vector.as_pointer())).align = _size(element)
        return context.get_dummy_value()

    return types.void(target, target.dtype, weights, types.int64, vectors, types.int64), generate


@intrinsic
def add_product(typingctx, target, a, b):
    """target += a * b, of vectors."""

    def generate(context, builder, signature, arguments):
        element, vector = _types_of(context, target)
        total, x, y = (_load(builder, pointer, vector) for pointer in arguments)
        total = builder.fadd(total, builder.fmul(x, y, flags=_CONTRACT), flags=_CONTRACT)
        builder.store(total, builder.bitcast(arguments[0], vector.as_pointer())).align = _size(element)
        return context.get_dummy_value()

    return types.void(target, a, b), generate


@intrinsic
def lanes_sum(typingctx, a):
    """The sum over all lanes of a vector."""

    def generate(context, builder, signature, arguments):
        _, vector = _types_of(context, a)
        return _over_lanes(builder, _load(builder, arguments[0], vector), vector)

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


def _in_all_lanes(builder, value, vector):
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)


def _over_lanes(builder, value, vector):
    name = f"llvm.vector.reduce.fadd.v{vector.count}f{8 * _size(vector.element)}"
    function = declared(builder.module, name, vector.element, [vector.element, vector])
    # Half of the lanes to the other half, and so on: the order is another one, but always the same.
    return builder.call(function, [vector.element(-0.0), value], fastmath=("reassoc",))
