"""A whole layer for the images of a block and the steps of a chunk: events in, spikes (or outputs) and their statistics out."""

import numpy as np
from numba import njit

from ratespike.compiled.options import BORROW, INLINE, INNER
from ratespike.compiled.simd import bit_count, load, repeat, store, width_of
from ratespike.simulation.event_driven.currents import add_events
from ratespike.simulation.event_driven.events import list_spikes, list_values
from ratespike.simulation.event_driven.layout import Currents, NeuronState, Row, Spikes, Steps
from ratespike.simulation.event_driven.neurons import advance_row


@njit(**INLINE)
def _row_of(kernel, tile, y):
    """Row `y` of a layer's map, in one tile."""
    return Row(tile, kernel.tiles, y, kernel.out_width, kernel.lanes)


@njit(**INLINE)
def _of_image(counts, image):
    """Spike counts of one image, None for neurons that have none."""
    return None if counts is None else counts[image]


@njit(**INLINE)
def _spikes_of(spikes, image):
    """The spikes of one image: bits (steps, pixels, tiles), counts (steps, pixels, neurons of a pixel) or None."""
    return Spikes(spikes.bits[image], _of_image(spikes.counts, image))


@njit(**INLINE)
def _state_of(state, image):
    """The state of one image's neurons, each array of one dimension."""
    return NeuronState(state.voltage[image], state.refractory[image], state.waking[image], state.waking_share[image])


@njit(**INLINE)
def _set_constant(current, constant, row, n_steps):
    """Set the currents of a row to the constant one, in every step."""
    width = width_of(row.lanes)
    vector = load(constant, row.tile * width, row.lanes)
    for place in range(n_steps * row.pixels):
        store(current, place * width, vector)


@njit(**INLINE)
def _round_to(rounded, values):
    """Copy `values` to `rounded`, which has less precision."""
    for i in range(rounded.size):
        rounded[i] = values[i]


@njit(**INNER)
def _filter_row(current, filtered, coefficients, row, n_steps):
    """Filter the currents of a row in place (transposed direct form II); no coefficients: leave them as they are."""
    if coefficients is None:
        return
    lanes = row.lanes
    width = width_of(lanes)
    b0 = repeat(coefficients.b0, lanes)
    b1 = repeat(coefficients.b1, lanes)
    a1 = repeat(coefficients.a1, lanes)
    a2 = repeat(coefficients.a2, lanes)
    constant = load(coefficients.constant, row.tile * width, lanes)
    for x in range(row.pixels):
        place = ((row.y * row.pixels + x) * row.tiles + row.tile) * width
        first = load(filtered[0], place, lanes)  # what earlier steps add to this step's output
        second = load(filtered[1], place, lanes)  # what they add to the next step's output
        for step in range(n_steps):
            here = (step * row.pixels + x) * width
            u = load(current, here, lanes)
            y = b0 * u + first
            first = b1 * u + a1 * y + second
            second = a2 * y
            store(current, here, y + constant)
        store(filtered[0], place, first)
        store(filtered[1], place, second)


@njit(**INNER)
def _count(bits, counts, weights_met, statistics, image):
    """Add up the spikes of one image, and the weights that they meet, for each step."""
    for step in range(bits.shape[0]):
        spikes = 0
        met = 0
        if counts is None:
            words = bits[step].reshape(-1)
            for i in range(words.size):
                here = bit_count(words[i])
                spikes += here
                met += here * weights_met[i]
        else:
            tiles = bits.shape[2]
            for pixel in range(bits.shape[1]):
                here = np.int64(counts[step, pixel].sum())
                spikes += here
                met += here * weights_met[pixel * tiles]
        statistics.spike_counts[step, image] = spikes
        statistics.operations[step, image] = met


