"""Elementary functions of float32 vectors, to about two units in the last place; a NaN stays one."""

import math

from llvmlite import ir
from numba.extending import intrinsic

_INT = ir.IntType(32)
_MANTISSA_BITS = 23
_FAST = ("contract",)
_ESTIMATE = ("arcp", "afn", "contract", "nsz")
_SQRT_HALF_BITS = 0x3F3504F3
_ONE_BITS = 0x3F800000
_LOWEST = -30.0  # exp of less is lost in a sum with 1, and its products are no normal numbers, which are slow

# exp(r) on |r| <= log(2) / 2: Taylor's coefficients; the first left out is 5e-9 of the result
_EXP = [1 / math.factorial(power) for power in range(7, -1, -1)]
# log(m) = 2 atanh(s), s = (m - 1) / (m + 1), |s| <= 0.1716: the series of odd powers; the first left out is 2e-9 of the result
_ATANH = [2 / power for power in (9, 7, 5, 3)]


def _constant(vector, value):
    return ir.Constant(vector, [value] * vector.count)


def _polynomial(builder, coefficients, x):
    result = _constant(x.type, coefficients[0])
    for coefficient in coefficients[1:]:
        product = builder.fmul(result, x, flags=_FAST)
        result = builder.fadd(product, _constant(x.type, coefficient), flags=_FAST)
    return result


@intrinsic
def exp_of_negative(typingctx, x):
    """`exp(x)` for x <= 0; below -30 it is exp(-30)."""

    def generate(context, builder, signature, args):
        (value,) = args
        vector, integers = value.type, ir.VectorType(_INT, value.type.count)
        lowest = _constant(vector, _LOWEST)
        value = builder.select(builder.fcmp_ordered("<", value, lowest), lowest, value)
        # adding 1.5 * 2**23 rounds to a whole number, which then stands in the lowest bits
        shift = _constant(vector, 1.5 * 2**_MANTISSA_BITS)
        shifted = builder.fadd(builder.fmul(value, _constant(vector, 1 / math.log(2))), shift)
        whole = builder.fsub(shifted, shift)
        high, low = _constant(vector, -0.693359375), _constant(vector, 2.12194440e-4)  # log(2) in two parts
        rest = builder.fadd(value, builder.fmul(whole, high, flags=_FAST), flags=_FAST)
        rest = builder.fadd(rest, builder.fmul(whole, low, flags=_FAST), flags=_FAST)
        bits = builder.shl(builder.bitcast(shifted, integers), _constant(integers, _MANTISSA_BITS))
        power = builder.bitcast(builder.add(bits, _constant(integers, _ONE_BITS)), vector)
        return builder.fmul(_polynomial(builder, _EXP, rest), power)

    return x(x), generate


@intrinsic
def log1p(typingctx, x):
    """`log(1 + x)` for x >= 0, precise for small x too; an infinite x gives a large finite number or infinity."""

    def generate(context, builder, signature, args):
        (value,) = args
        vector, integers = value.type, ir.VectorType(_INT, value.type.count)
        one = _constant(vector, 1.0)
        sum_ = builder.fadd(value, one)
        lost = builder.fsub(value, builder.fsub(sum_, one))  # by rounding
        # sum = 2**exponent * mantissa, with the mantissa in [sqrt(1/2), sqrt(2))
        bits = builder.sub(builder.bitcast(sum_, integers), _constant(integers, _SQRT_HALF_BITS))
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
        correction = builder.fdiv(lost, sum_, flags=_ESTIMATE)
        logarithm = builder.fadd(logarithm, builder.fadd(correction, builder.fmul(whole, _constant(vector, -2.12194440e-4))))
        return builder.fadd(logarithm, builder.fmul(whole, _constant(vector, 0.693359375)))

    return x(x), generate
