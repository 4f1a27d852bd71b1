"""exp, log and their kin as arithmetic that LLVM vectorises: no branches, no tables, no library.

One source serves float32 and float64: what differs are numbers. A loop that calls these functions runs at the full width
of the vector unit, since they consist of additions, multiplications, a division at most, selections and shifts of bits.
Each is within `ULPS` units in the last place of the true value; numbers below the smallest normal one count as 0.

Every polynomial interpolates its function at Chebyshev points, computed with 80 decimal digits and then rounded; that
is nearly the best of its degree, and the degree is the lowest whose own error is far below that of rounding.

References
----------
The reductions are classical: W. J. Cody and W. Waite, Software Manual for the Elementary Functions, 1980; J.-M. Muller,
Elementary Functions: Algorithms and Implementation, 3rd edition, 2016.
"""

import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from nnaccel.kernels.memory import JIT, declared, like

ULPS = 2
"""How many units in the last place any result here may be off; the docstrings say what was measured.

Where the processor has no multiply-add, softplus reaches 2.1.
"""


def polynomial(float32, float64):
    """A polynomial with its own coefficients for each type, the constant one first.

    It is evaluated by Horner's rule in `llvm.fmuladd`, which is a multiply-add where the processor has one. (`llvm.fma`
    would be a call to a library where it has none.)
    """
    coefficients = {types.float32: float32, types.float64: float64}

    @intrinsic
    def evaluate(typingctx, x):
        def generate(context, builder, signature, arguments):
            element = context.get_value_type(x)
            name = f"llvm.fmuladd.{element.intrinsic_name}"
            multiply_add = declared(builder.module, name, element, [element] * 3)
            *rest, total = (element(c) for c in coefficients[x])
            for c in reversed(rest):
                total = builder.call(multiply_add, [total, arguments[0], c])
            return total

        return x(x), generate

    return evaluate


def constant(float32, float64):
    """A number that differs between the types, where `like` would only round it; called with an example of the type."""
    return polynomial([float32], [float64])


_EXP = polynomial(
    [0.5, 0.16666576, 0.041666556, 0.008363179, 0.0013926184],
    [
        0.5000000000000001,
        0.16666666666666669,
        0.04166666666662413,
        0.008333333333330062,
        0.0013888888917213717,
        0.00019841269863053618,
        2.4801521295954376e-05,
        2.7557268459997064e-06,
        2.7620088445409746e-07,
        2.510038549551032e-08,
    ],
)
"""(exp(r) - 1 - r) / r**2 for |r| <= log(2) / 2; off by 7e-8 and 2e-16, which r**2 <= 0.12 makes less."""

_LOG = polynomial(
    [0.6666667, 0.39999706, 0.28592357, 0.21706575, 0.2322433],
    [
        0.6666666666666666,
        0.40000000000014585,
        0.2857142856710876,
        0.22222222717427864,
        0.18181789436132859,
        0.15385570064958623,
        0.13314144209654935,
        0.12001072809590713,
        0.08800738486144674,
        0.1616404561194353,
    ],
)
"""(2 * atanh(s) / s - 2) / s**2 in s**2, for |s| <= 1/3; off by 2e-8 and 2e-16, which s**2 makes less."""

_TANH = polynomial(
    [-0.3333333, 0.13333113, -0.05390943, 0.021309389, -0.0066102277],
    [
        -0.3333333333333333,
        0.13333333333332714,
        -0.053968253967434016,
        0.021869488493666944,
        -0.008863234397814355,
        0.003592110378689024,
        -0.001455661830100716,
        0.0005889360520074057,
        -0.0002346347410887237,
        8.511313685577672e-05,
        -2.060276537636634e-05,
    ],
)
"""(tanh(a) / a - 1) / a**2 in a**2, for a <= 0.55; off by 5e-9 and 5e-18 relative to tanh(a)."""

# log(2) as a sum: the first part is short enough (16 and 41 bits) for its product with an exponent to be exact.
_LN2_HIGH = constant(0.693145751953125, 0.693147180559663)
_LN2_LOW = constant(1.4286068e-06, 2.8235290563031577e-13)

# A number so large that adding it rounds to whole numbers, which then lie in the last bits of the sum.
_ROUND = constant(1.5 * 2.0**23, 1.5 * 2.0**52)

_SINGLE, _DOUBLE = np.finfo(np.float32), np.finfo(np.float64)
_TINY = constant(float(_SINGLE.tiny), float(_DOUBLE.tiny))
_LOG_TINY = constant(math.log(_SINGLE.tiny), math.log(_DOUBLE.tiny))
_LOG_LARGEST = constant(88.722831, 709.782712893384)  # rounded down: with the next float, exp is above the largest


def _fraction_bits(x):
    return {types.float32: 23, types.float64: 52}[x]


def _bits(number, x):
    """The bits of a number in the type x, as an integer."""
    return int(np.array(number, x.name).view(f"u{x.bitwidth // 8}"))


@intrinsic
def _scaled(typingctx, p, rounded):
    """p * 2**n, where `rounded` is n + _ROUND: n, moved to where the exponent is, is added to it.

    Converting n to an integer instead would be undefined where it is NaN. Right where p and the result are normal.
    """

    def generate(context, builder, signature, arguments):
        integer = ir.IntType(p.bitwidth)
        p_bits, n_bits = (builder.bitcast(a, integer) for a in arguments)
        total = builder.add(p_bits, builder.shl(n_bits, integer(_fraction_bits(p))))
        return builder.bitcast(total, context.get_value_type(p))

    return p(p, p), generate


