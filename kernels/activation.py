"""Activations and their derivatives: of one number, and of rows of them in loops that LLVM vectorises.

A kernel knows an activation by its place in `job.ACTIVATIONS`, its `kind`, and by one number, `parameter`: the slope of leaky_relu,
the alpha of elu. The formulas are those of `nnaccel.activations`; NaN stays NaN, so that a training that diverged shows.
"""

import math

from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from nnaccel.kernels.job import ACTIVATIONS
from nnaccel.kernels.mathematics import expm1, sigmoid, softplus, tanh
from nnaccel.kernels.memory import JIT, apart, like, wide_vectors

IDENTITY, SIGMOID, TANH, RELU, LEAKY_RELU, ELU, SELU, GELU, SILU, SOFTPLUS = range(len(ACTIVATIONS))

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805

# (1 + tanh(u)) / 2 = sigmoid(2 u): GELU is z * sigmoid(rate * z + cubic * z**3).
_GELU_RATE = 2 * math.sqrt(2 / math.pi)
_GELU_CUBIC = _GELU_RATE * 0.044715


@njit(forceinline=True, **JIT)
def value(kind, parameter, z):
    """The activation of one number.

    Parameters
    ----------
    kind : int
        The place in `job.ACTIVATIONS`.
    parameter : float64
        The slope of leaky_relu or the alpha of elu; of no account for the others.
    z : float32 or float64
        A sum of a layer; the result has its type.
    """
    zero = like(z, 0)
    if kind == SIGMOID:
        return sigmoid(z)
    if kind == TANH:
        return tanh(z)
    if kind == RELU:
        return zero if z < zero else z
    if kind == LEAKY_RELU:
        return z if z > zero else like(z, parameter) * z
    if kind == ELU:
        return z if z > zero else like(z, parameter) * expm1(z)
    if kind == SELU:
        return like(z, _SELU_SCALE) * (z if z > zero else like(z, _SELU_ALPHA) * expm1(z))
    if kind == GELU:
        return z * sigmoid(z * (like(z, _GELU_RATE) + like(z, _GELU_CUBIC) * (z * z)))
    if kind == SILU:
        return z * sigmoid(z)
    if kind == SOFTPLUS:
        return softplus(z)
    return z


@njit(forceinline=True, **JIT)
def derivative(kind, parameter, saved):
    """The derivative of the activation at one number, from its output; for gelu and silu, from its input.

    Parameters
    ----------
    kind, parameter
        As for `value`.
    saved : float32 or float64
        The output or the input; the result has its type.
    """
    zero, one = like(saved, 0), like(saved, 1)
    if kind == SIGMOID:
        return saved * (one - saved)
    if kind == TANH:
        return one - saved * saved
    if kind == RELU:
        return zero if saved <= zero else one
    if kind == LEAKY_RELU:
        return one if saved > zero else like(saved, parameter)
    if kind == ELU:
        return one if saved > zero else saved + like(saved, parameter)
    if kind == SELU:
        return like(saved, _SELU_SCALE) if saved > zero else saved + like(saved, _SELU_SCALE * _SELU_ALPHA)
    if kind == GELU:
        rate, cubic = like(saved, _GELU_RATE), like(saved, _GELU_CUBIC) * saved
        s = sigmoid(saved * (rate + cubic * saved))
        bend = s * (one - s) * saved  # first of all, since it is 0 where the square of a large input overflows
        return s + (bend * rate + bend * cubic * (like(saved, 3) * saved))
    if kind == SILU:
        s = sigmoid(saved)
        return s * (one + saved * (one - s))
    if kind == SOFTPLUS:
        return -expm1(-saved)
    return one


def _by_kind(loop):
    """The same function, with a copy for each kind, in which only its own formula is left of the choice between all.

    So the choice is made before the loop, not in it. The first kind, identity, changes nothing.
    """

    @intrinsic
    def call(typingctx, kind, arguments):
        function = typingctx.resolve_value_type(loop)
        signature = typingctx.resolve_function_type(function, (types.int64, *arguments), {})

        def generate(context, builder, _, values):
            rest = cgutils.unpack_tuple(builder, values[1])
            end = builder.append_basic_block("end")
            switch = builder.switch(values[0], end)
            for number, name in enumerate(ACTIVATIONS[1:], 1):
                block = builder.append_basic_block(name)
                switch.add_case(number, block)
                builder.position_at_end(block)
                context.get_function(function, signature)(builder, [values[0].type(number), *rest])
                builder.branch(end)
            builder.position_at_end(end)
            return context.get_dummy_value()

        return types.void(types.int64, arguments), generate

    return call


@_by_kind
@njit(forceinline=True, **JIT)
def _value_loop(kind, parameter, y, n):
    for i in range(n):
        y[i] = value(kind, parameter, y[i])


@_by_kind
@njit(forceinline=True, **JIT)
def _chain_loop(kind, parameter, saved, delta, n):
    for i in range(n):
        if kind == RELU:
            delta[i] = like(delta[i], 0) if saved[i] <= like(delta[i], 0) else delta[i]
        else:
            delta[i] *= derivative(kind, parameter, saved[i])


@intrinsic
def _same(typingctx, p, q):
    """Whether two pointers are the same."""

    def generate(context, builder, signature, arguments):
        return builder.icmp_unsigned("==", *arguments)

    return types.boolean(p, q), generate


@njit(**JIT)
def activate(kind, parameter, z, y, n):
    """The activation of n numbers that follow each other: y[i] = f(z[i]).

    Parameters
    ----------
    kind, parameter
        As for `value`.
    z : pointer
        n numbers.
    y : pointer
        Where the n results go: to z itself, or where nothing of z lies.
    n : int
        Any number; the loops are fastest on multiples of a vector.
    """
    wide_vectors()
    # All work is done in place: two pointers that might be the same would keep LLVM from vectorising.
    if not _same(z, y):
        for i in range(n):
            y[i] = z[i]
    _value_loop(kind, (parameter, y, n))


@njit(**JIT)
def chain(kind, parameter, saved, delta, n):
    """The chain rule on n numbers that follow each other: delta[i] *= f'(saved[i]).

    A unit of relu that is off gives 0 whatever its delta is, also for inf and NaN.

    Parameters
    ----------
    kind, parameter
        As for `value`.
    saved : pointer
        n outputs; for gelu and silu, n inputs.
    delta : pointer
        n derivatives by the outputs, which become those by the inputs; they lie elsewhere than `saved`.
    n : int
        Any number; the loops are fastest on multiples of a vector.
    """
    wide_vectors()
    apart()
    _chain_loop(kind, (parameter, saved, delta, n))
