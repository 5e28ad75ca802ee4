"""The memory that one thread needs to simulate a block of images for chunks of time steps.

It is reserved for the worst case, such as a spike of every neuron in every step: what is never written costs nothing.
"""

import numpy as np

from ratespike.simulation.event_driven.compiled_network import CompiledLayer, CompiledNetwork
from ratespike.simulation.event_driven.connection import output_map
from ratespike.simulation.event_driven.events import SLACK
from ratespike.simulation.event_driven.layout import (
    Connection,
    Events,
    LayerMemory,
    NeuronState,
    OutputMap,
    PoolMemory,
    Spikes,
    aligned,
    padded_neurons,
    vector_width,
)
from ratespike.simulation.event_driven.neurons import SignedStep
from ratespike.simulation.terms import Pool, Shape

FEWEST_IMAGES, MOST_IMAGES = 4, 16  # that a thread simulates at a time
_BLOCK_ROWS = 128  # images times steps of a block; fewer would cost more calls, more would leave the cache
CURRENT_BYTES = 48 * 1024  # the currents of a row over some steps stay in the first-level cache


def block_images(n_steps: int) -> int:
    """How many images a thread simulates at a time in chunks of up to `n_steps` steps: 4, 8 or 16.

    Example:
        >>> block_images(1), block_images(15), block_images(30)
        (16, 8, 4)
    """
    images = MOST_IMAGES
    while images > FEWEST_IMAGES and images * n_steps > _BLOCK_ROWS:
        images //= 2
    return images


def layer_memory(layer: CompiledLayer, network: CompiledNetwork, n_steps: int) -> LayerMemory:
    """The memory of a layer of neurons for chunks of up to `n_steps` steps."""
    images = block_images(n_steps)
    if layer.sees_image:
        return LayerMemory(
            state=_new_state(layer, network.dtype, images),
            filtered=_no_filter(network.dtype),
            events=_new_events(layer.kernel.connection, 1, weighted=True),
            current=_new_current(layer.kernel.map, 1, network.dtype),
            precise=_new_current(layer.kernel.map, 1, np.float64),
        )
    if not layer.inputs:
        return LayerMemory(
            _new_state(layer, network.dtype, images), _no_filter(network.dtype), None, np.zeros(0, network.dtype)
        )
    last = connection_memory(layer, -1, network, n_steps)
    return last._replace(
        state=_new_state(layer, network.dtype, images), filtered=_new_filter_state(layer, network.dtype, images)
    )


def connection_memory(layer: CompiledLayer, number: int, network: CompiledNetwork, n_steps: int) -> LayerMemory:
    """The memory for one of a layer's connections, without a state."""
    connection = layer.inputs[number].connection
    source = network.neurons_of(layer.inputs[number].source)
    return LayerMemory(
        state=None,
        filtered=_no_filter(network.dtype),
        events=_new_events(connection, n_steps, weighted=source.kernel.neuron.counts_spikes),
        current=_new_current(layer.kernel.map, _steps_in_cache(layer.kernel.map, n_steps, network.dtype), network.dtype),
    )


def output_layer_memory(network: CompiledNetwork, n_steps: int) -> LayerMemory:
    """The memory of the output layer, whose rows are computed for all steps of a chunk at once."""
    memory = connection_memory(network.output, -1, network, n_steps)
    return memory._replace(
        filtered=_new_filter_state(network.output, network.dtype, block_images(n_steps)),
        current=_new_current(network.output.kernel.map, n_steps, network.dtype),
    )


def pool_memory(pool: Pool, network: CompiledNetwork, n_steps: int) -> PoolMemory:
    """The windows of a max pooling, and room for what it remembers."""
    images = block_images(n_steps)
    source, target = output_map(_source_shape(pool, network)), output_map(pool.map.shape)
    first = [0]
    pixels: list[int] = []
    for rows in pool.rows:
        for columns in pool.columns:
            pixels += [y * source.width + x for y in rows for x in columns]
            first.append(len(pixels))
    return PoolMemory(
        first=np.array(first),
        pixel=np.array(pixels, np.int64),
        arrived=np.zeros((images, padded_neurons(source)), np.int64),
        left=np.zeros((images, padded_neurons(target)), np.int64),
        lanes=target.lanes,
    )


def _source_shape(pool: Pool, network: CompiledNetwork) -> Shape:
    """Of the layer or pool whose spikes are pooled."""
    if pool.source < len(network.layers):
        return network.layers[pool.source].map.shape
    return network.pools[pool.source - len(network.layers)].map.shape


def new_spikes(target: OutputMap, layer: CompiledLayer, n_steps: int, dtype: type) -> Spikes:
    """Room for the spikes of a chunk of up to `n_steps` steps, of a layer of neurons or of a pool behind it."""
    images = block_images(n_steps)
    pixels = target.height * target.width
    bits: np.ndarray = np.zeros((images, n_steps, pixels, target.tiles), np.uint64)
    if not layer.kernel.neuron.counts_spikes:
        return Spikes(bits, None)
    counts: np.ndarray = np.zeros((images, n_steps, pixels, target.tiles * vector_width(target)), dtype)
    return Spikes(bits, aligned(counts))


def _new_state(layer: CompiledLayer, dtype: type, images: int) -> NeuronState:
    target, neuron = layer.kernel.map, layer.kernel.neuron
    neurons = padded_neurons(target)
    words = neurons // vector_width(target)
    return NeuronState(
        voltage=aligned(np.zeros((images, neurons), dtype)),
        refractory=np.zeros((images, words), np.uint64),
        waking=np.zeros((images, words * neuron.ring), np.uint64),
        waking_share=aligned(np.zeros((images, neurons if neuron.rests else 0), dtype)),
        sent=aligned(np.zeros((images, neurons if isinstance(neuron, SignedStep) else 0), dtype)),
    )


def _no_filter(dtype: type) -> np.ndarray:
    return aligned(np.zeros((MOST_IMAGES, 2, 0), dtype))


def _new_filter_state(layer: CompiledLayer, dtype: type, images: int) -> np.ndarray:
    if layer.kernel.filter is None:
        return _no_filter(dtype)
    return aligned(np.zeros((images, 2, padded_neurons(layer.kernel.map)), dtype))


def _new_events(connection: Connection, n_steps: int, *, weighted: bool) -> Events:
    """Room for a spike of every source neuron in every step."""
    grid = connection.grid
    capacity = int(np.bitwise_count(grid.mask).sum()) * n_steps + SLACK
    amount = np.empty(capacity, connection.kernel.weights.dtype) if weighted else None
    return Events(
        start=np.zeros(grid.sections * grid.height * n_steps * grid.width + 1, np.int32),
        source=np.empty(capacity, np.int32),
        column=np.empty(capacity, np.int32),
        amount=amount,
    )


def _new_current(target: OutputMap, n_steps: int, dtype: type) -> np.ndarray:
    """Currents of one row and tile over some steps."""
    return aligned(np.zeros(n_steps * target.width * vector_width(target), dtype))


def _steps_in_cache(target: OutputMap, n_steps: int, dtype: type) -> int:
    """For how many steps at once the currents of a row are computed: at least 4, if there are so many."""
    row_bytes = target.width * vector_width(target) * np.dtype(dtype).itemsize
    return max(1, min(n_steps, max(4, CURRENT_BYTES // row_bytes)))
