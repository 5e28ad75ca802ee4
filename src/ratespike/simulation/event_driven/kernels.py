"""A whole layer for the images of a block and the steps of a chunk: spikes in, spikes (or outputs) and their statistics out."""

import numpy as np
from numba import njit

from ratespike.compiled.options import BORROW, INLINE, INNER
from ratespike.compiled.simd import bit_count, load, lowest_bit, repeat, store, width_of
from ratespike.simulation.event_driven.currents import add_events
from ratespike.simulation.event_driven.events import list_spikes, list_values
from ratespike.simulation.event_driven.layout import Currents, NeuronState, Row, Spikes, Steps
from ratespike.simulation.event_driven.neurons import advance_row

_ONE = np.uint64(1)


@njit(**INLINE)
def _row_of(target, tile, y):
    """Row `y` of a layer's map, in one tile."""
    return Row(tile, target.tiles, y, target.width, target.lanes)


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
    return NeuronState(
        state.voltage[image], state.refractory[image], state.waking[image], state.waking_share[image], state.sent[image]
    )


@njit(**INLINE)
def _place_at_rest(at_rest, row, image):
    """Where the currents at rest of a row begin, in the first step of a chunk."""
    of_image = image * at_rest.image + at_rest.first_step * at_rest.step
    return of_image + row.tile * at_rest.tile + row.y * at_rest.row


@njit(**INLINE)
def _set_at_rest(current, at_rest, row, steps, image):
    """Set the currents of a row to those at rest."""
    width = width_of(row.lanes)
    first = _place_at_rest(at_rest, row, image) + steps.first * at_rest.step
    if at_rest.step == 0 and at_rest.pixel == 0:
        vector = load(at_rest.values, first, row.lanes)
        for place in range(steps.count * row.pixels):
            store(current, place * width, vector)
        return
    for step in range(steps.count):
        for x in range(row.pixels):
            vector = load(at_rest.values, first + step * at_rest.step + x * at_rest.pixel, row.lanes)
            store(current, (step * row.pixels + x) * width, vector)


@njit(**INLINE)
def _set_zero(current, row, steps):
    """Set the currents of a row to 0."""
    width = width_of(row.lanes)
    zero = repeat(current.dtype.type(0), row.lanes)
    for place in range(steps.count * row.pixels):
        store(current, place * width, zero)


@njit(**INNER)
def _filter_row(current, filtered, coefficients, at_rest, row, steps, image):
    """Filter the currents of a row in place (transposed direct form II), and add those at rest."""
    lanes = row.lanes
    width = width_of(lanes)
    b0 = repeat(coefficients.b0, lanes)
    b1 = repeat(coefficients.b1, lanes)
    a1 = repeat(coefficients.a1, lanes)
    a2 = repeat(coefficients.a2, lanes)
    first_place = _place_at_rest(at_rest, row, image) + steps.first * at_rest.step
    for x in range(row.pixels):
        place = ((row.y * row.pixels + x) * row.tiles + row.tile) * width
        first = load(filtered[0], place, lanes)  # what earlier steps add to this step's output
        second = load(filtered[1], place, lanes)  # what they add to the next step's output
        for step in range(steps.count):
            here = (step * row.pixels + x) * width
            u = load(current, here, lanes)
            y = b0 * u + first
            first = b1 * u + a1 * y + second
            second = a2 * y
            rest = load(at_rest.values, first_place + step * at_rest.step + x * at_rest.pixel, lanes)
            store(current, here, y + rest)
        store(filtered[0], place, first)
        store(filtered[1], place, second)


@njit(**INLINE)
def _set_currents(kernel, coefficients, memory, at_rest, row, steps, image):
    """The currents of a row in some steps, from the events in `memory`; no coefficients: nothing is filtered."""
    if coefficients is None:
        _set_at_rest(memory.current, at_rest, row, steps, image)
        add_events(memory.current, kernel, memory.events, row, steps)
    else:
        _set_zero(memory.current, row, steps)
        add_events(memory.current, kernel, memory.events, row, steps)
        _filter_row(memory.current, memory.filtered[image], coefficients, at_rest, row, steps, image)


@njit(**INNER)
def _count_words(bits, weights_met, statistics, image):
    """As `_count`, of neurons that spike at most once in a step, where those of a word meet as many weights."""
    for step in range(bits.shape[0]):
        spikes = 0
        met = 0
        words = bits[step].reshape(-1)
        for word in range(words.size):
            here = bit_count(words[word])
            spikes += here
            met += here * weights_met[word]
        statistics.spike_counts[step, image] = spikes
        statistics.operations[step, image] = met


