"""How a simulation starts in this engine: each neuron layer's state before the first step, in the layout of the kernels."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from ratespike.neurons import Neuron, State
from ratespike.simulation.event_driven.compiled_network import CompiledLayer, CompiledNetwork
from ratespike.simulation.event_driven.errors import UnsupportedError
from ratespike.simulation.event_driven.layout import LayerMemory, NeuronState, vector_width
from ratespike.simulation.event_driven.neurons import longest_refractory_time, start_refractory
from ratespike.simulation.event_driven.philox import fill_uniform
from ratespike.simulation.random import START
from ratespike.simulation.reference import PreparedNetwork
from ratespike.simulation.slices import slices
from ratespike.simulation.start import VOLTAGES, initial_state, steady_currents
from ratespike.simulation.terms import Map

_FEWEST_RATES_IMAGES, _RATES_IMAGES = 8, 16  # on rates at a time


@dataclass(frozen=True)
class ConstantStart:
    """All neurons of a layer at the same voltage."""

    voltage: float

    def write(self, layer: CompiledLayer, state: NeuronState, block: slice) -> None:
        """Set the state of the images of a block of the batch, of which none is refractory yet; as in the other starts."""
        state.voltage[: block.stop - block.start] = self.voltage


@dataclass(frozen=True)
class GivenStart:
    """The state of one neuron layer before the first step, neurons with the channel fastest.

    Attributes:
        voltages: shape (batch, neurons).
        refractory_time: what is left of it plus one step, seconds, shape (batch, neurons); None if no neuron is refractory.
    """

    voltages: np.ndarray
    refractory_time: np.ndarray | None

    def write(self, layer: CompiledLayer, state: NeuronState, block: slice) -> None:
        """See `ConstantStart.write`."""
        _write(layer, state, self.voltages[block], None if self.refractory_time is None else self.refractory_time[block])


@dataclass(frozen=True)
class RandomNumbers:
    """The random numbers of `simulation.random` for one layer, drawn in the thread that needs them.

    Attributes:
        seed: of the simulation.
        image_index: which image each row is.
        layer: number of the layer.
        order: for each neuron, with the channel fastest, the number of its random number; None: its own.
        neurons: how many there are.
    """

    seed: int
    image_index: np.ndarray
    layer: int
    order: np.ndarray | None
    neurons: int

    def fill(self, values: np.ndarray, block: slice) -> bool:
        """Draw `values` (images, neurons) of some images, if they are in the order in which they are drawn; else False."""
        fits = self.order is None and values.shape[1] == self.neurons and self.neurons % 4 == 0
        if fits:
            fill_uniform(values, self.seed, self.image_index[block], self.layer, START)
        return fits

    def of(self, block: slice, dtype: type) -> np.ndarray:
        """Those of some images, shape (images, neurons)."""
        images = self.image_index[block]
        rounded_up = -(-self.neurons // 4) * 4  # four numbers are drawn at a time
        values: np.ndarray = np.empty((len(images), rounded_up), dtype)
        fill_uniform(values, self.seed, images, self.layer, START)
        return values[:, : self.neurons] if self.order is None else values[:, self.order]


@dataclass(frozen=True)
class UniformStart:
    """Voltages drawn uniformly from [0, threshold)."""

    numbers: RandomNumbers
    threshold: float

    def write(self, layer: CompiledLayer, state: NeuronState, block: slice) -> None:
        """See `ConstantStart.write`."""
        if self.threshold == 1 and self.numbers.fill(state.voltage[: block.stop - block.start], block):
            return
        dtype = state.voltage.dtype.type
        _write(layer, state, self.numbers.of(block, dtype) * dtype(self.threshold), None)


@dataclass(frozen=True)
class PhaseStart:
    """Each neuron at a point of its firing cycle.

    Attributes:
        numbers: which point; None for the middle.
        neuron: of the layer.
        dt: the step, seconds.
        current: on rates, of a group of images (see `Starts.of`), shape (images, neurons) with the channel fastest.
        first: of these images.
    """

    numbers: RandomNumbers | None
    neuron: Neuron
    dt: float
    current: Tensor = field(default_factory=lambda: torch.empty(0, 0))
    first: int = 0

    def write(self, layer: CompiledLayer, state: NeuronState, block: slice) -> None:
        """See `ConstantStart.write`."""
        current = self.current[block.start - self.first : block.stop - self.first]
        if self.numbers is None:
            phase = torch.full_like(current, 0.5)
        else:
            phase = torch.from_numpy(self.numbers.of(block, state.voltage.dtype.type))
        steady = self.neuron.steady_state(current, phase, self.dt)
        refractory_time = steady.get("refractory_time")
        _write(layer, state, steady["voltage"].numpy(), None if refractory_time is None else refractory_time.numpy())


LayerStart = ConstantStart | GivenStart | UniformStart | PhaseStart


@dataclass(frozen=True)
class Starts:
    """How the layers of neurons begin, for some images.

    Attributes:
        network: the network.
        layers: the start of each layer; a `PhaseStart` still lacks its currents.
    """

    network: CompiledNetwork
    layers: list[LayerStart]

    def group_images(self, most: int) -> int:
        """How many images, at most `most`, should have their starts at once."""
        return min(_RATES_IMAGES, most // _FEWEST_RATES_IMAGES * _FEWEST_RATES_IMAGES) if self._from_currents else 1

    def of(self, group: slice, shown: Tensor, on_rates: nn.Module) -> list[LayerStart]:
        """The starts of some of the images, with the currents that they have on rates where a start depends on them.

        Those are computed for few images at a time, by the thread that needs them, so that they stay in its cache.

        Args:
            group: which images.
            shown: all images in each step, or in one.
            on_rates: the network in eval mode; no other thread calls it meanwhile.
        """
        if not self._from_currents:
            return self.layers
        by_layer: list[list[Tensor]] = [[] for _ in self.layers]
        largest_layer = max(layer.neurons for layer in self.network.layers)
        for part in slices(shown[:, group], torch.arange(group.start, group.stop), largest_layer):
            currents = steady_currents(on_rates, part.shown, len(self.layers))
            for of_layer, layer, current in zip(by_layer, self.network.layers, currents, strict=True):
                of_layer.append(_with_channels_last(current[: part.n_images], layer.map))
        starts: list[LayerStart] = []
        for start, pieces in zip(self.layers, by_layer, strict=True):
            assert isinstance(start, PhaseStart)
            current = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
            starts.append(replace(start, current=current, first=group.start))
        return starts

    @property
    def _from_currents(self) -> bool:
        return any(isinstance(start, PhaseStart) for start in self.layers)


def set_start(layer: CompiledLayer, memory: LayerMemory, start: LayerStart, block: slice) -> None:
    """Write the state before the first step of some of the images that `start` is for into a layer's memory."""
    state = memory.state
    state.refractory[:] = 0
    state.waking[:] = 0
    state.sent[:] = 0
    memory.filtered[:] = 0
    start.write(layer, state, block)


