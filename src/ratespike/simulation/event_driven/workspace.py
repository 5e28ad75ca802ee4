"""How one thread simulates a block of images: layer by layer, a chunk of time steps at a time."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ratespike.simulation.early_exit import EarlyExit, RunningExit
from ratespike.simulation.event_driven.compiled_network import CompiledLayer, CompiledNetwork, map_at_rest
from ratespike.simulation.event_driven.connection import output_map
from ratespike.simulation.event_driven.kernels import (
    add_connection,
    pool_spikes,
    run_driven_layer,
    run_image_layer,
    run_output_layer,
    run_undriven_layer,
)
from ratespike.simulation.event_driven.layout import AtRest, LayerMemory, Spikes, Statistics, aligned, padded_neurons
from ratespike.simulation.event_driven.memory import (
    block_images,
    connection_memory,
    layer_memory,
    new_spikes,
    output_layer_memory,
    pool_memory,
)
from ratespike.simulation.event_driven.starts import LayerStart, set_start

CHUNK_STEPS = 32  # at most so many steps of a layer before the next layer: bounds memory, does not change results


@dataclass(frozen=True)
class Results:
    """What all threads write, each for its images.

    Attributes:
        outputs: unfiltered outputs, shape (steps, batch, outputs).
        spike_counts: shape (neuron layers, steps, batch).
        operations: weights that the spikes met, shape (neuron layers, steps, batch).
        recorded: by number of a recorded neuron layer its spikes, shape (batch, steps, neurons), with the channel fastest.
    """

    outputs: np.ndarray
    spike_counts: np.ndarray
    operations: np.ndarray
    recorded: dict[int, np.ndarray]


@dataclass(frozen=True)
class Images:
    """What the images of some rows of the batch are for the layers.

    Attributes:
        first: which row is the first one.
        pixels: shape (images, channels, pixels).
        at_rest: currents at rest that depend on the images, by number of the layer, the output's last: shape (images, steps,
            padded neurons); of a single step if they do not change.
    """

    first: int
    pixels: np.ndarray
    at_rest: dict[int, np.ndarray]

    def of(self, rows: np.ndarray) -> "Images":
        """Those of some rows of the batch."""
        here = _as_slice(rows - self.first)
        return Images(0, self.pixels[here], {number: values[here] for number, values in self.at_rest.items()})


class Workspace:
    """The memory of one thread, and the simulation of one block of images after the other in it."""

    def __init__(self, network: CompiledNetwork, n_steps: int, early_exit: EarlyExit | None) -> None:
        self.network = network
        self.early_exit = early_exit
        self.chunks = _even_chunks(n_steps) if early_exit is None else _single_steps(n_steps)
        longest = max(chunk.stop - chunk.start for chunk in self.chunks)
        self.block_images = block_images(longest)
        self.memories = [layer_memory(layer, network, longest) for layer in network.layers]
        self.output_memory = output_layer_memory(network, longest)
        self.pools = [pool_memory(pool, network, longest) for pool in network.pools]
        self.spikes = [new_spikes(layer.kernel.map, layer, longest, network.dtype) for layer in network.layers]
        for number, pool in enumerate(network.pools, len(network.layers)):
            layer = network.neurons_of(number)
            self.spikes.append(new_spikes(output_map(pool.map.shape), layer, longest, network.dtype))
        self.adders = [_Adder(layer, network, longest) for layer in (*network.layers, network.output)]

    def run(self, images: Images, starts: Sequence[LayerStart], block: slice, results: Results) -> None:
        """Simulate the images of a block.

        Args:
            images: those of the block among them.
            starts: of the layers, for the same images.
            block: which images of the batch.
            results: written.
        """
        here = slice(block.start - images.first, block.stop - images.first)
        for layer, memory, start in zip(self.network.layers, self.memories, starts, strict=True):
            set_start(layer, memory, start, here)
        self.output_memory.filtered[:] = 0
        for pool in self.pools:
            pool.arrived[:] = 0
            pool.left[:] = 0
        rows = np.arange(block.start, block.stop)  # of the images that are not done
        running_exit = None if self.early_exit is None else RunningExit(self.early_exit)
        for chunk in self.chunks:
            self._advance(images.of(rows), chunk, rows, results)
            if running_exit is not None:
                rows = self._without_done(running_exit, results.outputs[chunk, rows], rows)
                if not len(rows):
                    break

    def _advance(self, images: Images, chunk: slice, rows: np.ndarray, results: Results) -> None:
        """Simulate one chunk of the images in `rows` of the batch."""
        n_steps = chunk.stop - chunk.start
        placed = _as_slice(rows)
        spikes = [_first_images(room, len(rows), n_steps) for room in self.spikes]
        for number, layer in enumerate(self.network.layers):
            statistics = _new_statistics(n_steps, len(rows))
            memory = self.memories[number]
            currents = self._currents(number, layer, images, chunk, spikes)
            if layer.sees_image:
                run_image_layer(images.pixels, currents, layer.kernel, memory, spikes[number], statistics, chunk.start)
            elif layer.inputs:
                source = spikes[layer.inputs[-1].source]
                run_driven_layer(source, currents, layer.kernel, memory, spikes[number], statistics, chunk.start)
            else:
                run_undriven_layer(currents, layer.kernel, memory, spikes[number], statistics, chunk.start)
            results.spike_counts[number][chunk, placed] = statistics.spike_counts
            results.operations[number][chunk, placed] = statistics.operations
            self._pool(number, spikes)
            if number in results.recorded:
                results.recorded[number][placed, chunk] = _unpacked(spikes[number], layer.map.shape[0])
        output = self.network.output
        channels, height, width = output.map.shape
        outputs: np.ndarray = np.empty((n_steps, len(rows), channels, height * width), self.network.dtype)
        currents = self._currents(len(self.network.layers), output, images, chunk, spikes)
        run_output_layer(spikes[output.inputs[-1].source], currents, output.kernel, self.output_memory, outputs)
        results.outputs[chunk, placed] = outputs.reshape(n_steps, len(rows), -1)

    def _pool(self, number: int, spikes: list[Spikes]) -> None:
        """Pool the spikes of a layer, or of a pool, where that is asked for."""
        for place, pool in enumerate(self.network.pools):
            if pool.source == number:
                pooled = len(self.network.layers) + place
                pool_spikes(spikes[number], self.pools[place], spikes[pooled])
                self._pool(pooled, spikes)

    def _currents(self, number: int, layer: CompiledLayer, images: Images, chunk: slice, spikes: list[Spikes]) -> AtRest:
        """The currents to which the last input of a layer is added."""
        currents = layer.constant
        if currents is None:
            values = images.at_rest[number]
            size = values.shape[2]
            step = size if values.shape[1] > 1 else 0
            first_step = chunk.start if step else 0
            currents = map_at_rest(values.reshape(-1), layer.kernel.map, first_step, values.shape[1] * size, step)
        return self.adders[number].added(currents, spikes)

    def _without_done(self, running_exit: RunningExit, outputs: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The rows whose images are not done yet; the states of these images move up to the front."""
        done = running_exit.done(torch.from_numpy(outputs))
        if done.any():
            running_exit.keep(~done)
            left = np.flatnonzero(~done.numpy())
            for memory in self.memories:
                _move_to_front(memory, left)
            _move_to_front(self.output_memory, left)
            for pool in self.pools:
                pool.arrived[: len(left)] = pool.arrived[left]
                pool.left[: len(left)] = pool.left[left]
        remaining: np.ndarray = rows[~done.numpy()]
        return remaining


