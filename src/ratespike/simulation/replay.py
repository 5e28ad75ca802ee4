"""One operation of a traced network again, for other values."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ratespike.simulation.tracing import Operation, Value, mapped

_aten = torch.ops.aten

VIEWS = {_aten.view, _aten._unsafe_view, _aten.reshape, _aten._reshape_alias}

# Operations whose results are values of their inputs, in other places.
CHOICES = VIEWS | {
    _aten.alias,
    _aten.cat,
    _aten.clone,
    _aten.constant_pad_nd,
    _aten.contiguous,
    _aten.detach,
    _aten.expand,
    _aten.flip,
    _aten.index,
    _aten.index_select,
    _aten.permute,
    _aten.pixel_shuffle,
    _aten.pixel_unshuffle,
    _aten.reflection_pad1d,
    _aten.reflection_pad2d,
    _aten.reflection_pad3d,
    _aten.replication_pad1d,
    _aten.replication_pad2d,
    _aten.replication_pad3d,
    _aten.repeat,
    _aten.roll,
    _aten.select,
    _aten.slice,
    _aten.split,
    _aten.split_with_sizes,
    _aten.squeeze,
    _aten.stack,
    _aten.t,
    _aten.transpose,
    _aten.unbind,
    _aten.unfold,
    _aten.unsqueeze,
    _aten.upsample_nearest1d,
    _aten.upsample_nearest2d,
    _aten.upsample_nearest3d,
}


def apply_to(operation: Operation, values: Callable[[Value], Tensor], constants: bool = False) -> Any:
    """The result of an operation for other values, in float64, as far as it depends on them.

    Args:
        operation: of a trace, linear in its values.
        values: what stands for a value: a batch of any length.
        constants: whether tensors that depend on nothing count, such as one that is concatenated; else zeros stand for them.
            What they multiply is multiplied in both cases.
    """
    value = operation.inputs[0]
    replacement = values(value)
    result = operation.results[0]
    assert result is not None
    if operation.function.overloadpacket in VIEWS:
        rows, left_over = divmod(len(replacement) * result.shape[0], value.shape[0])
        assert not left_over
        return replacement.reshape(rows, *result.shape[1:])
    if operation.function.overloadpacket is _aten.expand:
        return replacement.expand(len(replacement), *result.shape[1:])

    def replaced(item: Any) -> Any:
        if isinstance(item, Value):
            return values(item)
        if not isinstance(item, Tensor) or not item.is_floating_point():
            return item
        constant = item.detach().cpu().double()
        if operation.function.overloadpacket in CHOICES and constant.dim() == replacement.dim():
            constant = constant[:1].expand(len(replacement), *constant.shape[1:])
            return constant if constants else torch.zeros_like(constant)
        return constant

    given = operation.args
    if operation.function.overloadpacket is _aten.constant_pad_nd:
        given = given[:2]  # with 0, as far as it depends on the value
    args, kwargs = mapped(replaced, (given, operation.kwargs))
    return operation.function(*args, **kwargs)
