"""Vectors of a fixed width as Numba values, lowered to portable LLVM vectors.

A loop over a width known only at run time is set up anew at every call and gets half-width registers by default. Here the
width is part of a type: `lanes` (see `lanes_of`) is a tuple of nothing but None, and its *length* says how many elements a
vector has. LLVM splits or joins the vectors to the registers of the machine. Comparisons give one bit for each lane, the
lowest for lane 0, in a uint64.

Each function has the two halves that Numba's `intrinsic` asks for: the types of arguments and result, and a `generate` that
writes the instructions.
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
        self.dtype = dtype
        self.width = width
        super().__init__(name=f"Vector({dtype}, {width})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        element = manager.lookup(vector.dtype).get_value_type()
        super().__init__(manager, vector, ir.VectorType(element, vector.width))


def _address(context, builder, array_type, array, offset, width):
    """The address of the vector that begins at an element of an array."""
    data = cgutils.create_struct_proxy(array_type)(context, builder, value=array).data
    vector = ir.VectorType(context.get_data_type(array_type.dtype), width)
    return builder.bitcast(builder.gep(data, [offset]), vector.as_pointer())


def _mask(builder, bits, width):
    """The bits of a word as a vector of truth values, lane by lane."""
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
        undefined = ir.Constant(ir.VectorType(args[0].type, vector.width), ir.Undefined)
        first = builder.insert_element(undefined, args[0], ir.Constant(ir.IntType(32), 0))
        from_lane = ir.Constant(ir.VectorType(ir.IntType(32), vector.width), [0] * vector.width)
        return builder.shuffle_vector(first, undefined, from_lane)

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
        value = args[0]
        suffix = f"v{vector.width}f{vector.dtype.bitwidth}"
        function_type = ir.FunctionType(value.type, [value.type])
        function = cgutils.get_or_insert_function(builder.module, function_type, f"llvm.floor.{suffix}")
        return builder.call(function, [value])

    return vector(vector), generate


@intrinsic
def quotient(typingctx, numerator, denominator):
    """Division that may use the processor's reciprocal estimate (refined; about one unit in the last place)."""

    def generate(context, builder, signature, args):
        return builder.fdiv(*args, flags=_ESTIMATE)

    return numerator(numerator, denominator), generate


def _define_operator(symbol, instruction):
    """Let Numba compile `a + b` and the like for two vectors of one type."""

    @type_callable(symbol)
    def _type(context):
        def typer(a, b):
            if isinstance(a, Vector) and a == b:
                return a

        return typer

    @lower_builtin(symbol, Vector, Vector)
    def _lower(context, builder, signature, args):
        return getattr(builder, instruction)(*args, flags=_CONTRACT)


_define_operator(operator.add, "fadd")
_define_operator(operator.sub, "fsub")
_define_operator(operator.mul, "fmul")


@intrinsic
def bits_above(typingctx, vector, limit):
    """One bit a lane: is it above `limit`? A NaN is not."""

    def generate(context, builder, signature, args):
        bits = builder.bitcast(builder.fcmp_ordered(">", *args), ir.IntType(vector.width))
        if vector.width == MAX_LANES:
            return bits
        return builder.zext(bits, ir.IntType(64))

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