@njit(**BORROW)
def run_first_layer(images, layer, memory, spikes, statistics, chunk_start):
    """Neurons driven by images (batch, channels, pixels) that do not change: their current is computed once.

    Args:
        images: of the block.
        layer: the `NeuronLayer`.
        memory: the layer's `LayerMemory`; its state goes on.
        spikes: `Spikes` of the chunk, written.
        statistics: of the chunk, written.
        chunk_start: steps before the chunk.
    """
    grid = layer.connection.grid
    kernel = layer.connection.kernel
    n_steps = spikes.bits.shape[1]
    image_steps = Steps(0, 1, 0, 1)
    steps = Steps(0, n_steps, chunk_start, n_steps)
    for image in range(images.shape[0]):
        state = _state_of(memory.state, image)
        spiking = _spikes_of(spikes, image)
        list_values(images[image], grid, memory.events)
        for tile in range(kernel.tiles):
            for y in range(kernel.out_height):
                row = _row_of(kernel, tile, y)
                _set_constant(memory.precise, kernel.constant, row, 1)
                add_events(memory.precise, kernel, memory.events, row, image_steps)
                _round_to(memory.current, memory.precise)
                advance_row(layer.neuron, Currents(memory.current, 0), row, steps, state, spiking)
        _count(spiking.bits, spiking.counts, layer.weights_met, statistics, image)


@njit(**BORROW)
def run_hidden_layer(source, layer, memory, spikes, statistics, chunk_start):
    """Neurons driven by the spikes of the layer before, `source`; the other arguments are those of `run_first_layer`."""
    grid = layer.connection.grid
    kernel = layer.connection.kernel
    n_steps = spikes.bits.shape[1]
    step_stride = kernel.out_width * width_of(kernel.lanes)
    steps_at_once = memory.current.size // step_stride
    for image in range(source.bits.shape[0]):
        state = _state_of(memory.state, image)
        spiking = _spikes_of(spikes, image)
        list_spikes(source.bits[image], _of_image(source.counts, image), grid, memory.events)
        for tile in range(kernel.tiles):
            for y in range(kernel.out_height):
                row = _row_of(kernel, tile, y)
                for first in range(0, n_steps, steps_at_once):
                    steps = Steps(first, min(steps_at_once, n_steps - first), chunk_start, n_steps)
                    _set_constant(memory.current, kernel.constant, row, steps.count)
                    add_events(memory.current, kernel, memory.events, row, steps)
                    _filter_row(memory.current, memory.filtered[image], layer.filter, row, steps.count)
                    advance_row(layer.neuron, Currents(memory.current, step_stride), row, steps, state, spiking)
        _count(spiking.bits, spiking.counts, layer.weights_met, statistics, image)


@njit(**INLINE)
def _write_outputs(outputs, current, row):
    """Copy the currents of a row to `outputs` (steps, channels, pixels)."""
    width = width_of(row.lanes)
    first_channel = row.tile * width
    for step in range(outputs.shape[0]):
        for x in range(row.pixels):
            for channel in range(min(width, outputs.shape[1] - first_channel)):
                value = current[(step * row.pixels + x) * width + channel]
                outputs[step, first_channel + channel, row.y * row.pixels + x] = value


@njit(**BORROW)
def run_output_layer(source, layer, memory, outputs):
    """The last weight layer and its filter, driven by spikes; writes `outputs` (steps, images, channels, pixels)."""
    grid = layer.connection.grid
    kernel = layer.connection.kernel
    n_steps = outputs.shape[0]
    steps = Steps(0, n_steps, 0, n_steps)
    for image in range(source.bits.shape[0]):
        list_spikes(source.bits[image], _of_image(source.counts, image), grid, memory.events)
        for tile in range(kernel.tiles):
            for y in range(kernel.out_height):
                row = _row_of(kernel, tile, y)
                _set_constant(memory.current, kernel.constant, row, n_steps)
                add_events(memory.current, kernel, memory.events, row, steps)
                _filter_row(memory.current, memory.filtered[image], layer.filter, row, n_steps)
                _write_outputs(outputs[:, image], memory.current, row)