@njit(**INNER)
def _count_neurons(bits, counts, width, weights_met, statistics, image):
    """As `_count`, neuron by neuron."""
    alike = weights_met.size == bits.shape[1] * bits.shape[2]
    for step in range(bits.shape[0]):
        spikes = 0
        met = 0
        words = bits[step].reshape(-1)
        for word in range(words.size):
            left = words[word]
            while left != 0:
                neuron = word * width + lowest_bit(left)
                left &= left - _ONE
                fired = 1 if counts is None else abs(np.int64(counts[step].reshape(-1)[neuron]))
                spikes += fired
                met += fired * weights_met[word if alike else neuron]
        statistics.spike_counts[step, image] = spikes
        statistics.operations[step, image] = met


@njit(**INLINE)
def _count(bits, counts, target, weights_met, statistics, image):
    """Add up the spikes of one image, and the weights that they meet, for each step."""
    if counts is None and weights_met.size == bits.shape[1] * bits.shape[2]:
        _count_words(bits, weights_met, statistics, image)
    else:
        _count_neurons(bits, counts, width_of(target.lanes), weights_met, statistics, image)


@njit(**BORROW)
def run_undriven_layer(at_rest, layer, memory, spikes, statistics, chunk_start):
    """Neurons to which no other neurons lead; their currents are those at rest, one for each neuron.

    Args:
        at_rest: `AtRest` of the layer for the block.
        layer: the `Layer`.
        memory: the layer's `LayerMemory`; its state goes on.
        spikes: `Spikes` of the chunk, written.
        statistics: of the chunk, written.
        chunk_start: steps before the chunk.
    """
    n_steps = spikes.bits.shape[1]
    steps = Steps(0, n_steps, chunk_start, n_steps)
    for image in range(spikes.bits.shape[0]):
        state = _state_of(memory.state, image)
        spiking = _spikes_of(spikes, image)
        for tile in range(layer.map.tiles):
            for y in range(layer.map.height):
                row = _row_of(layer.map, tile, y)
                currents = Currents(at_rest.values[_place_at_rest(at_rest, row, image) :], at_rest.step)
                advance_row(layer.neuron, currents, row, steps, state, spiking)
        _count(spiking.bits, spiking.counts, layer.map, layer.weights_met, statistics, image)


@njit(**INLINE)
def _round_to(rounded, values):
    """Copy `values` to `rounded`, which has less precision."""
    for i in range(rounded.size):
        rounded[i] = values[i]


@njit(**BORROW)
def run_image_layer(images, at_rest, layer, memory, spikes, statistics, chunk_start):
    """Neurons driven by images (batch, channels, pixels) that do not change: their currents are summed once, in float64.

    The other arguments are those of `run_undriven_layer`.
    """
    n_steps = spikes.bits.shape[1]
    one_step = Steps(0, 1, 0, 1)
    steps = Steps(0, n_steps, chunk_start, n_steps)
    for image in range(images.shape[0]):
        state = _state_of(memory.state, image)
        spiking = _spikes_of(spikes, image)
        list_values(images[image], layer.connection.grid, memory.events)
        for tile in range(layer.map.tiles):
            for y in range(layer.map.height):
                row = _row_of(layer.map, tile, y)
                _set_at_rest(memory.precise, at_rest, row, one_step, image)
                add_events(memory.precise, layer.connection.kernel, memory.events, row, one_step)
                _round_to(memory.current, memory.precise)
                advance_row(layer.neuron, Currents(memory.current, 0), row, steps, state, spiking)
        _count(spiking.bits, spiking.counts, layer.map, layer.weights_met, statistics, image)


@njit(**BORROW)
def run_driven_layer(source, at_rest, layer, memory, spikes, statistics, chunk_start):
    """Neurons driven by the spikes of another layer, `source`; the other arguments are those of `run_undriven_layer`."""
    n_steps = spikes.bits.shape[1]
    step_stride = layer.map.width * width_of(layer.map.lanes)
    steps_at_once = memory.current.size // step_stride
    for image in range(source.bits.shape[0]):
        state = _state_of(memory.state, image)
        spiking = _spikes_of(spikes, image)
        list_spikes(source.bits[image], _of_image(source.counts, image), layer.connection.grid, memory.events)
        for tile in range(layer.map.tiles):
            for y in range(layer.map.height):
                row = _row_of(layer.map, tile, y)
                for first in range(0, n_steps, steps_at_once):
                    steps = Steps(first, min(steps_at_once, n_steps - first), chunk_start, n_steps)
                    _set_currents(layer.connection.kernel, layer.filter, memory, at_rest, row, steps, image)
                    advance_row(layer.neuron, Currents(memory.current, step_stride), row, steps, state, spiking)
        _count(spiking.bits, spiking.counts, layer.map, layer.weights_met, statistics, image)


