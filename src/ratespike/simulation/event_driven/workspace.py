"""What one thread needs to simulate a block of images, and how it does so: layer by layer, some time steps at a time."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ratespike.compiled.simd import lanes_of
from ratespike.simulation.early_exit import CHECK_EVERY, EarlyExit
from ratespike.simulation.event_driven.connection import Connection, Shape, aligned
from ratespike.simulation.event_driven.events import SLACK, Events
from ratespike.simulation.event_driven.kernels import Spikes, State, first_layer, neuron_layer, output_layer
from ratespike.simulation.event_driven.neurons import rest
from ratespike.simulation.event_driven.philox import fill_uniform
from ratespike.simulation.event_driven.plan import NeuronLayer, Plan
from ratespike.simulation.random import START
from ratespike.simulation.readout import Answers

CHUNK_STEPS = 32  # at most so many steps of a layer before the next layer: bounds memory, not results
BLOCK_IMAGES = 4  # images a thread takes at a time
CURRENT_BYTES = 48 * 1024  # the currents of a row over some steps stay in the first-level cache


@dataclass(frozen=True)
class Result:
    """What is written for each image.

    Attributes:
        outputs: unfiltered, shape (steps, batch, classes).
        spike_counts: shape (steps, batch, neuron layers).
        operations: weights that the spikes met, shape (steps, batch, neuron layers).
        recorded: by number of the neuron layer, spikes, shape (batch, steps, neurons), with the channel fastest.
    """

    outputs: np.ndarray
    spike_counts: np.ndarray
    operations: np.ndarray
    recorded: dict[int, np.ndarray]


@dataclass(frozen=True)
class GivenStart:
    """The state of one neuron layer before the first step, neurons with the channel fastest.

    Attributes:
        voltages: shape (batch, neurons).
        refractory_time: seconds, plus one step; None if no neuron rests.
    """

    voltages: np.ndarray
    refractory_time: np.ndarray | None

    def voltage(self, block: slice, _: type) -> np.ndarray:
        """Of some images, shape (images, neurons)."""
        return self.voltages[block]


@dataclass(frozen=True)
class UniformStart:
    """Voltages drawn uniformly from [0, 1) in the thread that needs them: the numbers of `ratespike.simulation.random`."""

    seed: int
    image_index: np.ndarray
    layer: int
    neurons: int
    refractory_time: None = None

    def voltage(self, block: slice, dtype: type) -> np.ndarray:
        """Of some images, shape (images, neurons)."""
        values: np.ndarray = np.empty((len(self.image_index[block]), -(-self.neurons // 4) * 4), dtype)
        fill_uniform(values, self.seed, self.image_index[block], self.layer, START)
        return values[:, : self.neurons]


class Workspace:
    """Scratch memory of one thread."""

    def __init__(self, plan: Plan, n_steps: int, early_exit: EarlyExit | None) -> None:
        self.plan, self.early_exit = plan, early_exit
        self.chunks = _even_chunks(n_steps, CHUNK_STEPS) if early_exit is None else _chunks(n_steps, CHECK_EVERY)
        steps = max(last - first for first, last in self.chunks)
        self.states = [_new_state(layer, plan.dtype) for layer in plan.layers]
        out = plan.output
        outputs = out.out_shape[1] * out.out_shape[2] * out.kernel.tiles * out.lanes
        nothing: np.ndarray = np.zeros((BLOCK_IMAGES, 0), plan.dtype)
        filtered: np.ndarray = np.zeros((BLOCK_IMAGES, 2, outputs if plan.output_filter else 0), plan.dtype)
        no_words: np.ndarray = np.zeros((BLOCK_IMAGES, 0), np.uint64)
        self.output_state = State(nothing, nothing, no_words, no_words, filtered)
        self.spikes = [_new_spikes(layer, steps, plan.dtype) for layer in plan.layers]
        sources: list[tuple[Shape, int, bool]] = [(plan.image_shape, 1, True)]
        sources += [(layer.connection.out_shape, steps, layer.step.multiple) for layer in plan.layers]
        connections = [*(layer.connection for layer in plan.layers), out]
        self.events = [_new_events(c, *source) for c, source in zip(connections, sources, strict=True)]
        self.blocks = [1, *(_steps_in_cache(c, plan.dtype, steps) for c in connections[1:-1]), steps]
        self.currents = [
            aligned(np.zeros(block * c.kernel.out_width * c.lanes, plan.dtype))
            for c, block in zip(connections, self.blocks, strict=True)
        ]
        self.precise: np.ndarray = aligned(np.zeros(len(self.currents[0])))  # the first currents before they are rounded

    def run(self, images: np.ndarray, start: Sequence[GivenStart | UniformStart], block: slice, result: Result) -> None:
        """Simulate `images[block]`, shape (batch, channels, pixels), and write their results."""
        for layer, state, begin in zip(self.plan.layers, self.states, start, strict=True):
            _set_start(layer, state, begin, block)
        self.output_state.filtered[:] = 0
        rows = np.arange(block.start, block.stop)
        answers = None if self.early_exit is None else self.early_exit.answers()
        for first, last in self.chunks:
            self._advance(images[rows], first, last, rows, result)
            if answers is not None:
                rows = self._without_done(answers, result.outputs[first:last, rows], rows)
                if not len(rows):
                    break

    def _without_done(self, answers: Answers, outputs: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The images that are not done yet; their states move up to the front."""
        assert self.early_exit is not None
        going_on: np.ndarray = ~self.early_exit.done(answers.extend(torch.from_numpy(outputs))[-1]).numpy()
        if not going_on.all():
            answers.keep(torch.from_numpy(going_on))
            places = np.flatnonzero(going_on)
            for state in (*self.states, self.output_state):
                for values in state:
                    values[: len(places)] = values[places]
        left: np.ndarray = rows[going_on]
        return left

    def _advance(self, images: np.ndarray, first: int, last: int, rows: np.ndarray, result: Result) -> None:
        count, steps = len(images), last - first
        counts = np.empty((2, len(self.plan.layers), steps, count), np.int64)
        spikes = [Spikes(_leading(s.bits, count, steps), _leading(s.counts, count, steps)) for s in self.spikes]
        for i, layer in enumerate(self.plan.layers):
            to = layer.connection
            scratch = to.cells, to.kernel, self.events[i], layer.step
            behind = layer.fan_out, first, counts[0, i], counts[1, i], lanes_of(to.lanes)
            if i == 0:
                first_layer(images, *scratch, self.states[0], spikes[0], self.precise, self.currents[0], *behind)
            else:
                state = layer.smooth, self.states[i], spikes[i]
                neuron_layer(spikes[i - 1], *scratch, *state, self.currents[i], self.blocks[i], *behind)
            if i in result.recorded:
                result.recorded[i][rows, first:last] = _unpacked(spikes[i], to.out_shape[0])
        out, plan = self.plan.output, self.plan
        outputs: np.ndarray = np.empty((steps, count, out.out_shape[0], out.out_shape[1] * out.out_shape[2]), plan.dtype)
        memory = plan.output_filter, self.output_state, self.currents[-1]
        output_layer(spikes[-1], out.cells, out.kernel, self.events[-1], *memory, outputs, lanes_of(out.lanes))
        result.spike_counts[first:last, rows], result.operations[first:last, rows] = counts.transpose(0, 2, 3, 1)
        result.outputs[first:last, rows] = outputs.reshape(steps, count, -1)