@intrinsic
def _exponent_and_mantissa(typingctx, x):
    """(k, m) with x = m * 2**k and m from sqrt(1/2) to sqrt(2), for a normal x > 0; anything for other x."""
    pair = types.UniTuple(x, 2)

    def generate(context, builder, signature, arguments):
        integer, element = ir.IntType(x.bitwidth), context.get_value_type(x)
        fraction, one = _fraction_bits(x), _bits(1, x)
        x_bits = builder.bitcast(arguments[0], integer)
        # With sqrt(1/2) moved to 1, the exponent as it is stored is k and its bias. It becomes a float as the last
        # bits of a large one, since not every vector unit converts integers of 64 bits.
        biased = builder.lshr(builder.add(x_bits, integer(one - _bits(math.sqrt(0.5), x))), integer(fraction))
        large = 2.0**fraction
        k = builder.bitcast(builder.or_(biased, integer(_bits(large, x))), element)
        k = builder.fsub(k, element(large + (one >> fraction)))
        m = builder.sub(builder.add(x_bits, integer(one)), builder.shl(biased, integer(fraction)))
        return context.make_tuple(builder, pair, [k, builder.bitcast(m, element)])

    return pair(x), generate


@njit(**JIT)
def _reduced(x):
    """(expm1(r), n + _ROUND) with x = n * log(2) + r and |r| <= log(2) / 2, so that exp(x) = exp(r) * 2**n."""
    rounded = x * like(x, 1 / math.log(2)) + _ROUND(x)
    n = rounded - _ROUND(x)
    r = (x - n * _LN2_HIGH(x)) - n * _LN2_LOW(x)
    return r + r * r * _EXP(r), rounded


@njit(**JIT)
def exp(x):
    """exp(x); inf above the largest number, 0 where the result is below the smallest normal one; at most 1.1 ulp off."""
    e, rounded = _reduced(x)
    y = _scaled(like(x, 1) + e, rounded)
    y = y if x >= _LOG_TINY(x) else like(x, 0)
    return y if x <= _LOG_LARGEST(x) else x * like(x, math.inf)  # inf, or NaN


@njit(**JIT)
def expm1(x):
    """exp(x) - 1 for x <= 0, with full relative precision near 0; at most 1.2 ulp off."""
    e, rounded = _reduced(_LOG_TINY(x) if x < _LOG_TINY(x) else x)
    power = _scaled(like(x, 1), rounded)
    return e * power + (power - like(x, 1))


@njit(**JIT)
def _exp_plus_1(x):
    """exp(x) + 1, rounded hardly more than once; x is moved to where exp(x) and its inverse are normal."""
    x = _LOG_TINY(x) if x < _LOG_TINY(x) else x
    x = -_LOG_TINY(x) if x > -_LOG_TINY(x) else x
    e, rounded = _reduced(x)
    power = _scaled(like(x, 1), rounded)
    high = power + like(x, 1)
    low = like(x, 1) - (high - power)
    return (e * power + low) + high


@njit(**JIT)
def sigmoid(x):
    """1 / (1 + exp(-x)), with full relative precision also where it is small; at most 1.8 ulp off.

    0 where the result is below the smallest normal number.
    """
    y = like(x, 1) / _exp_plus_1(-x)
    return like(x, 0) if x < _LOG_TINY(x) else y


@njit(**JIT)
def tanh(x):
    """tanh(x), with the sign of x also where it is 0; at most 1.4 ulp off."""
    a = abs(x)
    square = a * a
    small = a + a * (square * _TANH(square))
    large = like(x, 1) - like(x, 2) / _exp_plus_1(a + a)
    return math.copysign(small if a < like(x, 0.55) else large, x)


@njit(**JIT)
def _log1p_less(f):
    """f - log(1 + f), for 1 + f from sqrt(1/2) to 2.

    With s = f / (2 + f), log(1 + f) = 2 atanh(s) and 2 s = f - s f: what is computed with errors is taken from f, exact.
    """
    s = f / (like(f, 2) + f)
    square = s * s
    return s * (f - square * _LOG(square))


@njit(**JIT)
def log1p(x):
    """log(1 + x) for x from 0 to 1, with full relative precision near 0; at most 1.1 ulp off."""
    return x - _log1p_less(x)


@njit(**JIT)
def log(x):
    """log(x); -inf for 0 and for what is below the smallest normal number, NaN for x < 0; at most 1 ulp off."""
    k, m = _exponent_and_mantissa(x)
    f = m - like(x, 1)
    y = k * _LN2_HIGH(x) + (f - (_log1p_less(f) - k * _LN2_LOW(x)))
    y = y if x >= _TINY(x) else like(x, -math.inf)
    y = like(x, math.nan) if x < like(x, 0) else y
    return y if x < like(x, math.inf) else x  # inf, or NaN


@njit(**JIT)
def softplus(x):
    """log(1 + exp(x)), without overflow and with full relative precision where it is small; at most 1.9 ulp off.

    0 where the result is below the smallest normal number.
    """
    return (like(x, 0) if x < like(x, 0) else x) + log1p(exp(-abs(x)))
