"""A whole layer for a few images and all steps of a chunk of time: events in, spikes (or outputs) and their statistics out."""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ratespike.compiled.options import BORROW, INLINE, KERNEL
from ratespike.compiled.simd import bit_count, load, repeat, store, width_of
from ratespike.simulation.event_driven.currents import add_events
from ratespike.simulation.event_driven.events import list_spikes, list_values
from ratespike.simulation.event_driven.neurons import advance_row


class Filter(NamedTuple):
    """y[t] = now·u[t] + before·u[t-1] + once·y[t-1] + twice·y[t-2], for each output; scalars of the data type."""

    now: Any
    before: Any
    once: Any
    twice: Any


class State(NamedTuple):
    """What a layer remembers between chunks of time, for each image of a block."""

    voltage: Any  # (images, pixels * tiles * lanes)
    memory: Any  # the same shape
    pending: Any  # (images, pixels * tiles * ring) uint64
    resting: Any  # (images, pixels * tiles) uint64
    filtered: Any  # (images, 2, pixels * tiles * lanes); length 0 without a filter


class Spikes(NamedTuple):
    """Spikes of a neuron layer in one chunk, for each image of a block."""

    bits: Any  # (images, steps, pixels, tiles) uint64, one bit a neuron
    counts: Any  # (images, steps, pixels, tiles * lanes), or None for neurons that spike at most once in a step


@njit(**KERNEL)  # what it returns is counted, because the caller counts
def _of_image(counts, image):
    return None if counts is None else counts[image]


@njit(**INLINE)
def _set_constant(current, constant, tile, places, lanes):
    width = width_of(lanes)
    row = load(constant, tile * width, lanes)
    for place in range(places):
        store(current, place * width, row)


@njit(**INLINE)
def _round_to(rounded, values):
    for i in range(rounded.size):
        rounded[i] = values[i]


@njit(**BORROW)
def _filter_row(current, filtered, smooth, constant, first_pixel, pixels, tile, tiles, steps, lanes):
    """Filter the currents of a row in place, then add the constant (transposed direct form, two states an output)."""
    width = width_of(lanes)
    now, before = repeat(smooth.now, lanes), repeat(smooth.before, lanes)
    once, twice = repeat(smooth.once, lanes), repeat(smooth.twice, lanes)
    add = load(constant, tile * width, lanes)
    for pixel in range(pixels):
        place = ((first_pixel + pixel) * tiles + tile) * width
        a, b = load(filtered[0], place, lanes), load(filtered[1], place, lanes)
        for step in range(steps):
            u = load(current, (step * pixels + pixel) * width, lanes)
            y = now * u + a
            a = before * u + once * y + b
            b = twice * y
            store(current, (step * pixels + pixel) * width, y + add)
        store(filtered[0], place, a)
        store(filtered[1], place, b)


@njit(**BORROW)
def _count(bits, counts, fan_out, spike_counts, operations):
    """Add up the spikes of one image, and the weights they meet, for each step."""
    for step in range(bits.shape[0]):
        spikes, met = 0, 0
        if counts is None:
            words = bits[step].reshape(-1)
            for i in range(words.size):
                here = bit_count(words[i])
                spikes += here
                met += here * fan_out[i]
        else:
            for pixel in range(bits.shape[1]):
                here = np.int64(counts[step, pixel].sum())
                spikes += here
                met += here * fan_out[pixel * bits.shape[2]]
        spike_counts[step] = spikes
        operations[step] = met


@njit(**KERNEL)
def first_layer(
    images, cells, kernel, events, neuron, state, spikes, precise, current, fan_out, first_step, spike_counts, operations, lanes
):
    """Neurons driven by images (batch, channels, pixels) that do not change: their current is computed once.

    `precise` (float64) and `current`, both (out_width, lanes), are scratch.
    """
    for image in range(images.shape[0]):
        bits, counts = spikes.bits[image], _of_image(spikes.counts, image)
        list_values(images[image], cells, events)
        for tile in range(kernel.tiles):
            for y in range(kernel.out_height):
                _set_constant(precise, kernel.constant, tile, kernel.out_width, lanes)
                add_events(precise, kernel, cells, events, tile, y, 0, 1, 1, lanes)
                _round_to(current, precise)
                advance_row(
                    neuron,
                    current,
                    0,
                    y * kernel.out_width,
                    kernel.out_width,
                    tile,
                    kernel.tiles,
                    first_step,
                    bits.shape[0],
                    0,
                    state.voltage[image],
                    state.memory[image],
                    state.pending[image],
                    state.resting[image],
                    bits,
                    counts,
                    lanes,
                )
        _count(bits, counts, fan_out, spike_counts[:, image], operations[:, image])


@njit(**KERNEL)
def neuron_layer(
    source,
    cells,
    kernel,
    events,
    neuron,
    smooth,
    state,
    spikes,
    current,
    block,
    fan_out,
    first_step,
    spike_counts,
    operations,
    lanes,
):
    """Neurons driven by the spikes of the layer before. `current` (block, out_width, lanes) is scratch for `block` steps."""
    width = width_of(lanes)
    zero = np.zeros_like(kernel.constant)
    pixels = kernel.out_width
    for image in range(source.bits.shape[0]):
        bits, counts = spikes.bits[image], _of_image(spikes.counts, image)
        list_spikes(source.bits[image], _of_image(source.counts, image), cells, events)
        total = bits.shape[0]
        for tile in range(kernel.tiles):
            for y in range(kernel.out_height):
                for step in range(0, total, block):
                    steps = min(block, total - step)
                    _set_constant(current, kernel.constant if smooth is None else zero, tile, steps * pixels, lanes)
                    add_events(current, kernel, cells, events, tile, y, step, steps, total, lanes)
                    if smooth is not None:
                        _filter_row(
                            current,
                            state.filtered[image],
                            smooth,
                            kernel.constant,
                            y * pixels,
                            pixels,
                            tile,
                            kernel.tiles,
                            steps,
                            lanes,
                        )
                    advance_row(
                        neuron,
                        current,
                        pixels * width,
                        y * pixels,
                        pixels,
                        tile,
                        kernel.tiles,
                        first_step + step,
                        steps,
                        step,
                        state.voltage[image],
                        state.memory[image],
                        state.pending[image],
                        state.resting[image],
                        bits,
                        counts,
                        lanes,
                    )
        _count(bits, counts, fan_out, spike_counts[:, image], operations[:, image])


@njit(**KERNEL)
def output_layer(source, cells, kernel, events, smooth, state, current, outputs, lanes):
    """The last weight layer and its filter: `outputs` (steps, images, channels, pixels) written. `current` holds all steps."""
    width = width_of(lanes)
    zero = np.zeros_like(kernel.constant)
    pixels, steps = kernel.out_width, outputs.shape[0]
    for image in range(source.bits.shape[0]):
        list_spikes(source.bits[image], _of_image(source.counts, image), cells, events)
        for tile in range(kernel.tiles):
            for y in range(kernel.out_height):
                _set_constant(current, kernel.constant, tile, steps * pixels, lanes)
                add_events(current, kernel, cells, events, tile, y, 0, steps, steps, lanes)
                if smooth is not None:
                    _filter_row(
                        current, state.filtered[image], smooth, zero, y * pixels, pixels, tile, kernel.tiles, steps, lanes
                    )
                for step in range(steps):
                    for x in range(pixels):
                        for c in range(min(width, outputs.shape[2] - tile * width)):
                            outputs[step, image, tile * width + c, y * pixels + x] = current[(step * pixels + x) * width + c]
