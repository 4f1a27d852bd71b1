"""Memory by address: typed pointers, and what LLVM is told of the loops that follow them.

Kernels take pointers (`numba.types.CPointer`), read and write `p[i]`, and move on with `at(p, n)`. All of them work in
the element type that the pointer has, float32 or float64; `like(x, 0.5)` is a number in the type of x.
"""

from llvmlite import ir
from numba import from_dtype, types
from numba.extending import intrinsic

from nnaccel.kernels import host

_FOR_KERNELS = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Kernels are called by kernels alone: without wrappers for other callers they are compiled sooner."""

JIT = {**_FOR_KERNELS, "fastmath": {"contract"}}
"""How every kernel is compiled: a multiply and an add may become one; nothing else may be reordered."""

SUMS = {**_FOR_KERNELS, "fastmath": {"contract", "reassoc", "nsz"}}
"""The same for sums whose order is the compiler's to choose: it is another one, but always the same."""


@intrinsic
def pointer(typingctx, address, example):
    """The address, an integer, as a pointer to elements of the type of `example`."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(example)(types.int64, example), generate


def pointers_to(element):
    """A function for kernels that takes an address, an integer, for a pointer to elements of one numba type."""

    @intrinsic
    def cast(typingctx, address):
        def generate(context, builder, signature, arguments):
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(element)(types.int64), generate

    return cast


int32_pointer = pointers_to(types.int32)


def records_of(dtype):
    """A function for kernels of an address and a number: that record of those that begin there, by reference."""
    record = from_dtype(dtype)

    @intrinsic
    def take(typingctx, address, number):
        def generate(context, builder, signature, arguments):
            start = builder.add(arguments[0], builder.mul(arguments[1], ir.IntType(64)(dtype.itemsize)))
            return builder.inttoptr(start, context.get_value_type(record))

        return record(types.int64, types.int64), generate

    return take


@intrinsic
def at(typingctx, p, n):
    """The pointer `n` elements further on."""

    def generate(context, builder, signature, arguments):
        return builder.gep(arguments[0], [arguments[1]])

    return p(p, types.int64), generate


@intrinsic
def like(typingctx, example, number):
    """A number in the type of `example`."""

    def generate(context, builder, signature, arguments):
        return context.cast(builder, arguments[1], number, example)

    return example(example, number), generate


@intrinsic
def size_of(typingctx, p):
    """The bytes that an element takes of the type that a pointer has: a constant in the compiled code."""

    def generate(context, builder, signature, arguments):
        return ir.Constant(ir.IntType(64), p.dtype.bitwidth // 8)

    return types.int64(p), generate


@intrinsic
def lanes_of(typingctx, p):
    """How many elements of the type that a pointer has a vector holds: a constant in the compiled code."""

    def generate(context, builder, signature, arguments):
        return ir.Constant(ir.IntType(64), host.lanes(str(p.dtype)))

    return types.int64(p), generate


@intrinsic
def panel_of(typingctx, p):
    """How many elements of the type that a pointer has a full panel's row takes: a constant in the compiled code."""

    def generate(context, builder, signature, arguments):
        return ir.Constant(ir.IntType(64), host.panel(str(p.dtype)))

    return types.int64(p), generate


@intrinsic
def wide_vectors(typingctx):
    """Have the loops of the calling function use vectors of 512 bits, where the processor has them.

    LLVM prefers 256 on some that do. llvmlite's list of attributes doesn't know this one, so it is added past its check.
    """

    def generate(context, builder, signature, arguments):
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def apart(typingctx):
    """Promise that the pointers that the calling function takes lead to different places, so that loops need no check.

    Of a vector or two the check fails even where they are different, but near each other.
    """

    def generate(context, builder, signature, arguments):
        for argument in builder.function.args[2:]:  # after the places of numba's result and exception
            if isinstance(argument.type, ir.PointerType):
                argument.attributes.add("noalias")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def prefetch(typingctx, address):
    """Ask for the cache line at an address."""

    def generate(context, builder, signature, arguments):
        byte, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = declared(builder.module, "llvm.prefetch.p0", ir.VoidType(), [byte, i32, i32, i32])
        builder.call(function, [builder.inttoptr(arguments[0], byte), i32(0), i32(3), i32(1)])
        return context.get_dummy_value()

    return types.void(types.int64), generate


def declared(module: ir.Module, name: str, result: ir.Type, arguments: list[ir.Type]) -> ir.Function:
    """The function of this name, declared in the module at its first use."""
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(result, arguments), name)
