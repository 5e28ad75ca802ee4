"""The memory that one thread needs to simulate a block of images for chunks of time steps.

It is reserved for the worst case, such as a spike of every neuron in every step: what is never written costs nothing.
"""

import numpy as np

from ratespike.simulation.event_driven.compiled_network import CompiledNetwork
from ratespike.simulation.event_driven.events import SLACK
from ratespike.simulation.event_driven.layout import (
    Connection,
    Events,
    LayerMemory,
    NeuronLayer,
    NeuronState,
    OutputLayer,
    Spikes,
    aligned,
    vector_width,
)

BLOCK_IMAGES = 4  # images that a thread simulates at a time
CURRENT_BYTES = 48 * 1024  # the currents of a row over some steps stay in the first-level cache


def neuron_layer_memories(network: CompiledNetwork, n_steps: int) -> list[LayerMemory]:
    """The memory of each neuron layer for chunks of up to `n_steps` steps."""
    first = network.layers[0]
    memories = [
        LayerMemory(
            state=_new_state(first, network.dtype),
            filtered=_new_filter_state(first, network.dtype),
            events=_new_events(first.connection, 1, weighted=True),
            current=_new_current(first.connection, 1, network.dtype),
            precise=_new_current(first.connection, 1, np.float64),
        )
    ]
    for source, layer in zip(network.layers[:-1], network.layers[1:], strict=True):
        steps_at_once = _steps_in_cache(layer.connection, n_steps, network.dtype)
        memories.append(
            LayerMemory(
                state=_new_state(layer, network.dtype),
                filtered=_new_filter_state(layer, network.dtype),
                events=_new_events(layer.connection, n_steps, weighted=source.neuron.counts_spikes),
                current=_new_current(layer.connection, steps_at_once, network.dtype),
                precise=None,
            )
        )
    return memories


def output_layer_memory(network: CompiledNetwork, n_steps: int) -> LayerMemory:
    """The memory of the output layer, whose rows are computed for all steps of a chunk at once."""
    connection = network.output.connection
    return LayerMemory(
        state=None,
        filtered=_new_filter_state(network.output, network.dtype),
        events=_new_events(connection, n_steps, weighted=network.layers[-1].neuron.counts_spikes),
        current=_new_current(connection, n_steps, network.dtype),
        precise=None,
    )


def new_spikes(layer: NeuronLayer, n_steps: int, dtype: type) -> Spikes:
    """Room for the spikes of a chunk of up to `n_steps` steps."""
    _, height, width = layer.connection.out_shape
    tiles = layer.connection.kernel.tiles
    bits: np.ndarray = np.zeros((BLOCK_IMAGES, n_steps, height * width, tiles), np.uint64)
    if not layer.neuron.counts_spikes:
        return Spikes(bits, None)
    counts: np.ndarray = np.zeros((BLOCK_IMAGES, n_steps, height * width, tiles * vector_width(layer.connection)), dtype)
    return Spikes(bits, aligned(counts))


def _new_state(layer: NeuronLayer, dtype: type) -> NeuronState:
    words = _words(layer.connection)
    neurons = words * vector_width(layer.connection)
    refractory_neurons = 0 if layer.neuron.counts_spikes else neurons
    return NeuronState(
        voltage=aligned(np.zeros((BLOCK_IMAGES, neurons), dtype)),
        refractory=np.zeros((BLOCK_IMAGES, words), np.uint64),
        waking=np.zeros((BLOCK_IMAGES, words * layer.neuron.ring), np.uint64),
        waking_share=aligned(np.zeros((BLOCK_IMAGES, refractory_neurons), dtype)),
    )


def _new_filter_state(layer: NeuronLayer | OutputLayer, dtype: type) -> np.ndarray:
    outputs = 0
    if layer.filter is not None:
        outputs = _words(layer.connection) * vector_width(layer.connection)
    return aligned(np.zeros((BLOCK_IMAGES, 2, outputs), dtype))


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


def _new_current(connection: Connection, n_steps: int, dtype: type) -> np.ndarray:
    """Currents of one row and tile over some steps."""
    return aligned(np.zeros(n_steps * connection.kernel.out_width * vector_width(connection), dtype))


def _steps_in_cache(connection: Connection, n_steps: int, dtype: type) -> int:
    """For how many steps at once the currents of a row are computed: at least 4, if there are so many."""
    row_bytes = connection.kernel.out_width * vector_width(connection) * np.dtype(dtype).itemsize
    return max(1, min(n_steps, max(4, CURRENT_BYTES // row_bytes)))


def _words(connection: Connection) -> int:
    """Words of spikes in the target's map: one for each pixel and tile."""
    _, height, width = connection.out_shape
    return height * width * connection.kernel.tiles
