"""How a simulation starts in this engine: each neuron layer's state before the first step, in the layout of the kernels."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ratespike.neurons import Neuron, State
from ratespike.simulation.event_driven.compiled_network import CompiledNetwork
from ratespike.simulation.event_driven.errors import UnsupportedError
from ratespike.simulation.event_driven.layout import LayerMemory, NeuronLayer, vector_width
from ratespike.simulation.event_driven.neurons import longest_refractory_time, start_refractory
from ratespike.simulation.event_driven.philox import fill_uniform
from ratespike.simulation.random import START
from ratespike.simulation.segments import Segment
from ratespike.simulation.settings import Settings
from ratespike.simulation.slices import slices
from ratespike.simulation.start import initial_state, steady_currents


@dataclass(frozen=True)
class GivenStart:
    """The state of one neuron layer before the first step, neurons with the channel fastest.

    Attributes:
        voltages: shape (batch, neurons).
        refractory_time: what is left of it plus one step, seconds, shape (batch, neurons); None if no neuron is refractory.
    """

    voltages: np.ndarray
    refractory_time: np.ndarray | None

    def voltages_of(self, block: slice, dtype: type) -> np.ndarray:
        """The voltages of some images, shape (images, neurons)."""
        return self.voltages[block]


@dataclass(frozen=True)
class UniformStart:
    """Voltages drawn uniformly from [0, 1) in the thread that needs them: the numbers of `ratespike.simulation.random`."""

    seed: int
    image_index: np.ndarray
    layer: int
    neurons: int
    refractory_time: None = None

    def voltages_of(self, block: slice, dtype: type) -> np.ndarray:
        """The voltages of some images, shape (images, neurons)."""
        images = self.image_index[block]
        rounded_up = -(-self.neurons // 4) * 4  # four numbers are drawn at a time
        values: np.ndarray = np.empty((len(images), rounded_up), dtype)
        fill_uniform(values, self.seed, images, self.layer, START)
        return values[:, : self.neurons]


LayerStart = GivenStart | UniformStart


def set_start(layer: NeuronLayer, memory: LayerMemory, start: LayerStart, block: slice) -> None:
    """Write the state before the first step of some images of the batch into a layer's memory."""
    state = memory.state
    state.refractory[:] = 0
    state.waking[:] = 0
    memory.filtered[:] = 0
    voltages = _padded(start.voltages_of(block, state.voltage.dtype.type), layer)
    images = len(voltages)
    state.voltage[:images] = voltages.reshape(images, -1)
    if start.refractory_time is not None:
        refractory_time = _padded(start.refractory_time[block], layer)
        start_refractory(layer.neuron, state, refractory_time.reshape(images, -1, vector_width(layer.connection)))


def _padded(values: np.ndarray, layer: NeuronLayer) -> np.ndarray:
    """Values of neurons (images, neurons) with the channels of the last tile filled up, (images, pixels, channels)."""
    channels, height, width = layer.connection.out_shape
    values = values.reshape(-1, height * width, channels)
    missing = layer.connection.kernel.tiles * vector_width(layer.connection) - channels
    return np.pad(values, ((0, 0), (0, 0), (0, missing))) if missing else values


def uniform_starts(network: CompiledNetwork, seed: int, image_index: Tensor) -> list[LayerStart]:
    """Each neuron layer's voltages drawn uniformly, with the numbers that the reference engine draws."""
    starts: list[LayerStart] = []
    for number, layer in enumerate(network.layers):
        neurons = math.prod(layer.connection.out_shape)
        starts.append(UniformStart(seed, image_index.numpy(), number, neurons))
    return starts


def given_starts(
    segments: list[Segment], network: CompiledNetwork, currents: list[Tensor], image_index: Tensor, settings: Settings
) -> list[LayerStart]:
    """Each neuron layer's state as `ratespike.simulation.start.initial_state` makes it from the layer's currents.

    Raises:
        UnsupportedError: a state in which a compiled step cannot begin.
    """
    neurons = [segment for segment in segments if isinstance(segment.ending, Neuron)]
    starts: list[LayerStart] = []
    for number, (segment, layer, current) in enumerate(zip(neurons, network.layers, currents, strict=True)):
        state = initial_state(segment, number, current, image_index, settings)
        starts.append(_given_start(layer, state, settings.dt))
    return starts


def start_currents(
    segments: list[Segment], images: Tensor, image_index: Tensor, settings: Settings, shapes: list[torch.Size]
) -> list[Tensor]:
    """Each neuron layer's currents if the start depends on them, else zeros: only their shape and dtype matter then."""
    if settings.start != "steady_phase":
        return [images.new_zeros(1, *shape).expand(len(images), *shape) for shape in shapes]
    by_layer: list[list[Tensor]] = [[] for _ in shapes]
    largest = max(shape.numel() for shape in shapes)
    for part in slices(images, image_index, largest):
        for of_layer, current in zip(by_layer, steady_currents(segments, part.images), strict=True):
            of_layer.append(current[: part.n_images])
    return [torch.cat(of_layer) for of_layer in by_layer]


def _given_start(layer: NeuronLayer, state: State, dt: float) -> GivenStart:
    voltages = _channels_last(state["voltage"])
    if "refractory_time" not in state:
        return GivenStart(voltages, None)
    refractory_time = _channels_last(state["refractory_time"])
    refractory = refractory_time > dt
    if not refractory.any():
        return GivenStart(voltages, None)
    if refractory_time.max() > longest_refractory_time(layer.neuron) or voltages[refractory].any():
        raise UnsupportedError("a start in a refractory time longer than the neuron's, or with a voltage other than 0")
    return GivenStart(voltages, refractory_time)


def _channels_last(values: Tensor) -> np.ndarray:
    """Values (batch, channels, ...) as (batch, neurons) with the channel fastest."""
    if values.dim() == 4:
        values = values.movedim(1, -1)
    return np.ascontiguousarray(values.flatten(1).numpy())
