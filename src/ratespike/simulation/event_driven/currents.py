"""Currents: what the events of some time steps add to one row of outputs of a weight layer.

The outputs of one row and one tile (up to 64 channels) over a few steps fill a block that stays in the first-level
cache, and one row of the kernel is applied at a time, so that the weights it needs stay there too. Where an output
meets many events, it sums their weights in registers; where few, each event adds its weights to the outputs it reaches.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ratespike.compiled.options import BORROW, INLINE
from ratespike.compiled.simd import load, repeat, store, width_of

GATHER_FROM = 2  # events an output must meet in a row of its kernel, on average, for summing in registers to be faster


class Kernel(NamedTuple):
    """Geometry of a weight layer as a convolution; a dense layer's kernel covers its whole input."""

    height: int
    width: int
    stride_y: int
    stride_x: int
    padding_y: int
    padding_x: int
    out_height: int
    out_width: int
    tiles: int
    weights: Any  # (tiles, height * width * section channels * lanes)
    section: Any  # (tiles,) int64: the section of input channels a tile reads
    channels: Any  # (tiles,) int64: channels in that section
    constant: Any  # (tiles, lanes): current without any event
    first_output: Any  # (input width,) int64: the outputs that a column reaches
    last_output: Any  # (input width,) int64


@njit(**INLINE)
def _gather(
    current,
    block,
    outputs,
    weights,
    base,
    left,
    stride,
    kernel_width,
    input_width,
    channels,
    start,
    begin,
    source,
    amount,
    lanes,
):
    """Sum the weights of the events of one row and step for every output in turn."""
    width = width_of(lanes)
    for x in range(outputs):
        first = np.uint64(start[np.uint64(begin + max(left, 0))])
        last = np.uint64(start[np.uint64(begin + min(left + kernel_width, input_width))])
        place = block + x * width
        total = load(current, place, lanes)
        for e in range(first, last):
            row = load(weights, base + source[e] * width, lanes)
            total = total + row if amount is None else total + repeat(amount[e], lanes) * row
        store(current, place, total)
        left += stride
        base -= stride * channels * width


@njit(**INLINE)
def _scatter(current, block, weights, kernel, kernel_row, channels, first, last, source, column_of, amount, lanes):
    """Add the weights of each of the events first … last - 1 to every output it reaches."""
    width = width_of(lanes)
    for e in range(np.uint64(first), np.uint64(last)):
        column = column_of[e]
        for x in range(kernel.first_output[column], kernel.last_output[column] + 1):
            base = (kernel_row * kernel.width + kernel.padding_x - x * kernel.stride_x) * channels
            row = load(weights, (base + source[e]) * width, lanes)
            if amount is not None:
                row = repeat(amount[e], lanes) * row
            place = block + x * width
            store(current, place, load(current, place, lanes) + row)


@njit(**BORROW)
def add_events(current, kernel, cells, events, tile, out_y, first_step, steps, total_steps, lanes):
    """Add what the events of the steps from `first_step` on cause in output row `out_y` to `current`.

    `current` has shape (steps, out_width, lanes).
    """
    width = width_of(lanes)
    weights, channels = kernel.weights[tile], kernel.channels[tile]
    top = out_y * kernel.stride_y - kernel.padding_y
    for kernel_row in range(max(0, -top), min(kernel.height, cells.height - top)):
        line = (kernel.section[tile] * cells.height + top + kernel_row) * total_steps + first_step
        for step in range(steps):
            begin = (line + step) * cells.width
            first, last = events.start[begin], events.start[begin + cells.width]
            block = step * kernel.out_width * width
            if first == last:
                continue
            if (last - first) * kernel.width < GATHER_FROM * cells.width:
                _scatter(
                    current,
                    block,
                    weights,
                    kernel,
                    kernel_row,
                    channels,
                    first,
                    last,
                    events.source,
                    events.column,
                    events.amount,
                    lanes,
                )
                continue
            left = -kernel.padding_x
            base = (kernel_row * kernel.width - left) * channels * width
            _gather(
                current,
                block,
                kernel.out_width,
                weights,
                base,
                left,
                kernel.stride_x,
                kernel.width,
                cells.width,
                channels,
                events.start,
                begin,
                events.source,
                events.amount,
                lanes,
            )
