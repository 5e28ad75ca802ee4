"""Poolings and the weight layer between them become one convolution on a grid of cells.

An average pooling in front of the weight layer needs no arithmetic on spikes: it says which pixels make up a cell of the grid
that the convolution reads, and its division goes into the weights. An average pooling behind the weight layer goes into the
convolution, whose kernel grows by it. A dense layer is a convolution with a kernel as large as the grid.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from torch import Tensor, nn

from ratespike.simulation.event_driven.errors import UnsupportedError
from ratespike.simulation.event_driven.layout import Shape

Pair = tuple[int, int]  # vertical, horizontal
Members = tuple[tuple[int, ...], ...]  # for each index along an axis of the grid: indices along that axis of the source


@dataclass(frozen=True)
class Pooling:
    """An average pooling that divides by its size everywhere, at the border too."""

    size: Pair
    stride: Pair
    padding: Pair


@dataclass(frozen=True)
class Convolution:
    """A weight layer in float64.

    Attributes:
        weight: shape (out, in / groups, height, width).
        bias: shape (out,).
        stride: of the kernel on the grid.
        padding: zeros around the grid.
        groups: of channels.
    """

    weight: np.ndarray
    bias: np.ndarray
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    groups: int = 1

    def out_shape(self, grid: Shape) -> Shape:
        """Channels, height and width of the output for a grid of this shape."""
        channels, _, height, width = self.weight.shape
        rows = (grid[1] + 2 * self.padding[0] - height) // self.stride[0] + 1
        columns = (grid[2] + 2 * self.padding[1] - width) // self.stride[1] + 1
        return channels, rows, columns


@dataclass(frozen=True)
class WeightStack:
    """Layers without memory between two neuron layers: poolings, one weight layer, poolings."""

    before: tuple[Pooling, ...]
    weight_layer: nn.Conv2d | nn.Linear
    after: tuple[Pooling, ...]


def weight_stack(layers: Sequence[nn.Module]) -> WeightStack:
    """Find the weight layer and the poolings around it.

    Raises:
        UnsupportedError: another kind of layer, or not exactly one weight layer.
    """
    layers = [layer for layer in layers if not isinstance(layer, nn.Flatten | nn.Dropout | nn.Identity)]
    places = [number for number, layer in enumerate(layers) if isinstance(layer, nn.Conv2d | nn.Linear)]
    if len(places) != 1:
        raise UnsupportedError(f"{len(places)} weight layers between neurons, where it takes one")
    before = tuple(map(_pooling, layers[: places[0]]))
    after = tuple(map(_pooling, layers[places[0] + 1 :]))
    weight_layer = layers[places[0]]
    assert isinstance(weight_layer, nn.Conv2d | nn.Linear)
    return WeightStack(before, weight_layer, after)


def _pooling(layer: nn.Module) -> Pooling:
    if not isinstance(layer, nn.AvgPool2d) or layer.ceil_mode or layer.divisor_override or not layer.count_include_pad:
        raise UnsupportedError(f"the layer {layer}")
    return Pooling(_pair(layer.kernel_size), _pair(layer.stride), _pair(layer.padding))


def _pair(value: int | tuple[int, ...]) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def cell_members(extent: int, pools: Sequence[Pooling], axis: int) -> Members:
    """For each index along a pooled axis, the indices of the source that its windows cover.

    An index stands there as often as it counts: twice if two windows of a later pooling's window cover it.

    Args:
        extent: of the source along the axis.
        pools: applied in this order.
        axis: 0 for vertical, 1 for horizontal.
    """
    members: list[tuple[int, ...]] = [(i,) for i in range(extent)]
    for pool in pools:
        size, stride, padding = pool.size[axis], pool.stride[axis], pool.padding[axis]
        pooled: list[tuple[int, ...]] = []
        for start in range(-padding, len(members) + padding - size + 1, stride):
            window = members[max(0, start) : start + size]
            pooled.append(tuple(chain.from_iterable(window)))
        members = pooled
    return tuple(members)


def fold(stack: WeightStack, grid: Shape) -> Convolution:
    """The weight layer and the poolings behind it as one convolution on a grid of this shape.

    Raises:
        UnsupportedError: a border that is not zeros, or a pooling with padding behind the weight layer.
    """
    if isinstance(stack.weight_layer, nn.Linear):
        convolution = _from_linear(stack.weight_layer, grid)
    else:
        convolution = _from_convolution(stack.weight_layer)
    for pool in stack.after:
        convolution = _with_pooling(convolution, pool)
    return convolution


def spike_height_in_cell(stack: WeightStack, spike_height: float) -> float:
    """What one spike of a pixel adds to its cell, where the pixel's spike has this height."""
    for pool in stack.before:
        spike_height /= math.prod(pool.size)
    return spike_height


def _from_linear(layer: nn.Linear, grid: Shape) -> Convolution:
    weight = _array(layer.weight)
    return Convolution(weight.reshape(-1, *grid), _bias(layer))


def _from_convolution(layer: nn.Conv2d) -> Convolution:
    if layer.padding_mode != "zeros":
        raise UnsupportedError(f"the layer {layer}")
    weight = _dilated(_array(layer.weight), _pair(layer.dilation))
    padding: Pair = (0, 0)
    if layer.padding == "same":
        # PyTorch gives an even kernel one more zero at the bottom and right. A kernel of one more row and column, which are
        # zero and come first, does the same with equal borders on both sides.
        missing = [(1 - size % 2, 0) for size in weight.shape[2:]]
        weight = np.pad(weight, ((0, 0), (0, 0), *missing))
        padding = (weight.shape[2] // 2, weight.shape[3] // 2)
    elif not isinstance(layer.padding, str):
        padding = _pair(layer.padding)
    return Convolution(weight, _bias(layer), _pair(layer.stride), padding, layer.groups)


def _array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().cpu().double().numpy()
    return array


def _bias(layer: nn.Conv2d | nn.Linear) -> np.ndarray:
    if layer.bias is None:
        return np.zeros(len(layer.weight))
    return _array(layer.bias)


def _dilated(weight: np.ndarray, dilation: Pair) -> np.ndarray:
    """The kernel with zeros between its weights."""
    outputs, inputs, height, width = weight.shape
    spread = np.zeros((outputs, inputs, (height - 1) * dilation[0] + 1, (width - 1) * dilation[1] + 1))
    spread[:, :, :: dilation[0], :: dilation[1]] = weight
    return spread


def _with_pooling(convolution: Convolution, pool: Pooling) -> Convolution:
    """A convolution and the average pooling behind it as one convolution with a larger kernel."""
    if pool.padding != (0, 0):
        raise UnsupportedError("a pooling with padding behind a weight layer")
    outputs, inputs, height, width = convolution.weight.shape
    down, right = convolution.stride
    weight = np.zeros((outputs, inputs, height + (pool.size[0] - 1) * down, width + (pool.size[1] - 1) * right))
    for y in range(pool.size[0]):
        for x in range(pool.size[1]):
            weight[:, :, y * down : y * down + height, x * right : x * right + width] += convolution.weight
    weight /= math.prod(pool.size)
    return replace(convolution, weight=weight, stride=(down * pool.stride[0], right * pool.stride[1]))
