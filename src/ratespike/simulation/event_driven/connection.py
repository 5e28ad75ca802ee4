"""From one layer to another: a term as a grid of cells and a kernel for compiled code."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ratespike.compiled.simd import LANE_GROUP, MAX_LANES, lanes_of
from ratespike.simulation.event_driven.layout import Connection, InputGrid, Kernel, OutputMap, aligned
from ratespike.simulation.terms import Convolution, Members, Shape, Term

_HALF = MAX_LANES // 2


def output_map(shape: Shape) -> OutputMap:
    """The map of a layer of this shape, its channels cut into tiles."""
    channels, height, width = shape
    tile = _tile_width(channels)
    return OutputMap(height, width, -(-channels // tile), lanes_of(tile))


def connect(term: Term, dtype: type) -> Connection:
    """Prepare a term, whose scale is 1, for compiled code.

    Args:
        term: from a layer's spikes to the map of another layer.
        dtype: of the weights.
    """
    convolution = term.convolution
    assert convolution is not None and term.scale == 1
    tiling = _tile(convolution)
    return Connection(
        grid=_input_grid(term.rows, term.columns, term.map.shape, tiling.sections),
        kernel=_kernel(convolution, term.grid, tiling, dtype),
    )


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
                if not row or not members:
                    words.append((0, 0, 0, 0, column))  # an empty cell
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
    _, _, out_width = convolution.out_shape(grid)
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
        out_width=out_width,
        weights=aligned(_packed_weights(convolution, tiling).astype(dtype)),
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
    weight: np.ndarray = convolution.weight.numpy()
    for tile, section in enumerate(tiling.section_of):
        low, high = tiling.sections[section]
        weights = np.zeros((height, width, high - low, tiling.width))
        for out in range(tile * tiling.width, min((tile + 1) * tiling.width, outputs)):
            first = out // group_outputs * group_inputs - low
            lane = out - tile * tiling.width
            weights[:, :, first : first + group_inputs, lane] = weight[out].transpose(1, 2, 0)
        packed[tile, : weights.size] = weights.reshape(-1)
    return packed
