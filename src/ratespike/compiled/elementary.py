"""Elementary functions of float32 vectors, to about two units in the last place; a NaN stays one.

All reduce their argument to a small interval by taking a power of two out of it, and use a polynomial there.
"""

import math

from llvmlite import ir
from numba.extending import intrinsic

_INT = ir.IntType(32)
_MANTISSA_BITS = 23
_FAST = ("contract",)  # a*b + c may round once
_ESTIMATE = ("arcp", "afn", "contract", "nsz")  # division by the processor's estimate of the reciprocal
_SQRT_HALF_BITS = 0x3F3504F3
_ONE_BITS = 0x3F800000
_LOWEST = -30.0  # exp of less is lost in a sum with 1, and its products are no normal numbers, which are slow
_ROUNDING_SHIFT = 1.5 * 2**_MANTISSA_BITS  # added to a number, it leaves the nearest whole number in the lowest bits

_LOG_2_HIGH = 0.693359375  # log(2) in two parts: products of the first one with small whole numbers are exact
_LOG_2_LOW = -2.12194440e-4

# exp(r) on |r| <= log(2) / 2: Taylor's coefficients; the first left out is 5e-9 of the result
_EXP = [1 / math.factorial(power) for power in range(7, -1, -1)]
# log(m) = 2 atanh(s), s = (m - 1) / (m + 1), |s| <= 0.1716: the series of odd powers; the first left out is 2e-9 of the result
_ATANH = [2 / power for power in (9, 7, 5, 3)]


def _constant(vector, value):
    """A constant with this value in every lane."""
    return ir.Constant(vector, [value] * vector.count)


def _add_product(builder, a, b, c):
    """The sum `a * b + c`, rounded once where the processor can."""
    return builder.fadd(builder.fmul(a, b, flags=_FAST), c, flags=_FAST)


def _polynomial(builder, coefficients, x):
    """The polynomial's value by Horner's scheme; the highest power's coefficient comes first."""
    result = _constant(x.type, coefficients[0])
    for coefficient in coefficients[1:]:
        result = _add_product(builder, result, x, _constant(x.type, coefficient))
    return result


def _power_and_rest(builder, value):
    """For a value from -30 to 0 the power of two and r, |r| <= log(2) / 2, with exp(value) = power * exp(r)."""
    vector = value.type
    integers = ir.VectorType(_INT, vector.count)
    lowest = _constant(vector, _LOWEST)
    value = builder.select(builder.fcmp_ordered("<", value, lowest), lowest, value)
    # the power's exponent is the whole number nearest to value / log(2)
    shift = _constant(vector, _ROUNDING_SHIFT)
    shifted = builder.fadd(builder.fmul(value, _constant(vector, 1 / math.log(2))), shift)
    whole = builder.fsub(shifted, shift)
    rest = _add_product(builder, whole, _constant(vector, -_LOG_2_HIGH), value)
    rest = _add_product(builder, whole, _constant(vector, -_LOG_2_LOW), rest)
    exponent = builder.shl(builder.bitcast(shifted, integers), _constant(integers, _MANTISSA_BITS))
    power = builder.bitcast(builder.add(exponent, _constant(integers, _ONE_BITS)), vector)
    return power, rest


@intrinsic
def exp_of_negative(typingctx, x):
    """`exp(x)` for x <= 0; below -30 it is exp(-30)."""

    def generate(context, builder, signature, args):
        power, rest = _power_and_rest(builder, args[0])
        return builder.fmul(_polynomial(builder, _EXP, rest), power)

    return x(x), generate


@intrinsic
def expm1_of_negative(typingctx, x):
    """`exp(x) - 1` for x <= 0, precise for small x too."""

    def generate(context, builder, signature, args):
        power, rest = _power_and_rest(builder, args[0])
        expm1_of_rest = builder.fmul(_polynomial(builder, _EXP[:-1], rest), rest)
        return _add_product(builder, expm1_of_rest, power, builder.fsub(power, _constant(power.type, 1.0)))

    return x(x), generate


@intrinsic
def log1p(typingctx, x):
    """`log(1 + x)` for x >= 0, precise for small x too; an infinite x gives a large finite number or infinity."""

    def generate(context, builder, signature, args):
        value = args[0]
        vector = value.type
        integers = ir.VectorType(_INT, vector.count)
        one = _constant(vector, 1.0)
        total = builder.fadd(value, one)
        lost = builder.fsub(value, builder.fsub(total, one))  # by rounding
        # total = 2**exponent * mantissa, with the mantissa in [sqrt(1/2), sqrt(2))
        bits = builder.sub(builder.bitcast(total, integers), _constant(integers, _SQRT_HALF_BITS))
        exponent = builder.ashr(bits, _constant(integers, _MANTISSA_BITS))
        fraction = builder.and_(bits, _constant(integers, (1 << _MANTISSA_BITS) - 1))
        mantissa = builder.bitcast(builder.add(fraction, _constant(integers, _SQRT_HALF_BITS)), vector)
        above = builder.fsub(mantissa, one)
        s = builder.fdiv(above, builder.fadd(mantissa, one), flags=_ESTIMATE)
        squared = builder.fmul(s, s)
        # log(m) = 2 s + s**3 (2/3 + ...), and 2 s = above - s * above
        series = builder.fmul(squared, _polynomial(builder, _ATANH, squared), flags=_FAST)
        tail = builder.fmul(s, builder.fsub(above, series, flags=_FAST), flags=_FAST)
        logarithm = builder.fsub(above, tail, flags=_FAST)
        whole = builder.sitofp(exponent, vector)
        correction = builder.fdiv(lost, total, flags=_ESTIMATE)
        low = builder.fmul(whole, _constant(vector, _LOG_2_LOW))
        high = builder.fmul(whole, _constant(vector, _LOG_2_HIGH))
        return builder.fadd(builder.fadd(logarithm, builder.fadd(correction, low)), high)

    return x(x), generate