def _write(layer: CompiledLayer, state: NeuronState, voltages: np.ndarray, refractory_time: np.ndarray | None) -> None:
    """Set voltages and refractory times (images, neurons); of the latter the neurons have none without."""
    padded = _padded(voltages, layer)
    state.voltage[: len(padded)] = padded
    if refractory_time is not None:
        start_refractory(layer.kernel.neuron, state, _padded(refractory_time, layer), layer.kernel.map.lanes)


def _padded(values: np.ndarray, layer: CompiledLayer) -> np.ndarray:
    """Values of neurons (images, neurons) with the channels of the last tile filled up, (images, padded neurons)."""
    channels, height, width = layer.map.shape
    missing = layer.kernel.map.tiles * vector_width(layer.kernel.map) - channels
    if not missing:
        return values
    filled: np.ndarray = np.pad(values.reshape(-1, height * width, channels), ((0, 0), (0, 0), (0, missing)))
    return filled.reshape(len(values), -1)


def starts_of(prepared: PreparedNetwork, network: CompiledNetwork, shown: Tensor, image_index: Tensor) -> Starts:
    """How each layer of neurons begins.

    Args:
        prepared: with the start of these images.
        network: the same for this engine.
        shown: the images in each step, or in one.
        image_index: which image each row is.

    Raises:
        UnsupportedError: a state in which a compiled step cannot begin.
    """
    settings = prepared.settings
    starts: list[LayerStart] = []
    for number, (call, layer) in enumerate(zip(prepared.analysis.trace.neurons, network.layers, strict=True)):
        neuron = call.module
        assert isinstance(neuron, Neuron)
        if isinstance(settings.start, str) and settings.start in VOLTAGES:
            starts.append(ConstantStart(_membrane(neuron, VOLTAGES[settings.start])))
        elif isinstance(settings.start, str):
            order = _order_of_numbers(layer.map)
            numbers = RandomNumbers(settings.seed, image_index.numpy(), number, order, layer.neurons)
            if settings.start == "uniform":
                starts.append(UniformStart(numbers, _membrane(neuron, 1.0)))
            else:
                drawn = numbers if settings.start == "steady_phase" else None
                starts.append(PhaseStart(drawn, neuron, settings.dt))
        else:
            shape = shown.new_zeros(1, *call.shape).expand(len(image_index), *call.shape)
            state = initial_state(call, number, shape, image_index, settings)
            starts.append(_given_start(neuron, layer, state, settings.dt))
    return Starts(network, starts)


def _membrane(neuron: Neuron, voltage: float) -> float:
    """The membrane at a voltage that is given in units of the threshold."""
    return float(neuron.initial_state(torch.tensor(voltage, dtype=torch.float64))["voltage"])


def _order_of_numbers(layer: Map) -> np.ndarray | None:
    """For each neuron, with the channel fastest, the number of its random number; None if they are the same.

    Random numbers are counted with the first axis of a layer's output fastest (see `ratespike.simulation.random`).
    """
    shape = layer.places.shape
    numbers = torch.arange(layer.places.numel()).reshape(*shape[1:], shape[0]).movedim(-1, 0)
    placed = _with_channels_last(numbers[None], layer)[0].numpy()
    return None if (placed == np.arange(len(placed))).all() else placed


def _given_start(neuron: object, layer: CompiledLayer, state: State, dt: float) -> GivenStart:
    assert isinstance(neuron, Neuron)
    if "sent" in state and bool(state["sent"].any()):
        raise UnsupportedError("a start with spikes sent before")
    voltages = _with_channels_last(state["voltage"], layer.map).numpy()
    if "refractory_time" not in state:
        return GivenStart(voltages, None)
    refractory_time = _with_channels_last(state["refractory_time"], layer.map).numpy()
    refractory = refractory_time > dt
    if not refractory.any():
        return GivenStart(voltages, None)
    if refractory_time.max() > longest_refractory_time(layer.kernel.neuron) or voltages[refractory].any():
        raise UnsupportedError("a start in a refractory time longer than the neuron's, or with a voltage other than 0")
    return GivenStart(voltages, refractory_time)


def _with_channels_last(values: Tensor, layer: Map) -> Tensor:
    """Values of a layer's output (batch, ...) as (batch, neurons) with the channel of its map fastest."""
    return layer.laid_out(values).movedim(1, -1).flatten(1).contiguous()
