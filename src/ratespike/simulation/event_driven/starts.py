"""How a simulation starts in this engine: each neuron layer's state before the first step, in the layout of the kernels."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ratespike.neurons import Neuron, State
from ratespike.simulation.event_driven.compiled_network import CompiledLayer, CompiledNetwork
from ratespike.simulation.event_driven.errors import UnsupportedError
from ratespike.simulation.event_driven.layout import LayerMemory, vector_width
from ratespike.simulation.event_driven.neurons import longest_refractory_time, start_refractory
from ratespike.simulation.event_driven.philox import fill_uniform
from ratespike.simulation.random import START
from ratespike.simulation.reference import PreparedNetwork
from ratespike.simulation.slices import slices
from ratespike.simulation.start import FROM_CURRENTS, initial_state, steady_currents
from ratespike.simulation.terms import Map


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
    """Voltages drawn uniformly from [0, threshold) in the thread that needs them: the numbers of `simulation.random`.

    Attributes:
        seed: of the simulation.
        image_index: which image each row is.
        layer: number of the layer.
        order: for each neuron, with the channel fastest, the number of its random number; None: its own.
        neurons: how many there are.
        threshold: of the neurons.
    """

    seed: int
    image_index: np.ndarray
    layer: int
    order: np.ndarray | None
    neurons: int
    threshold: float
    refractory_time: None = None

    @property
    def fills_directly(self) -> bool:
        """Whether the numbers are the voltages, in their order."""
        return self.order is None and self.threshold == 1 and self.neurons % 4 == 0

    def fill(self, voltages: np.ndarray, block: slice) -> None:
        """Draw the voltages of some images, shape (images, neurons), if the numbers are the voltages."""
        fill_uniform(voltages, self.seed, self.image_index[block], self.layer, START)

    def voltages_of(self, block: slice, dtype: type) -> np.ndarray:
        """The voltages of some images, shape (images, neurons)."""
        images = self.image_index[block]
        rounded_up = -(-self.neurons // 4) * 4  # four numbers are drawn at a time
        values: np.ndarray = np.empty((len(images), rounded_up), dtype)
        fill_uniform(values, self.seed, images, self.layer, START)
        values = values[:, : self.neurons] if self.order is None else values[:, self.order]
        return values if self.threshold == 1 else values * dtype(self.threshold)


LayerStart = GivenStart | UniformStart


def set_start(layer: CompiledLayer, memory: LayerMemory, start: LayerStart, block: slice) -> None:
    """Write the state before the first step of some images of the batch into a layer's memory."""
    state = memory.state
    state.refractory[:] = 0
    state.waking[:] = 0
    state.sent[:] = 0
    memory.filtered[:] = 0
    if isinstance(start, UniformStart) and start.fills_directly and layer.neurons == state.voltage.shape[1]:
        start.fill(state.voltage[: block.stop - block.start], block)
        return
    voltages = _padded(start.voltages_of(block, state.voltage.dtype.type), layer)
    images = len(voltages)
    state.voltage[:images] = voltages.reshape(images, -1)
    if start.refractory_time is not None:
        refractory_time = _padded(start.refractory_time[block], layer)
        width = vector_width(layer.kernel.map)
        start_refractory(layer.kernel.neuron, state, refractory_time.reshape(images, -1, width))


def _padded(values: np.ndarray, layer: CompiledLayer) -> np.ndarray:
    """Values of neurons (images, neurons) with the channels of the last tile filled up, (images, pixels, channels)."""
    channels, height, width = layer.map.shape
    values = values.reshape(-1, height * width, channels)
    missing = layer.kernel.map.tiles * vector_width(layer.kernel.map) - channels
    return np.pad(values, ((0, 0), (0, 0), (0, missing))) if missing else values


def starts_of(prepared: PreparedNetwork, network: CompiledNetwork, shown: Tensor, image_index: Tensor) -> list[LayerStart]:
    """How each layer of neurons begins.

    Raises:
        UnsupportedError: a state in which a compiled step cannot begin.
    """
    settings = prepared.settings
    currents = _start_currents(prepared, shown, image_index)
    starts: list[LayerStart] = []
    for number, (call, layer) in enumerate(zip(prepared.analysis.trace.neurons, network.layers, strict=True)):
        if settings.start == "uniform":
            assert isinstance(call.module, Neuron)
            threshold = float(call.module.initial_state(torch.ones((), dtype=torch.float64))["voltage"])
            order = _order_of_numbers(layer.map)
            starts.append(UniformStart(settings.seed, image_index.numpy(), number, order, layer.neurons, threshold))
            continue
        state = initial_state(call, number, currents[number], image_index, settings)
        starts.append(_given_start(call.module, layer, state, settings.dt))
    return starts


def _order_of_numbers(layer: Map) -> np.ndarray | None:
    """For each neuron, with the channel fastest, the number of its random number; None if they are the same.

    Random numbers are counted with the first axis of a layer's output fastest (see `ratespike.simulation.random`).
    """
    shape = layer.places.shape
    numbers = torch.arange(layer.places.numel()).reshape(*shape[1:], shape[0]).movedim(-1, 0)
    placed = _channels_last(numbers[None], layer)[0]
    return None if (placed == np.arange(len(placed))).all() else placed


def _start_currents(prepared: PreparedNetwork, shown: Tensor, image_index: Tensor) -> list[Tensor]:
    """Each layer's currents if the start depends on them, else zeros: only their shape and dtype matter then."""
    batch = len(image_index)
    shapes = [call.shape for call in prepared.analysis.trace.neurons]
    if prepared.settings.start not in FROM_CURRENTS:
        return [shown.new_zeros(1, *shape).expand(batch, *shape) for shape in shapes]
    by_layer: list[list[Tensor]] = [[] for _ in shapes]
    for part in slices(shown, image_index, prepared.analysis.fan_out.largest_layer):
        for of_layer, current in zip(by_layer, steady_currents(prepared.analysis.network, part.shown), strict=True):
            of_layer.append(current[: part.n_images])
    return [torch.cat(of_layer) for of_layer in by_layer]


def _given_start(neuron: object, layer: CompiledLayer, state: State, dt: float) -> GivenStart:
    assert isinstance(neuron, Neuron)
    if "sent" in state and bool(state["sent"].any()):
        raise UnsupportedError("a start with spikes sent before")
    voltages = _channels_last(state["voltage"], layer.map)
    if "refractory_time" not in state:
        return GivenStart(voltages, None)
    refractory_time = _channels_last(state["refractory_time"], layer.map)
    refractory = refractory_time > dt
    if not refractory.any():
        return GivenStart(voltages, None)
    if refractory_time.max() > longest_refractory_time(layer.kernel.neuron) or voltages[refractory].any():
        raise UnsupportedError("a start in a refractory time longer than the neuron's, or with a voltage other than 0")
    return GivenStart(voltages, refractory_time)


def _channels_last(values: Tensor, layer: Map) -> np.ndarray:
    """Values of a layer's output (batch, ...) as (batch, neurons) with the channel of its map fastest."""
    return np.ascontiguousarray(layer.laid_out(values).movedim(1, -1).flatten(1).numpy())
