"""Currents: what the events of some time steps add to one row of outputs of a weight layer.

The outputs of one row and one tile over a few steps fill a block that stays in the first-level cache, and one row of the
kernel is applied at a time, so that the weights it needs stay there too. Where an output meets many events, it gathers: it
sums their weights in registers. Where it meets few, each event scatters its weights to the outputs that it reaches.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ratespike.compiled.options import INLINE, INNER
from ratespike.compiled.simd import load, repeat, store, width_of

GATHER_FROM = 2  # events that an output must meet in a row of its kernel, on average, for gathering to be faster


class _KernelRow(NamedTuple):
    """One row of the kernel as it is applied to the events of one row of the input grid in one time step."""

    number: Any  # of the row, in the kernel
    weights: Any  # of the tile
    channels: Any  # of the tile's section
    first_cell: Any  # of the grid's row and the step, in `events.start`
    output: Any  # where the step's outputs begin in the currents


@njit(**INLINE)
def _times_amount(weights, amounts, event, lanes):
    """The weights times the event's amount; no amounts: all are 1."""
    return weights if amounts is None else repeat(amounts[event], lanes) * weights


@njit(**INLINE)
def _gather(current, kernel, kernel_row, events, lanes):
    """Sum the weights of the events for every output in turn."""
    width = width_of(lanes)
    left = -kernel.padding_x  # the grid's column under the kernel's first one
    base = (kernel_row.number * kernel.width - left) * kernel_row.channels * width
    for x in range(kernel.out_width):
        first = np.uint64(events.start[np.uint64(kernel_row.first_cell + max(left, 0))])
        last = np.uint64(events.start[np.uint64(kernel_row.first_cell + min(left + kernel.width, kernel.in_width))])
        place = kernel_row.output + x * width
        total = load(current, place, lanes)
        for event in range(first, last):
            weights = load(kernel_row.weights, base + events.source[event] * width, lanes)
            total = total + _times_amount(weights, events.amount, event, lanes)
        store(current, place, total)
        left += kernel.stride_x
        base -= kernel.stride_x * kernel_row.channels * width


@njit(**INLINE)
def _scatter(current, kernel, kernel_row, events, lanes):
    """Add the weights of each event to every output that it reaches."""
    width = width_of(lanes)
    first = np.uint64(events.start[kernel_row.first_cell])
    last = np.uint64(events.start[kernel_row.first_cell + kernel.in_width])
    for event in range(first, last):
        column = events.column[event]
        for x in range(kernel.first_output[column], kernel.last_output[column] + 1):
            base = (kernel_row.number * kernel.width + kernel.padding_x - x * kernel.stride_x) * kernel_row.channels
            weights = load(kernel_row.weights, (base + events.source[event]) * width, lanes)
            place = kernel_row.output + x * width
            total = load(current, place, lanes) + _times_amount(weights, events.amount, event, lanes)
            store(current, place, total)


@njit(**INNER)
def add_events(current, kernel, events, row, steps):
    """Add to `current` (steps, pixels of the row, vector width) what the events of some time steps cause in one row."""
    width = width_of(row.lanes)
    weights = kernel.weights[row.tile]
    channels = kernel.channels[row.tile]
    top = row.y * kernel.stride_y - kernel.padding_y  # the grid's row under the kernel's first one
    for number in range(max(0, -top), min(kernel.height, kernel.in_height - top)):
        grid_row = kernel.section[row.tile] * kernel.in_height + top + number
        for step in range(steps.count):
            first_cell = (grid_row * steps.chunk_length + steps.first + step) * kernel.in_width
            n_events = events.start[first_cell + kernel.in_width] - events.start[first_cell]
            if n_events == 0:
                continue
            kernel_row = _KernelRow(number, weights, channels, first_cell, step * kernel.out_width * width)
            if n_events * kernel.width < GATHER_FROM * kernel.in_width:
                _scatter(current, kernel, kernel_row, events, row.lanes)
            else:
                _gather(current, kernel, kernel_row, events, row.lanes)
