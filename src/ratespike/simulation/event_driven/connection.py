"""From one neuron layer (or the image) to the next: poolings and one weight layer, folded into one kernel on one grid."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from ratespike.compiled.simd import LANE_GROUP, MAX_LANES
from ratespike.simulation.event_driven.currents import Kernel
from ratespike.simulation.event_driven.events import Cells
from ratespike.simulation.exact_sums import on_grid

Shape = tuple[int, int, int]  # channels, height, width


@dataclass(frozen=True)
class Connection:
    """A weight layer with what stands before and behind it."""

    cells: Cells
    kernel: Kernel
    lanes: int
    out_shape: Shape


@dataclass(frozen=True)
class _Convolution:
    """`weight` (out, in / groups, height, width), `bias` (out,); a pair is (vertical, horizontal)."""

    weight: np.ndarray
    bias: np.ndarray
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: int = 1


class UnsupportedError(Exception):
    """The event-driven engine cannot run this network; the message says what it cannot run."""


def aligned(array: np.ndarray) -> np.ndarray:
    """A copy that begins on a cache line, so that no vector straddles two."""
    buffer = np.empty(array.nbytes + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    copy = buffer[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def connect(layers: Sequence[nn.Module], shape: Shape, scale: float, gain: float, bias: float, dtype: type) -> Connection:
    """Fold `layers` (poolings, one weight layer, poolings), applied to a source of `shape`.

    The current of the target is gain * (layers applied to scale * source) + bias.

    Raises:
        UnsupportedError: another kind of layer, or not one weight layer.
    """
    layers = [layer for layer in layers if not isinstance(layer, nn.Flatten | nn.Dropout | nn.Identity)]
    where = [number for number, layer in enumerate(layers) if isinstance(layer, nn.Conv2d | nn.Linear)]
    if len(where) != 1:
        raise UnsupportedError(f"{len(where)} weight layers between neurons, where it takes one")
    before, behind = layers[: where[0]], layers[where[0] + 1 :]
    rows, columns = _members(shape[1], before, 0), _members(shape[2], before, 1)
    grid = (shape[0], len(rows), len(columns))
    convolution = _as_convolution(layers[where[0]], grid)
    for pool in behind:
        convolution = _pooled(convolution, grid, pool)
    out_shape = (len(convolution.weight), _extent(grid[1], convolution, 0), _extent(grid[2], convolution, 1))
    for pool in before:
        scale /= math.prod(_pooling(pool)[0])
    lanes = min(MAX_LANES, -(-out_shape[0] // LANE_GROUP) * LANE_GROUP)
    lanes = MAX_LANES if lanes > MAX_LANES // 2 else lanes  # 16, 32 or 64
    sections, section_of = _sections(convolution, lanes)
    convolution = _on_grid(convolution, gain * scale, gain, bias, dtype)
    return Connection(
        cells=_cells(rows, columns, shape, tuple(sections)),
        kernel=_kernel(convolution, grid, out_shape, sections, section_of, lanes, dtype),
        lanes=lanes,
        out_shape=out_shape,
    )


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _pooling(layer: nn.Module) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Size, stride and padding of an average pooling that divides by its size everywhere."""
    if not isinstance(layer, nn.AvgPool2d) or layer.ceil_mode or layer.divisor_override or not layer.count_include_pad:
        raise UnsupportedError(f"the layer {layer}")
    return _pair(layer.kernel_size), _pair(layer.stride), _pair(layer.padding)


def _members(extent: int, pools: Sequence[nn.Module], axis: int) -> tuple[tuple[int, ...], ...]:
    """For each index of the pooled axis the source indices in its windows (twice if pooled twice into it)."""
    members = [[i] for i in range(extent)]
    for pool in pools:
        size, stride, padding = (pair[axis] for pair in _pooling(pool))
        count = (len(members) + 2 * padding - size) // stride + 1
        windows = [range(max(0, i * stride - padding), min(len(members), i * stride - padding + size)) for i in range(count)]
        members = [[source for i in window for source in members[i]] for window in windows]
    return tuple(tuple(sources) for sources in members)


