"""Spikes and pixels become lists of events, in the order in which the next connection reads them."""

import numpy as np
from numba import njit

from ratespike.compiled.options import INLINE, INNER
from ratespike.compiled.simd import bit_count, lowest_bit

_ONE = np.uint64(1)
UNROLLED = 3  # bits of a word listed without a check that they are set; a word seldom has more
SLACK = 64  # entries beyond the last event that may be overwritten


@njit(**INLINE)
def _append(events, n, bits, offset, column):
    """List the set bits of a word from place `n` on; returns the place behind them."""
    end = n + np.uint64(bit_count(bits))
    for _ in range(UNROLLED):  # once no bit is left, it writes what the next word overwrites
        events.source[n] = offset + bit_count(~bits & (bits - _ONE))
        events.column[n] = column
        bits &= bits - _ONE
        n += _ONE
    while bits != 0:
        events.source[n] = offset + lowest_bit(bits)
        events.column[n] = column
        bits &= bits - _ONE
        n += _ONE
    return end


@njit(**INLINE)
def _set_amounts(events, first, last, counts_of_pixel, first_channel):
    """Copy the spike counts of events first … last - 1 to their amounts."""
    for event in range(first, last):
        events.amount[event] = counts_of_pixel[first_channel + events.source[event]]


@njit(**INNER)
def list_spikes(bits, counts, grid, events):
    """List the spikes of one image: `bits` (steps, pixels, words), `counts` (steps, pixels, channels) or None."""
    n = np.uint64(0)  # events so far
    cells = np.uint64(0)  # cells in the rows and steps so far
    events.start[cells] = 0
    for row in range(grid.sections * grid.height):
        for step in range(bits.shape[0]):
            for i in range(np.uint64(grid.first_word[row]), np.uint64(grid.first_word[row + 1])):
                column = np.uint64(grid.column[i])
                pixel = np.uint64(grid.pixel[i])
                word = bits[step, pixel, np.uint64(grid.word[i])] & grid.mask[i]
                if word != 0:
                    first = n
                    n = _append(events, n, word, grid.offset[i], column)
                    if counts is not None:
                        _set_amounts(events, first, n, counts[step, pixel], 64 * grid.word[i] - grid.offset[i])
                events.start[cells + column + _ONE] = n
            cells += np.uint64(grid.width)


@njit(**INNER)
def list_values(image, grid, events):
    """List the values of an image (channels, pixels) that are not 0, as events of a single step."""
    n = 0  # events so far
    cells = 0  # cells in the rows so far
    events.start[cells] = 0
    for row in range(grid.sections * grid.height):
        for i in range(grid.first_word[row], grid.first_word[row + 1]):
            channels = grid.mask[i]
            while channels != 0:
                bit = lowest_bit(channels)
                channels &= channels - _ONE
                value = image[64 * grid.word[i] + bit, grid.pixel[i]]
                if value != 0:
                    events.source[n] = grid.offset[i] + bit
                    events.column[n] = grid.column[i]
                    events.amount[n] = value
                    n += 1
            events.start[cells + grid.column[i] + 1] = n
        cells += grid.width
