"""From one neuron layer (or the image) to the next: the layers in between as a grid of cells and a kernel for compiled code."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from ratespike.compiled.simd import LANE_GROUP, MAX_LANES, lanes_of
from ratespike.simulation.event_driven.folding import (
    Convolution,
    Members,
    cell_members,
    fold,
    spike_height_in_cell,
    weight_stack,
)
from ratespike.simulation.event_driven.layout import Connection, InputGrid, Kernel, Shape, aligned
from ratespike.simulation.exact_sums import on_grid

_HALF = MAX_LANES // 2


@dataclass(frozen=True)
class Scaling:
    """From the source's spikes to the target's current: gain * (layers applied to spike_height * spikes) + bias."""

    spike_height: float
    gain: float = 1.0
    bias: float = 0.0


def connect(layers: Sequence[nn.Module], source: Shape, scaling: Scaling, dtype: type) -> Connection:
    """Prepare the layers between two neuron layers for compiled code.

    Args:
        layers: poolings, one weight layer, poolings; flattenings and dropouts are ignored.
        source: shape of the spikes (or image) that they are applied to.
        scaling: what is folded into weights and constants.
        dtype: of the weights.

    Raises:
        UnsupportedError: another kind of layer, or not exactly one weight layer.
    """
    stack = weight_stack(layers)
    rows = cell_members(source[1], stack.before, axis=0)
    columns = cell_members(source[2], stack.before, axis=1)
    grid_shape = (source[0], len(rows), len(columns))
    convolution = fold(stack, grid_shape)
    tiling = _tile(convolution)
    scaling = replace(scaling, spike_height=spike_height_in_cell(stack, scaling.spike_height))
    return Connection(
        grid=_input_grid(rows, columns, source, tiling.sections),
        kernel=_kernel(_scaled(convolution, scaling, dtype), grid_shape, tiling, dtype),
        out_shape=convolution.out_shape(grid_shape),
    )


def _scaled(convolution: Convolution, scaling: Scaling, dtype: type) -> Convolution:
    """The convolution with all constants, its weights rounded so that sums of them do not depend on their order."""
    weight = convolution.weight * (scaling.gain * scaling.spike_height)
    constant = convolution.bias * scaling.gain + scaling.bias
    eps = float(np.finfo(dtype).eps)
    weight_on_grid, constant_on_grid = on_grid(torch.from_numpy(weight), torch.from_numpy(constant), eps)
    return replace(convolution, weight=weight_on_grid.numpy(), bias=constant_on_grid.numpy())


@dataclass(frozen=True)
class _Tiling:
    """How the output channels are cut into tiles.

    Attributes:
        width: channels of a tile, with padding: the width of its vectors.
        sections: the ranges (first, end) of input channels that tiles read, each once.
        section_of: for each tile the number of its range.
    """

    width: int
    sections: tuple[tuple[int, int], ...]
    section_of: tuple[int, ...]


def _tile(convolution: Convolution) -> _Tiling:
    outputs = len(convolution.weight)
    width = _tile_width(outputs)
    group_outputs = outputs // convolution.groups
    group_inputs = convolution.weight.shape[1]
    ranges: list[tuple[int, int]] = []
    for first in range(0, outputs, width):
        first_group = first // group_outputs
        last_group = (min(first + width, outputs) - 1) // group_outputs
        ranges.append((first_group * group_inputs, (last_group + 1) * group_inputs))
    sections = tuple(sorted(set(ranges)))
    return _Tiling(width, sections, tuple(map(sections.index, ranges)))


def _tile_width(outputs: int) -> int:
    """16, 32 or 64: the smallest that holds all output channels, else 64."""
    if outputs > _HALF:
        return MAX_LANES
    return -(-outputs // LANE_GROUP) * LANE_GROUP


@lru_cache(maxsize=64)  # a simulation of many batches asks for the same again and again
def _input_grid(rows: Members, columns: Members, source: Shape, sections: tuple[tuple[int, int], ...]) -> InputGrid:
    """The words of every row of the grid, section by section."""
    channels, _, source_width = source
    first_word = [0]
    words: list[tuple[int, int, int, int, int]] = []  # pixel, word, mask, offset, column
    for low, high in sections:
        masks = _word_masks(low, high, channels)
        for row in rows:
            for column, members in enumerate(columns):
                for word in range(low // MAX_LANES, -(-high // MAX_LANES)):
                    offset = column * (high - low) + MAX_LANES * word - low
                    for y in row:
                        for x in members:
                            words.append((y * source_width + x, word, int(masks[word]), offset, column))
            first_word.append(len(words))
    pixel, word_of_pixel, mask, offset_of_word, column_of_word = zip(*words, strict=True)
    return InputGrid(
        sections=len(sections),
        height=len(rows),
        width=len(columns),
        first_word=np.array(first_word),
        pixel=np.array(pixel, np.int32),
        word=np.array(word_of_pixel, np.int32),
        mask=np.array(mask, np.uint64),
        offset=np.array(offset_of_word, np.int32),
        column=np.array(column_of_word, np.int32),
    )


def _word_masks(low: int, high: int, channels: int) -> np.ndarray:
    """For each word of a pixel the bits of the channels low … high - 1."""
    chosen = np.zeros(-(-channels // MAX_LANES) * MAX_LANES, np.uint8)
    chosen[low:high] = 1
    return np.packbits(chosen, bitorder="little").view(np.uint64)


def _kernel(convolution: Convolution, grid: Shape, tiling: _Tiling, dtype: type) -> Kernel:
    _, _, height, width = convolution.weight.shape
    _, out_height, out_width = convolution.out_shape(grid)
    columns = np.arange(grid[2]) + convolution.padding[1]
    first_output = -(-(columns - width + 1) // convolution.stride[1])  # rounded up
    last_output = columns // convolution.stride[1]
    section_channels = [high - low for low, high in tiling.sections]
    return Kernel(
        height=height,
        width=width,
        stride_y=convolution.stride[0],
        stride_x=convolution.stride[1],
        padding_y=convolution.padding[0],
        padding_x=convolution.padding[1],
        in_height=grid[1],
        in_width=grid[2],
        out_height=out_height,
        out_width=out_width,
        tiles=len(tiling.section_of),
        lanes=lanes_of(tiling.width),
        weights=aligned(_packed_weights(convolution, tiling).astype(dtype)),
        constant=aligned(_packed_constants(convolution, tiling).astype(dtype)),
        section=np.array(tiling.section_of),
        channels=np.array([section_channels[section] for section in tiling.section_of]),
        first_output=np.maximum(0, first_output),
        last_output=np.minimum(out_width - 1, last_output),
    )


def _packed_weights(convolution: Convolution, tiling: _Tiling) -> np.ndarray:
    """Tile by tile the weights as `Kernel` has them; a tile with fewer input channels than the largest has zeros at its end."""
    outputs, group_inputs, height, width = convolution.weight.shape
    group_outputs = outputs // convolution.groups
    most_channels = max(high - low for low, high in tiling.sections)
    packed = np.zeros((len(tiling.section_of), height * width * most_channels * tiling.width))
    for tile, section in enumerate(tiling.section_of):
        low, high = tiling.sections[section]
        weights = np.zeros((height, width, high - low, tiling.width))
        for out in range(tile * tiling.width, min((tile + 1) * tiling.width, outputs)):
            first = out // group_outputs * group_inputs - low
            lane = out - tile * tiling.width
            weights[:, :, first : first + group_inputs, lane] = convolution.weight[out].transpose(1, 2, 0)
        packed[tile, : weights.size] = weights.reshape(-1)
    return packed


def _packed_constants(convolution: Convolution, tiling: _Tiling) -> np.ndarray:
    constants = np.zeros(len(tiling.section_of) * tiling.width)
    constants[: len(convolution.bias)] = convolution.bias  # tiles are full but for the last
    return constants
