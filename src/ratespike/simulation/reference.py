"""The reference engine: plain PyTorch operations, any device, any dtype, every neuron.

Layers without memory take some time steps at once, folded into the batch; only neurons and filters loop over time. How many
images and steps at once follows from a budget of memory (`slices`). `torch.compile` can fuse the operations of a neuron's step.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ratespike.neurons import Neuron, State
from ratespike.simulation.exact_sums import weighted_sum
from ratespike.simulation.fan_out import FanOut, fan_out
from ratespike.simulation.random import uniform_like
from ratespike.simulation.result import Simulation, concatenate
from ratespike.simulation.segments import Segment
from ratespike.simulation.settings import Settings
from ratespike.simulation.slices import slices, steps_at_once
from ratespike.simulation.start import initial_state, steady_currents
from ratespike.synapses import NoFilter, Synapse

Input = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class PreparedNetwork:
    """What stays the same for all images of a simulation.

    Attributes:
        segments: the network.
        inputs: for each segment, the function from what the segment before sends (the first one: the images) to what
            arrives at its ending.
        fan_out: the weights that a spike of each neuron meets.
        settings: of the simulation.
        compiled: whether the neurons' steps go through `torch.compile`.
    """

    segments: list[Segment]
    inputs: list[Input]
    fan_out: FanOut
    settings: Settings
    compiled: bool


class RunningNeurons:
    """A neuron layer while it runs: its state, and what is kept of each step.

    Args:
        network: what stays the same for all images.
        segment: the segment that ends in the neuron layer.
        layer: its number among the neuron layers, from 0.
        image_index: which image each row of the currents is.

    Attributes:
        name: of the layer in the network.
        spike_counts: of the steps so far, in pieces of shape (time, batch).
        operations: weights that the spikes met, in pieces of the same shape.
        recording: spikes, in pieces of shape (time, batch, ...), if the layer is recorded.
        voltages: after each step, shape (batch, ...), if the layer is recorded and its neurons have a membrane.
    """

    def __init__(self, network: PreparedNetwork, segment: Segment, layer: int, image_index: Int[Tensor, " batch"]):
        assert isinstance(segment.ending, Neuron)
        self.name = segment.name
        self.spike_counts: list[Tensor] = []
        self.operations: list[Tensor] = []
        self.recording: list[Tensor] = []
        self.voltages: list[Tensor] = []

        self._neuron = segment.ending
        self._segment = segment
        self._layer = layer
        self._image_index = image_index
        self._settings = network.settings
        self._recorded = segment.name in network.settings.record
        self._weights_met = network.fan_out.weights_met[segment.name].flatten()
        self._step = torch.compile(self._neuron.step, dynamic=True) if network.compiled else self._neuron.step
        self._state: State | None = None
        self._steps_done = 0

    def start(self, current: Float[Tensor, " batch *shape"]) -> None:
        """Set the state before the first step, from the layer's current as far as it is known."""
        state = initial_state(self._segment, self._layer, current, self._image_index, self._settings)
        self._state = {name: values.contiguous() for name, values in state.items()}

    def run(self, currents: Float[Tensor, " time batch *shape"]) -> Float[Tensor, " time batch *shape"]:
        """Advance by the steps of `currents`; returns how often each neuron spiked in each of them."""
        if self._state is None:
            self.start(currents[0])
        # one order of memory: faster steps, and compiled once
        spikes = torch.stack([self._advance(current.contiguous()) for current in currents])
        counts = spikes.flatten(2).abs()  # (time, batch, neurons)
        self.spike_counts.append(counts.sum(2))
        self.operations.append(counts @ self._weights_met.to(counts.dtype))
        if self._recorded:
            self.recording.append(spikes)
        return spikes

    def _advance(self, current: Tensor) -> Tensor:
        """Advance by one step; returns the spikes."""
        assert self._state is not None
        self._steps_done += 1
        spikes, self._state = self._step(current, self._state, self._settings.dt, *self._random_numbers(current))
        if self._recorded and "voltage" in self._state:
            self.voltages.append(self._state["voltage"])
        return spikes

    def _random_numbers(self, current: Tensor) -> tuple[Tensor, ...]:
        """The fourth argument of a random neuron's step; nothing for the others."""
        if not self._neuron.random:
            return ()
        return (uniform_like(current, self._settings.seed, self._image_index, self._layer, purpose=self._steps_done),)


class RunningFilter:
    """A filter while it runs: `run` goes on where the last call has ended."""

    def __init__(self, synapse: Synapse, dt: float):
        self._synapse = synapse
        self._dt = dt
        self._state: tuple[Tensor, ...] | None = None

    def run(self, signals: Float[Tensor, " time batch *shape"]) -> Float[Tensor, " time batch *shape"]:
        """Filter the signals of some steps."""
        if self._state is None:
            self._state = self._synapse.initial_state(signals[0])
        filtered = []
        for signal in signals:
            value, self._state = self._synapse.step(signal, self._state, self._dt)
            filtered.append(value)
        return torch.stack(filtered)