def _leading(array: np.ndarray | None, images: int, steps: int) -> np.ndarray | None:
    """The array's memory in a smaller shape, without gaps: a layout of its own would be compiled anew."""
    if array is None:
        return None
    shape = (images, steps, *array.shape[2:])
    return array.reshape(-1)[: math.prod(shape)].reshape(shape)


def _even_chunks(n_steps: int, longest: int) -> list[tuple[int, int]]:
    count = -(-n_steps // longest)
    edges = [n_steps * i // count for i in range(count + 1)]
    return list(itertools.pairwise(edges))


def _chunks(n_steps: int, length: int) -> list[tuple[int, int]]:
    return [(first, min(first + length, n_steps)) for first in range(0, n_steps, length)]


def _set_start(layer: NeuronLayer, state: State, start: GivenStart | UniformStart, block: slice) -> None:
    channels, height, width = layer.connection.out_shape
    state.pending[:] = 0
    state.resting[:] = 0
    state.filtered[:] = 0

    voltage = start.voltage(block, state.voltage.dtype.type)

    def padded(values: np.ndarray) -> np.ndarray:
        """The same, (images, pixels, tiles * lanes)."""
        values = values.reshape(-1, height * width, channels)
        room = layer.connection.kernel.tiles * layer.connection.lanes - channels
        return np.pad(values, ((0, 0), (0, 0), (0, room))) if room else values

    images = len(voltage)
    state.voltage[:images] = padded(voltage).reshape(images, -1)
    if start.refractory_time is not None:
        refractory_time = padded(start.refractory_time[block]).reshape(images, -1, layer.connection.lanes)
        rest(layer.step, refractory_time, state.pending, state.resting, state.memory)


def _new_state(layer: NeuronLayer, dtype: type) -> State:
    words = layer.places // layer.connection.lanes
    return State(
        voltage=aligned(np.zeros((BLOCK_IMAGES, layer.places), dtype)),
        memory=aligned(np.zeros((BLOCK_IMAGES, 0 if layer.step.multiple else layer.places), dtype)),
        pending=np.zeros((BLOCK_IMAGES, words * layer.step.ring), np.uint64),
        resting=np.zeros((BLOCK_IMAGES, words), np.uint64),
        filtered=aligned(np.zeros((BLOCK_IMAGES, 2, layer.places if layer.smooth else 0), dtype)),
    )


def _new_spikes(layer: NeuronLayer, steps: int, dtype: type) -> Spikes:
    tiles, pixels = layer.connection.kernel.tiles, layer.connection.out_shape[1] * layer.connection.out_shape[2]
    counts = None
    if layer.step.multiple:
        counts = aligned(np.zeros((BLOCK_IMAGES, steps, pixels, tiles * layer.connection.lanes), dtype))
    return Spikes(np.zeros((BLOCK_IMAGES, steps, pixels, tiles), np.uint64), counts)


def _new_events(connection: Connection, source: Shape, steps: int, weighted: bool) -> Events:
    """Room for a spike of every source neuron in every step; what is never written takes no memory."""
    cells, dtype = connection.cells, connection.kernel.weights.dtype
    capacity = int(np.bitwise_count(cells.mask).sum()) * steps + SLACK
    return Events(
        start=np.zeros(cells.sections * cells.height * steps * cells.width + 1, np.int32),
        source=np.empty(capacity, np.int32),
        column=np.empty(capacity, np.int32),
        amount=np.empty(capacity, dtype) if weighted else None,
    )


def _steps_in_cache(connection: Connection, dtype: type, steps: int) -> int:
    row = connection.kernel.out_width * connection.lanes * np.dtype(dtype).itemsize
    return max(1, min(steps, max(4, CURRENT_BYTES // row)))


def _unpacked(spikes: Spikes, channels: int) -> np.ndarray:
    """Spike counts (images, steps, pixels * channels) of a chunk."""
    images, steps, pixels, tiles = spikes.bits.shape
    if spikes.counts is not None:
        counts: np.ndarray = spikes.counts
        return counts[..., :channels].reshape(images, steps, -1)
    bits = np.ascontiguousarray(spikes.bits).view(np.uint8).reshape(images, steps, pixels, tiles * 8)
    unpacked: np.ndarray = np.unpackbits(bits, axis=-1, bitorder="little")
    return unpacked[..., :channels].reshape(images, steps, -1)