class _Adder:
    """Adds to a layer's currents at rest what its inputs but the last one cause."""

    def __init__(self, layer: CompiledLayer, network: CompiledNetwork, n_steps: int) -> None:
        self._layer = layer
        self._inputs = layer.inputs[:-1]
        self._memories = [connection_memory(layer, number, network, n_steps) for number in range(len(self._inputs))]
        size = block_images(n_steps) * n_steps * padded_neurons(layer.kernel.map) if self._inputs else 0
        self._sums = aligned(np.zeros(size, network.dtype))

    def added(self, at_rest: AtRest, spikes: list[Spikes]) -> AtRest:
        """The currents at rest of a chunk with what is added to them."""
        target = self._layer.kernel.map
        for given, memory in zip(self._inputs, self._memories, strict=True):
            source = spikes[given.source]
            add_connection(source, given.connection, target, at_rest, self._sums, memory)
            step = padded_neurons(target)
            at_rest = map_at_rest(self._sums, target, 0, image=source.bits.shape[1] * step, step=step)
        return at_rest


def _new_statistics(n_steps: int, images: int) -> Statistics:
    spike_counts: np.ndarray = np.empty((n_steps, images), np.int64)
    return Statistics(spike_counts, np.empty_like(spike_counts))


def _as_slice(rows: np.ndarray) -> slice | np.ndarray:
    """Rows that follow each other as a slice, with which NumPy is faster."""
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1) if last - first + 1 == len(rows) else rows


def _move_to_front(memory: LayerMemory, images: np.ndarray) -> None:
    """Let the states of some images of the block be those of its first images."""
    states = [memory.filtered]
    if memory.state is not None:
        states.extend(memory.state)
    for values in states:
        values[: len(images)] = values[images]


def _first_images(spikes: Spikes, images: int, n_steps: int) -> Spikes:
    """Room for the spikes of fewer images and steps, in the same memory."""
    counts = None if spikes.counts is None else _leading(spikes.counts, images, n_steps)
    return Spikes(_leading(spikes.bits, images, n_steps), counts)


def _leading(array: np.ndarray, images: int, n_steps: int) -> np.ndarray:
    """The array's memory in a smaller shape, without gaps: for a layout of its own the kernels would be compiled anew."""
    shape = (images, n_steps, *array.shape[2:])
    return array.reshape(-1)[: math.prod(shape)].reshape(shape)


def _even_chunks(n_steps: int) -> list[slice]:
    """As few chunks of about equal length as possible."""
    count = -(-n_steps // CHUNK_STEPS)
    edges = [n_steps * i // count for i in range(count + 1)]
    return [slice(first, last) for first, last in itertools.pairwise(edges)]


def _single_steps(n_steps: int) -> list[slice]:
    """Chunks that end where an early exit looks at the answers: after every step."""
    return [slice(step, step + 1) for step in range(n_steps)]


def _unpacked(spikes: Spikes, channels: int) -> np.ndarray:
    """Spike counts (images, steps, neurons) of a chunk."""
    images, steps, pixels, tiles = spikes.bits.shape
    if spikes.counts is not None:
        counts: np.ndarray = spikes.counts
        return counts[..., :channels].reshape(images, steps, -1)
    bits = np.ascontiguousarray(spikes.bits).view(np.uint8).reshape(images, steps, pixels, tiles * 8)
    unpacked: np.ndarray = np.unpackbits(bits, axis=-1, bitorder="little")
    return unpacked[..., :channels].reshape(images, steps, -1)