def run(
    segments: list[Segment],
    images: Float[Tensor, " batch *shape"],
    image_index: Int[Tensor, " batch"],
    settings: Settings,
    *,
    compiled: bool = False,
) -> Simulation:
    """Simulate a batch, a slice of its images at a time.

    Args:
        segments: the network.
        images: what the network takes.
        image_index: which image each row is.
        settings: steps, start, seed and what to record.
        compiled: whether the neurons' steps go through `torch.compile`.

    Returns:
        The simulation with the network's unfiltered outputs; early exits are not taken.

    Raises:
        ValueError: a layer whose connections cannot be counted.
    """
    counted = fan_out(segments, images[:1])
    network = PreparedNetwork(segments, _inputs(segments, images.dtype, settings.dt), counted, settings, compiled)
    simulations = []
    for part in slices(images, image_index, counted.largest_layer):
        simulation = _run_slice(network, part.images, part.image_index)
        simulations.append(simulation.first(part.n_images))
    result = concatenate(simulations)
    result.synaptic_operations[0] += counted.first_operations
    return result


def _inputs(segments: list[Segment], dtype: torch.dtype, dt: float) -> list[Input]:
    """For each segment, the function from what the segment before sends to what arrives at its ending."""
    inputs: list[Input] = []
    source: Neuron | Synapse | None = None  # the images
    for segment in segments:
        inputs.append(_input(source, segment, dtype, dt))
        source = segment.ending
    return inputs


def _input(source: Neuron | Synapse | None, segment: Segment, dtype: torch.dtype, dt: float) -> Input:
    """What arrives at a segment's ending, as a function of the images (no source), of spike counts, or of a filter's signal.

    In float32 the sums over spike counts are exact where the layers allow it (see `exact_sums`).
    """
    height = source.scale / dt if isinstance(source, Neuron) else 1.0
    total = None
    if dtype == torch.float32 and not isinstance(source, Synapse):
        total = weighted_sum(segment, height)
    if total is None:
        return lambda signal: segment.input((signal * height).to(dtype))
    if source is None:
        return lambda images: total(images.double()).to(dtype)
    return total.exact_in(dtype)


def _run_slice(network: PreparedNetwork, images: Tensor, image_index: Tensor) -> Simulation:
    """Simulate images that fit the budget of memory together."""
    endings = _running_endings(network, image_index)
    layers = [ending for ending in endings if isinstance(ending, RunningNeurons)]
    if network.settings.start == "steady_phase":
        for layer, current in zip(layers, steady_currents(network.segments, images), strict=True):
            layer.start(current)

    first_signal = network.inputs[0](images)  # the same in every step
    n_steps = network.settings.n_steps
    at_once = steps_at_once(images, network.fan_out.largest_layer)
    outputs = []
    for begin in range(0, n_steps, at_once):
        steps = min(at_once, n_steps - begin)
        signals = endings[0].run(first_signal.expand(steps, *first_signal.shape))  # (time, batch, ...)
        for arriving_at, ending in zip(network.inputs[1:], endings[1:], strict=True):
            arriving = arriving_at(signals.flatten(0, 1))  # (time * batch, ...)
            signals = ending.run(arriving.unflatten(0, signals.shape[:2]))
        outputs.append(signals)
    return _result(network, layers, torch.cat(outputs))


def _running_endings(network: PreparedNetwork, image_index: Tensor) -> list[RunningNeurons | RunningFilter]:
    """The segments' endings, none of which has begun; the network's end is a filter that changes nothing."""
    endings: list[RunningNeurons | RunningFilter] = []
    layer = 0
    for segment in network.segments:
        if isinstance(segment.ending, Neuron):
            endings.append(RunningNeurons(network, segment, layer, image_index))
            layer += 1
        else:
            endings.append(RunningFilter(segment.ending or NoFilter(), network.settings.dt))
    return endings


def _result(network: PreparedNetwork, layers: list[RunningNeurons], outputs: Tensor) -> Simulation:
    """What the neuron layers have kept, as the simulation of one slice; without the operations of the first current."""
    return Simulation(
        outputs=outputs,
        spike_counts={layer.name: torch.cat(layer.spike_counts) for layer in layers},
        synaptic_operations=torch.stack([torch.cat(layer.operations) for layer in layers]).sum(0),
        neurons={name: places.numel() for name, places in network.fan_out.weights_met.items()},
        recordings={layer.name: torch.cat(layer.recording) for layer in layers if layer.recording},
        voltages={layer.name: torch.stack(layer.voltages) for layer in layers if layer.voltages},
        dt=network.settings.dt,
    )
