"""Vectors of a fixed width as Numba values, lowered to portable LLVM vectors.

A loop over a width known only at run time is set up anew at every call and gets half-width registers by default. Here
the width is part of the type: `lanes` (see `lanes_of`) is an empty-valued tuple whose *length* says how many elements a
vector has. LLVM splits or joins the vectors to the registers of the machine. Comparisons give one bit a lane, lane 0
lowest, in a uint64.
"""

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.extending import intrinsic, lower_builtin, register_model, type_callable

LANE_GROUP = 16  # a vector's width is a multiple of this
MAX_LANES = 64  # the bits of a comparison fill one word
_CONTRACT = ("contract",)  # a*b + c may round once
_ESTIMATE = ("arcp", "afn", "contract", "nsz", "ninf")


def lanes_of(width: int) -> tuple[None, ...]:
    """The compile-time name of vectors with `width` elements (16, 32, 48 or 64)."""
    return (None,) * (width // LANE_GROUP)


class Vector(types.Type):
    """Numba type of `width` elements of `dtype` held in registers."""

    def __init__(self, dtype: types.Type, width: int) -> None:
        self.dtype, self.width = dtype, width
        super().__init__(name=f"Vector({dtype}, {width})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        element = manager.lookup(vector.dtype).get_value_type()
        super().__init__(manager, vector, ir.VectorType(element, vector.width))


def _address(context, builder, array_type, array, offset, width):
    data = cgutils.create_struct_proxy(array_type)(context, builder, value=array).data
    vector = ir.VectorType(context.get_data_type(array_type.dtype), width)
    return builder.bitcast(builder.gep(data, [offset]), vector.as_pointer())


def _repeat(builder, scalar, width):
    vector = ir.VectorType(scalar.type, width)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width))


def _mask(builder, bits, width):
    if width < MAX_LANES:
        bits = builder.trunc(bits, ir.IntType(width))
    return builder.bitcast(bits, ir.VectorType(ir.IntType(1), width))


@intrinsic
def width_of(typingctx, lanes):
    """How many elements the vectors of `lanes` have: a constant in the compiled code."""
    width = LANE_GROUP * lanes.count

    def generate(context, builder, signature, args):
        return ir.Constant(ir.IntType(64), width)

    return types.int64(lanes), generate


@intrinsic
def load(typingctx, array, start, lanes):
    """The elements `array[start : start + width]`; nothing is checked."""
    vector = Vector(array.dtype, LANE_GROUP * lanes.count)

    def generate(context, builder, signature, args):
        value = builder.load(_address(context, builder, signature.args[0], args[0], args[1], vector.width))
        value.align = array.dtype.bitwidth // 8
        return value

    return vector(array, types.int64, lanes), generate


@intrinsic
def store(typingctx, array, start, vector):
    """`array[start : start + width] = vector`; nothing is checked."""

    def generate(context, builder, signature, args):
        address = _address(context, builder, signature.args[0], args[0], args[1], vector.width)
        builder.store(args[2], address, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(array, types.int64, vector), generate


@intrinsic
def repeat(typingctx, scalar, lanes):
    """A vector with `scalar` in every lane."""
    vector = Vector(scalar, LANE_GROUP * lanes.count)

    def generate(context, builder, signature, args):
        return _repeat(builder, args[0], vector.width)

    return vector(scalar, lanes), generate


@intrinsic
def where(typingctx, bits, yes, no):
    """Lane by lane `yes` where the bit is set, else `no`."""

    def generate(context, builder, signature, args):
        return builder.select(_mask(builder, args[0], yes.width), args[1], args[2])

    return yes(types.uint64, yes, no), generate


@intrinsic
def maximum(typingctx, vector, low):
    """Lane by lane the larger one; a NaN in `vector` stays."""

    def generate(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered("<", *args), args[1], args[0])

    return vector(vector, low), generate


@intrinsic
def minimum(typingctx, vector, high):
    """Lane by lane the smaller one; a NaN in `vector` stays."""

    def generate(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered(">", *args), args[1], args[0])

    return vector(vector, high), generate


@intrinsic
def floor(typingctx, vector):
    """Lane by lane the largest whole number not above."""

    def generate(context, builder, signature, args):
        return _call_intrinsic(builder, "llvm.floor", args[0])

    return vector(vector), generate


@intrinsic
def quotient(typingctx, numerator, denominator):
    """Division that may use the processor's reciprocal estimate (refined; about one unit in the last place)."""

    def generate(context, builder, signature, args):
        return builder.fdiv(*args, flags=_ESTIMATE)

    return numerator(numerator, denominator), generate


def _call_intrinsic(builder, name, value):
    kind = f"v{value.type.count}f{64 if isinstance(value.type.element, ir.DoubleType) else 32}"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(value.type, [value.type]), f"{name}.{kind}")
    return builder.call(function, [value])


def _define_operator(symbol, instruction):
    @type_callable(symbol)
    def _type(context):
        def typer(a, b):
            if isinstance(a, Vector) and a == b:
                return a

        return typer

    @lower_builtin(symbol, Vector, Vector)
    def _lower(context, builder, signature, args):
        return getattr(builder, instruction)(*args, flags=_CONTRACT)


for _symbol, _instruction in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _define_operator(_symbol, _instruction)


@intrinsic
def bits_above(typingctx, vector, limit):
    """One bit a lane: is it above `limit`? A NaN is not."""

    def generate(context, builder, signature, args):
        bits = builder.bitcast(builder.fcmp_ordered(">", *args), ir.IntType(vector.width))
        return bits if vector.width == MAX_LANES else builder.zext(bits, ir.IntType(64))

    return types.uint64(vector, limit), generate


@intrinsic
def lowest_bit(typingctx, bits):
    """Index of the lowest set bit; `bits` must not be 0."""

    def generate(context, builder, signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@intrinsic
def bit_count(typingctx, bits):
    """How many bits are set."""

    def generate(context, builder, signature, args):
        return builder.ctpop(args[0])

    return types.int64(types.uint64), generate