def _as_convolution(layer: nn.Module, grid: Shape) -> _Convolution:
    """A weight layer in float64; a dense one as a convolution with a kernel that covers the grid."""
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    weight = _array(layer.weight)
    bias = np.zeros(len(weight)) if layer.bias is None else _array(layer.bias)
    if isinstance(layer, nn.Linear):
        return _Convolution(weight.reshape(-1, *grid), bias)
    if layer.padding_mode != "zeros":
        raise UnsupportedError(f"the layer {layer}")
    weight = _dilated(weight, _pair(layer.dilation))
    if layer.padding == "same":  # an even kernel reaches one further to the right: as wide to the left, but with zeros
        weight = np.pad(weight, ((0, 0), (0, 0), *((1 - size % 2, 0) for size in weight.shape[2:])))
        padding = (weight.shape[2] // 2, weight.shape[3] // 2)
    else:
        padding = (0, 0) if isinstance(layer.padding, str) else _pair(layer.padding)
    return _Convolution(weight, bias, _pair(layer.stride), padding, layer.groups)


def _dilated(weight: np.ndarray, dilation: tuple[int, int]) -> np.ndarray:
    """The kernel with zeros between its weights."""
    height, width = ((size - 1) * step + 1 for size, step in zip(weight.shape[2:], dilation, strict=True))
    spread = np.zeros((*weight.shape[:2], height, width))
    spread[:, :, :: dilation[0], :: dilation[1]] = weight
    return spread


def _array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().cpu().double().numpy()
    return array


def _extent(size: int, layer: _Convolution, axis: int) -> int:
    return (size + 2 * layer.padding[axis] - int(layer.weight.shape[2 + axis])) // layer.stride[axis] + 1


def _pooled(layer: _Convolution, grid: Shape, pool: nn.Module) -> _Convolution:
    """A convolution and the average pooling behind it as one convolution with a larger kernel."""
    size, stride, padding = _pooling(pool)
    if padding != (0, 0):
        raise UnsupportedError("a pooling with padding behind a weight layer")
    height, width = (layer.weight.shape[2 + axis] + (size[axis] - 1) * layer.stride[axis] for axis in (0, 1))
    weight = np.zeros((*layer.weight.shape[:2], height, width))
    for y in range(size[0]):
        for x in range(size[1]):
            top, left = y * layer.stride[0], x * layer.stride[1]
            weight[:, :, top : top + layer.weight.shape[2], left : left + layer.weight.shape[3]] += layer.weight
    weight /= size[0] * size[1]
    stride = (layer.stride[0] * stride[0], layer.stride[1] * stride[1])
    return _Convolution(weight, layer.bias, stride, layer.padding, layer.groups)


def _on_grid(layer: _Convolution, weight_scale: float, gain: float, bias: float, dtype: type) -> _Convolution:
    """The layer with all constants, its weights rounded so that sums do not depend on their order."""
    weight, constant = layer.weight * weight_scale, layer.bias * gain + bias
    rounded = on_grid(torch.from_numpy(weight), torch.from_numpy(constant), float(np.finfo(dtype).eps))
    return replace(layer, weight=rounded[0].numpy(), bias=rounded[1].numpy())


def _sections(layer: _Convolution, lanes: int) -> tuple[list[tuple[int, int]], list[int]]:
    """The ranges of input channels that tiles of `lanes` outputs read, and for each tile the number of its range."""
    per_group_out, per_group_in = len(layer.weight) // layer.groups, layer.weight.shape[1]
    ranges = []
    for first in range(0, len(layer.weight), lanes):
        last = min(first + lanes, len(layer.weight)) - 1
        ranges.append((first // per_group_out * per_group_in, (last // per_group_out + 1) * per_group_in))
    sections = sorted(set(ranges))
    return sections, [sections.index(r) for r in ranges]


@lru_cache(maxsize=64)  # a simulation of many batches asks for the same again and again
def _cells(
    rows: tuple[tuple[int, ...], ...], columns: tuple[tuple[int, ...], ...], shape: Shape, sections: tuple[tuple[int, int], ...]
) -> Cells:
    """The words of every row of the grid, section by section."""
    begin, words = [0], []
    for low, high in sections:
        masks = _word_masks(low, high, shape[0])
        for group in rows:
            for x, members in enumerate(columns):
                for w in range(low // MAX_LANES, -(-high // MAX_LANES)):
                    offset = x * (high - low) + MAX_LANES * w - low
                    words += [(y * shape[2] + source, w, masks[w], offset, x) for y in group for source in members]
            begin.append(len(words))
    pixel, word, mask, offset, column = zip(*words, strict=True)  # type: ignore[assignment]
    return Cells(
        sections=len(sections),
        height=len(rows),
        width=len(columns),
        row=np.array(begin),
        pixel=np.array(pixel, np.int32),
        word=np.array(word, np.int32),
        mask=np.array(mask, np.uint64),
        offset=np.array(offset, np.int32),
        column=np.array(column, np.int32),
    )


def _word_masks(low: int, high: int, channels: int) -> np.ndarray:
    chosen = np.zeros(-(-channels // MAX_LANES) * MAX_LANES, np.uint8)
    chosen[low:high] = 1
    return np.packbits(chosen, bitorder="little").view(np.uint64)


def _kernel(layer, grid, out_shape, sections, section_of, lanes, dtype) -> Kernel:
    outputs, per_group, height, width = layer.weight.shape
    span = max(high - low for low, high in sections)
    constants = np.zeros((len(section_of), lanes))
    packed = np.zeros((len(section_of), height * width * span * lanes))
    for tile, section in enumerate(section_of):
        low, high = sections[section]
        rows = np.zeros((height, width, high - low, lanes))
        for lane, out in enumerate(range(tile * lanes, min((tile + 1) * lanes, outputs))):
            first = out // (outputs // layer.groups) * per_group - low
            rows[:, :, first : first + per_group, lane] = layer.weight[out].transpose(1, 2, 0)
            constants[tile, lane] = layer.bias[out]
        packed[tile, : rows.size] = rows.reshape(-1)
    columns = np.arange(grid[2]) + layer.padding[1]
    return Kernel(
        height=height,
        width=width,
        stride_y=layer.stride[0],
        stride_x=layer.stride[1],
        padding_y=layer.padding[0],
        padding_x=layer.padding[1],
        out_height=out_shape[1],
        out_width=out_shape[2],
        tiles=len(section_of),
        weights=aligned(packed.astype(dtype)),
        section=np.array(section_of),
        channels=np.array([sections[s][1] - sections[s][0] for s in section_of]),
        constant=aligned(constants.astype(dtype).reshape(-1)),
        first_output=np.maximum(0, -(-(columns - width + 1) // layer.stride[1])),
        last_output=np.minimum(out_shape[2] - 1, columns // layer.stride[1]),
    )
