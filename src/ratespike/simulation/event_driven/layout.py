"""How a network, its state and its spikes lie in memory: the NamedTuples that the compiled kernels receive.

A layer is a map of *pixels* with some channels at each; a dense layer has one pixel. The channels are cut into *tiles* of up
to 64, and a tile is padded to the width of a vector, so that one vector holds a pixel's neurons of one tile and one word of 64
bits says which of them spike. Neurons are ordered by pixel, then tile, then channel.

The input of a connection is a grid of *cells*. A cell is one pixel of the layer before, all the pixels that a pooling averages,
or none. With groups, a tile reads a *section* of the input channels only.

A thread simulates a *block* of images at a time, and a layer for a *chunk* of time steps before the next layer follows.

Numba compiles a function anew for each type of its arguments. `lanes` (see `ratespike.compiled.simd.lanes_of`) carries the
width of the vectors in its type, so it travels as a field of the tuples that need it.
"""

from typing import Any, NamedTuple

import numpy as np

from ratespike.compiled.simd import LANE_GROUP

Shape = tuple[int, int, int]  # channels, height, width


class InputGrid(NamedTuple):
    """The cells of a connection's input, and the words of spikes that each of their rows is made of.

    The words of a row are ordered by cell. A cell that averages several pixels has the words of all of them.
    """

    sections: int
    height: int
    width: int
    first_word: Any  # (sections * height + 1,) int64: where the words of a row begin in the arrays below
    pixel: Any  # (words,) int32: of the layer before
    word: Any  # (words,) int32: channels 64 * word … of the pixel
    mask: Any  # (words,) uint64: the bits that belong to the section
    offset: Any  # (words,) int32: the source (see `Events`) that the word's bit 0 stands for
    column: Any  # (words,) int32: of the cell


class Kernel(NamedTuple):
    """A convolution from the input grid to the output map; a dense layer's kernel covers the whole grid."""

    height: int
    width: int
    stride_y: int
    stride_x: int
    padding_y: int
    padding_x: int
    in_height: int
    in_width: int
    out_width: int
    weights: Any  # (tiles, height * width * section channels * vector width)
    section: Any  # (tiles,) int64: the section that a tile reads
    channels: Any  # (tiles,) int64: channels of that section
    first_output: Any  # (in_width,) int64: the outputs x that a column of the grid reaches
    last_output: Any  # (in_width,) int64


class Connection(NamedTuple):
    """What the spikes of one layer add to the currents of another, or to the outputs."""

    grid: InputGrid
    kernel: Kernel


class OutputMap(NamedTuple):
    """The map of the neurons, or outputs, that are computed."""

    height: int
    width: int
    tiles: int
    lanes: Any


class AtRest(NamedTuple):
    """The currents without any event, with what to add to an index for the next image, step, tile, row and pixel.

    A stride is 0 where the currents do not change.
    """

    values: Any  # flat; a vector for each tile and whatever else changes
    first_step: int  # the step of a chunk's beginning, counted in `values`
    image: int
    step: int
    tile: int
    row: int
    pixel: int


class FilterCoefficients(NamedTuple):
    """A second-order filter: y[t] = b0·u[t] + b1·u[t-1] + a1·y[t-1] + a2·y[t-2]; each a scalar of the data type."""

    b0: Any
    b1: Any
    a1: Any
    a2: Any


class Layer(NamedTuple):
    """A layer of neurons, or the output layer, for the kernels."""

    map: OutputMap
    connection: Any  # the `Connection` that is added last, or that from the image; None if neither leads to the layer
    filter: Any  # FilterCoefficients of what the connection adds, or None
    neuron: Any  # the constants of the neuron's compiled step, such as `LIFStep`; None for the output layer
    weights_met: Any  # int64, how many weights a spike meets: (pixels * tiles,), or of each neuron; None for the output layer


class NeuronState(NamedTuple):
    """What neurons remember between time steps, for each image of a block; the kernels' loops see it for one image."""

    voltage: Any  # (images, neurons)
    refractory: Any  # (images, words) uint64: who is in its refractory time
    waking: Any  # (images, words * ring) uint64: who leaves it in which of the next steps, in a ring of words
    waking_share: Any  # (images, neurons): `share` (see `LIFStep`) of the step in which the neuron leaves it
    sent: Any  # (images, neurons): positive spikes minus negative ones so far; length 0 without negative spikes


class Spikes(NamedTuple):
    """Spikes of a neuron layer in one chunk, for each image of a block; the kernels' loops see them for one image."""

    bits: Any  # (images, steps, pixels, tiles) uint64, one bit a neuron
    counts: Any  # (images, steps, pixels, tiles * vector width); None for neurons that spike at most once in a step


class Events(NamedTuple):
    """The spikes of a chunk, or the values of an image, listed in the order in which the connection reads them.

    The order is: section, row of the input grid, time step, column. The events of a cell lie one after the other, and so do
    those of neighbouring columns.
    """

    start: Any  # (sections * height * steps * width + 1,) int32: where the events of a cell begin in the arrays below
    source: Any  # (events,) int32: column * channels of the section + channel in the section
    column: Any  # (events,) int32
    amount: Any  # (events,) the factor of the event's weights, or None if all are 1


class PoolMemory(NamedTuple):
    """A max pooling of spikes: its windows, and what it remembers of each image of a block."""

    first: Any  # (windows + 1,) int64: where the pixels of a window begin in `pixel`
    pixel: Any  # int64, of the source
    arrived: Any  # (images, neurons of the source) int64: spikes so far
    left: Any  # (images, neurons of the pool) int64: spikes so far
    lanes: Any  # of source and pool


class LayerMemory(NamedTuple):
    """The memory of one thread for one layer: state that lasts from chunk to chunk, and scratch."""

    state: Any  # NeuronState; None for the output layer
    filtered: Any  # (images, 2, outputs): state of the filter; length 0 without one
    events: Any  # Events of the connection; None without one
    current: Any  # (steps, pixels of a row, vector width), flat: the currents of one row and tile over some steps
    precise: Any = None  # (pixels of a row * vector width,) float64: currents from images before rounding; else None


class Statistics(NamedTuple):
    """Counts of one layer in one chunk."""

    spike_counts: Any  # (steps, images) int64
    operations: Any  # (steps, images) int64: weights that the spikes meet


class Row(NamedTuple):
    """The pixels and channels that are computed together: one row of a layer's map, one tile."""

    tile: Any
    tiles: Any
    y: Any
    pixels: Any  # in the row
    lanes: Any


class Steps(NamedTuple):
    """The time steps that are computed together: a stretch of a chunk."""

    first: Any  # counted from the start of the chunk
    count: Any
    chunk_start: Any  # counted from the start of the simulation
    chunk_length: Any


class Currents(NamedTuple):
    """The input currents of a row of neurons."""

    values: Any  # (steps, pixels of the row, vector width), flat
    step_stride: Any  # from one step to the next in `values`; 0 if the currents do not change


def aligned(array: np.ndarray) -> np.ndarray:
    """A copy that begins on a cache line, so that no vector straddles two."""
    buffer = np.empty(array.nbytes + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    copy = buffer[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def vector_width(target: OutputMap) -> int:
    """Channels of a tile, with padding."""
    return LANE_GROUP * len(target.lanes)


def padded_neurons(target: OutputMap) -> int:
    """Neurons of a map, with the padding of its tiles."""
    return target.height * target.width * target.tiles * vector_width(target)