@njit(**BORROW)
def add_connection(source, connection, target, at_rest, added, memory):
    """Add what another layer's spikes cause to the currents at rest, for a layer to which several others lead.

    Args:
        source: spikes of that layer in the chunk.
        connection: from it to the target.
        target: `OutputMap` of the layer.
        at_rest: currents to which they are added.
        added: (images, steps, tiles, rows, pixels, vector width), flat: the sums, written.
        memory: the connection's `LayerMemory`, of which events and current are used.
    """
    n_steps = source.bits.shape[1]
    row_size = target.width * width_of(target.lanes)
    map_size = target.tiles * target.height * row_size
    steps_at_once = memory.current.size // row_size
    for image in range(source.bits.shape[0]):
        list_spikes(source.bits[image], _of_image(source.counts, image), connection.grid, memory.events)
        for tile in range(target.tiles):
            for y in range(target.height):
                row = _row_of(target, tile, y)
                for first in range(0, n_steps, steps_at_once):
                    steps = Steps(first, min(steps_at_once, n_steps - first), 0, n_steps)
                    _set_at_rest(memory.current, at_rest, row, steps, image)
                    add_events(memory.current, connection.kernel, memory.events, row, steps)
                    for step in range(steps.count):
                        to = (image * n_steps + first + step) * map_size + (tile * target.height + y) * row_size
                        for i in range(row_size):
                            added[to + i] = memory.current[step * row_size + i]


@njit(**INLINE)
def _fired(counts, step, pixel, channel):
    """How often a neuron has spiked in a step in which it has, negative ones subtracted; None: once."""
    return 1 if counts is None else np.int64(counts[step, pixel, channel])


@njit(**INLINE)
def _set_count(counts, step, pixel, channel, value):
    """Note how often a window has spiked in a step; None: it is once."""
    if counts is not None:
        counts[step, pixel, channel] = value


@njit(**INNER)
def _pool_image(bits, counts, memory, arrived, left, pooled_bits, pooled_counts):
    """As `pool_spikes`, for one image."""
    width = width_of(memory.lanes)
    for step in range(bits.shape[0]):
        for pixel in range(bits.shape[1]):
            for tile in range(bits.shape[2]):
                word = bits[step, pixel, tile]
                while word != 0:
                    channel = tile * width + lowest_bit(word)
                    word &= word - _ONE
                    arrived[pixel * bits.shape[2] * width + channel] += _fired(counts, step, pixel, channel)
        for window in range(pooled_bits.shape[1]):
            for tile in range(bits.shape[2]):
                spiking = np.uint64(0)
                for i in range(memory.first[window], memory.first[window + 1]):
                    spiking |= bits[step, memory.pixel[i], tile]
                passed = np.uint64(0)
                while spiking != 0:
                    bit = lowest_bit(spiking)
                    spiking &= spiking - _ONE
                    channel = tile * width + bit
                    largest = 0
                    for i in range(memory.first[window], memory.first[window + 1]):
                        largest = max(largest, arrived[memory.pixel[i] * bits.shape[2] * width + channel])
                    place = window * bits.shape[2] * width + channel
                    if largest != left[place]:
                        passed |= _ONE << np.uint64(bit)
                        _set_count(pooled_counts, step, window, channel, largest - left[place])
                        left[place] = largest
                pooled_bits[step, window, tile] = passed


@njit(**BORROW)
def pool_spikes(source, memory, pooled):
    """Let spikes pass so that the sum of what has left a window is the largest sum of what has arrived in it."""
    for image in range(source.bits.shape[0]):
        _pool_image(
            source.bits[image],
            _of_image(source.counts, image),
            memory,
            memory.arrived[image],
            memory.left[image],
            pooled.bits[image],
            _of_image(pooled.counts, image),
        )


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
def run_output_layer(source, at_rest, layer, memory, outputs):
    """What the last neurons' spikes add up to; writes `outputs` (steps, images, channels, pixels)."""
    n_steps = outputs.shape[0]
    steps = Steps(0, n_steps, 0, n_steps)
    for image in range(source.bits.shape[0]):
        list_spikes(source.bits[image], _of_image(source.counts, image), layer.connection.grid, memory.events)
        for tile in range(layer.map.tiles):
            for y in range(layer.map.height):
                row = _row_of(layer.map, tile, y)
                _set_currents(layer.connection.kernel, layer.filter, memory, at_rest, row, steps, image)
                _write_outputs(outputs[:, image], memory.current, row)
