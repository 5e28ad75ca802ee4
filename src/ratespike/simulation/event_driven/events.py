"""Events: who spiked, listed in the order in which the next weight layer reads them.

For every section of input channels (see plan.py), input row, time step and column, in this order, `events.start` says
where the list of the spikes in that cell begins; the lists lie one after the other, so any run of columns is one
stretch of `events.source`.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ratespike.compiled.options import BORROW, INLINE
from ratespike.compiled.simd import bit_count, lowest_bit

_ONE = np.uint64(1)
UNROLLED = 3  # bits of a word taken without asking whether they exist; a word seldom has more
SLACK = 64  # entries beyond the last event that may be overwritten


class Events(NamedTuple):
    """Scratch of one thread."""

    start: Any  # (sections * height * steps * width + 1,) int32
    source: Any  # (capacity,) int32: column * section channels + channel in the section
    column: Any  # (capacity,) int32
    amount: Any  # (capacity,) the weight of the event, or None if all are 1


class Cells(NamedTuple):
    """Input grid of a weight layer, and which words of the layer before (or of the image) the cells of each of its rows
    are made of.

    The words of a row are ordered by cell; a cell that averages several pixels has the words of all of them.
    """

    sections: int
    height: int
    width: int
    row: Any  # (sections * height + 1,) int64: where the words of a row begin in the arrays below
    pixel: Any  # (words,) int32
    word: Any  # (words,) int32: channels 64 * word … of the pixel
    mask: Any  # (words,) uint64: the bits that belong to the section
    offset: Any  # (words,) int32: source of the word's bit 0
    column: Any  # (words,) int32


@njit(**INLINE)
def _append(source, column_of, n, word, offset, column):
    """List the set bits of a word from place n on; the place after them."""
    end = n + np.uint64(bit_count(word))
    for _ in range(UNROLLED):
        source[n] = offset + bit_count(~word & (word - _ONE))
        column_of[n] = column
        word &= word - _ONE
        n += _ONE
    while word != 0:
        source[n] = offset + lowest_bit(word)
        column_of[n] = column
        word &= word - _ONE
        n += _ONE
    return end


@njit(**BORROW)
def list_spikes(spikes, counts, cells, events):
    """List the spikes of one image: `spikes` (steps, pixels, words) bits, `counts` (steps, pixels, channels) or None."""
    start, source, column_of, amount = events.start, events.source, events.column, events.amount
    n, place = np.uint64(0), np.uint64(0)
    start[place] = 0
    for line in range(cells.sections * cells.height):
        for step in range(spikes.shape[0]):
            for i in range(np.uint64(cells.row[line]), np.uint64(cells.row[line + 1])):
                column, pixel, w = np.uint64(cells.column[i]), np.uint64(cells.pixel[i]), np.uint64(cells.word[i])
                word = spikes[step, pixel, w] & cells.mask[i]
                if word != 0:
                    first = n
                    n = _append(source, column_of, n, word, cells.offset[i], column)
                    if counts is not None:
                        channel = 64 * cells.word[i] - cells.offset[i]
                        for e in range(first, n):
                            amount[e] = counts[step, pixel, channel + source[e]]
                start[place + column + _ONE] = n
            place += np.uint64(cells.width)


@njit(**BORROW)
def list_values(image, cells, events):
    """List the values of an image (channels, pixels) that are not 0, as events of a single step."""
    n, place = 0, 0
    events.start[place] = 0
    for line in range(cells.sections * cells.height):
        for i in range(cells.row[line], cells.row[line + 1]):
            mask = cells.mask[i]
            while mask != 0:
                bit = lowest_bit(mask)
                mask &= mask - _ONE
                value = image[64 * cells.word[i] + bit, cells.pixel[i]]
                if value != 0:
                    events.source[n] = cells.offset[i] + bit
                    events.column[n] = cells.column[i]
                    events.amount[n] = value
                    n += 1
            events.start[place + cells.column[i] + 1] = n
        place += cells.width
