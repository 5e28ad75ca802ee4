"""The reference engine: the network's own `forward`, on spikes. Any device, any dtype, every neuron, every layer.

Each call of a neuron or a filter is replaced by one that keeps its state. There is no feedback between layers, so that a layer
can take many time steps before the next one begins: the steps are rows of one batch, and only neurons and filters loop over
them. How many images and steps at once follows from a budget of memory (`slices`). `torch.compile` can fuse the operations of a
neuron's step.

In float32 the last digit of a sum depends on its order. Where the forward computes weighted sums of spikes alone, they are
computed as such instead, with weights for which sums are exact (`exact_sums`): then batches, devices and engines agree.
"""

from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ratespike.neurons import Neuron, State
from ratespike.parameters import ParameterError
from ratespike.simulation.exact_sums import NetworkSums, network_sums
from ratespike.simulation.max_pooling import MaxPoolings, is_max_pooling, sums_over_time
from ratespike.simulation.network_analysis import Analysis
from ratespike.simulation.random import uniform_like
from ratespike.simulation.result import Simulation, concatenate
from ratespike.simulation.settings import Settings
from ratespike.simulation.slices import slices, steps_at_once
from ratespike.simulation.start import FROM_CURRENTS, initial_state, start_of_rows, steady_currents
from ratespike.simulation.terms import NoTermError, Pool, Term
from ratespike.simulation.tracing import Call
from ratespike.stateful import Stateful, replaced
from ratespike.synapses import Synapse


@dataclass(frozen=True)
class PreparedNetwork:
    """What stays the same for all images of a simulation.

    Attributes:
        analysis: what was found out about the network.
        settings: of the simulation.
        sums: what arrives at the layers, as exact sums; None: as the forward says.
        compiled: whether the neurons' steps go through `torch.compile`.
    """

    analysis: Analysis
    settings: Settings
    sums: NetworkSums | None = None
    compiled: bool = False

    def for_rows(self, rows: slice, batch: int, filled: int | None = None) -> "PreparedNetwork":
        """The same for some rows of a batch, whose start may be given.

        Args:
            rows: which ones.
            batch: how many images there are.
            filled: up to how many rows are filled up with zeros; None: they are not.
        """
        shapes = {call.name: call.shape for call in self.analysis.trace.neurons}
        n_rows = rows.stop - rows.start if filled is None else filled
        start = start_of_rows(self.settings.start, shapes, batch, rows, n_rows)
        return replace(self, settings=replace(self.settings, start=start))


class RunningNeurons:
    """A call of a neuron while it runs: its state, and what is kept of each step.

    Args:
        prepared: what stays the same for all images.
        call: of the neuron.
        layer: its number among the calls of neurons, from 0.
        image_index: which image each row of the currents is.

    Attributes:
        name: of the call.
        spike_counts: of the steps so far, in pieces of shape (time, batch).
        operations: weights that the spikes met, in pieces of the same shape, float64.
        recording: spikes, in pieces of shape (time, batch, ...), if the layer is recorded.
        voltages: after each step, shape (batch, ...), if the layer is recorded and its neurons have a membrane.
    """

    def __init__(self, prepared: PreparedNetwork, call: Call, layer: int, image_index: Int[Tensor, " batch"]):
        assert isinstance(call.module, Neuron)
        self.name = call.name
        self.spike_counts: list[Tensor] = []
        self.operations: list[Tensor] = []
        self.recording: list[Tensor] = []
        self.voltages: list[Tensor] = []

        self._neuron = call.module
        self._call = call
        self._layer = layer
        self._image_index = image_index
        self._settings = prepared.settings
        self._recorded = call.name in prepared.settings.record
        self._weights_met = prepared.analysis.fan_out.weights_met[call.name].flatten()
        self._sums_are_exact = float(self._weights_met.sum()) < 2**24  # in float32, of neurons that spike once in a step
        self._step = torch.compile(self._neuron.step, dynamic=True) if prepared.compiled else self._neuron.step
        self._state: State | None = None
        self._steps_done = 0

    def start(self, current: Float[Tensor, " batch *shape"]) -> None:
        """Set the state before the first step, from the layer's current as far as it is known."""
        state = initial_state(self._call, self._layer, current, self._image_index, self._settings)
        self._state = {name: values.contiguous() for name, values in state.items()}

    def run(self, signals: Float[Tensor, " time batch *shape"]) -> Float[Tensor, " time batch *shape"]:
        """Advance by the steps of `signals`; returns the pulses of each neuron in each of them, in the dtype of `signals`."""
        spikes = self.spikes(self._neuron.current(signals))
        return (spikes * (self._neuron.scale / self._settings.dt)).to(signals.dtype)

    def spikes(self, currents: Float[Tensor, " time batch *shape"]) -> Float[Tensor, " time batch *shape"]:
        """Advance by the steps of `currents`; returns how often each neuron spiked in each of them."""
        if self._state is None:
            self.start(currents[0])
        # one order of memory: faster steps, and compiled once
        spikes = torch.stack([self._advance(current.contiguous()) for current in currents])
        counts = (spikes.flatten(2) if spikes.dim() > 2 else spikes.unsqueeze(2)).abs()  # (time, batch, neurons)
        self.spike_counts.append(counts.sum(2))
        exact = counts if self._sums_are_exact else counts.double()
        self.operations.append((exact @ self._weights_met.to(exact)).double())
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
    """A call of a filter while it runs: `run` goes on where the last call has ended."""

    def __init__(self, synapse: Synapse, dt: float):
        self._synapse = synapse
        self._dt = dt
        self._state: tuple[Tensor, ...] | None = None

    def run(self, signals: Float[Tensor, " time batch *shape"]) -> Float[Tensor, " time batch *shape"]:
        """Filter the signals of some steps; returns them in the dtype of `signals`."""
        if self._state is None:
            self._state = self._synapse.initial_state(signals[0])
        filtered = []
        for signal in signals:
            value, self._state = self._synapse.step(signal, self._state, self._dt)
            filtered.append(value)
        return torch.stack(filtered).to(signals.dtype)


class RunningCalls:
    """The calls of neurons and filters in the network's forward while one slice of images runs."""

    def __init__(self, prepared: PreparedNetwork, image_index: Int[Tensor, " batch"]):
        self.neurons: list[RunningNeurons] = []
        self._calls = prepared.analysis.trace.calls
        self._running: list[RunningNeurons | RunningFilter] = []
        for call in self._calls:
            if isinstance(call.module, Neuron):
                self.neurons.append(RunningNeurons(prepared, call, len(self.neurons), image_index))
                self._running.append(self.neurons[-1])
            else:
                assert isinstance(call.module, Synapse)
                self._running.append(RunningFilter(call.module, prepared.settings.dt))
        self._steps = 1
        self._next = 0

    def begin(self, steps: int) -> None:
        """A forward pass of `steps` more time steps begins."""
        self._steps = steps
        self._next = 0

    def __call__(self, module: Stateful, signal: Float[Tensor, " rows *shape"]) -> Float[Tensor, " rows *shape"]:
        """What leaves the next call, for rows (time * batch)."""
        number = self._next
        self._next += 1
        if number >= len(self._calls) or self._calls[number].module is not module:
            raise ParameterError(
                "network: its forward calls other neurons than at first: its way must be the same for all images"
            )
        signals = signal.unflatten(0, (self._steps, -1))  # (time, batch, ...)
        return self._running[number].run(signals).flatten(0, 1)


class Forward:
    """The network's own forward on spikes, for one slice of images.

    Args:
        prepared: the network and the settings.
        shown: what the network gets in each step.
        image_index: which image each row is.

    Attributes:
        neurons: the layers of neurons, in the order of their calls.
    """

    def __init__(self, prepared: PreparedNetwork, shown: Tensor, image_index: Tensor) -> None:
        self._network = prepared.analysis.network
        self._probe = prepared.analysis.probe
        self._shown = shown
        self._calls = RunningCalls(prepared, image_index)
        self.neurons = self._calls.neurons
        pooled = any(is_max_pooling(operation) for operation in prepared.analysis.trace.operations)
        self._poolings = MaxPoolings(prepared.analysis.trace) if pooled else None

    def run(self, begin: int, end: int) -> Float[Tensor, "time batch *shape"]:
        """The network's outputs in the steps `begin` … `end` - 1, which follow those of the last call."""
        steps = end - begin
        self._calls.begin(steps)
        if self._poolings is not None:
            self._poolings.begin(steps)
        images = self._shown[begin:end].flatten(0, 1)  # (time * batch, ...)
        self._probe.check_batch(len(images))
        with replaced(self._calls), self._poolings or nullcontext():
            rows = self._network(images)
        outputs: Tensor = rows.unflatten(0, (steps, -1))
        return outputs


class WeightedForward:
    """The same from exact sums over spike counts; arguments and attributes are those of `Forward`."""

    def __init__(self, prepared: PreparedNetwork, shown: Tensor, image_index: Tensor) -> None:
        sums = prepared.sums
        assert sums is not None
        self._sums = sums
        self.neurons = RunningCalls(prepared, image_index).neurons
        self._pool_numbers = {pool: len(self.neurons) + number for number, pool in enumerate(sums.pools)}
        self._sums_before: dict[Pool, Tensor] = {}  # of the counts that have arrived at each pool
        self._filters: dict[Term, RunningFilter] = {}
        for target in sums.targets:
            for term in target.terms:
                if term.synapse is not None:
                    self._filters[term] = RunningFilter(term.synapse, prepared.settings.dt)
        different = shown if shown.stride(0) else shown[:1]  # steps
        prepared.analysis.probe.check_batch(different.shape[0] * different.shape[1])
        everything = sums.at_rest(different.flatten(0, 1), range(len(sums.targets)))
        self._at_rest: list[Tensor] = []
        for number, target in enumerate(sums.targets):
            currents = target.at_rest(everything[number]).to(shown.dtype).unflatten(0, different.shape[:2])
            self._at_rest.append(currents.expand(len(shown), *currents.shape[1:]))

    def run(self, begin: int, end: int) -> Float[Tensor, "time batch *shape"]:
        """The network's outputs in the steps `begin` … `end` - 1, which follow those of the last call."""
        counts: dict[int, Tensor] = {}  # of each layer and pool so far, (time, batch, channels, height, width)
        for number, layer in enumerate(self.neurons):
            currents = self._currents(number, counts, begin, end)
            target = self._sums.targets[number].target.map
            counts[number] = target.laid_out(layer.spikes(target.as_called(currents)))
            for pool, pool_number in self._pool_numbers.items():  # a pool of a pool comes behind it
                if pool.source in counts and pool_number not in counts:
                    counts[pool_number] = self._pooled(pool, counts[pool.source])
        return self._sums.targets[-1].target.map.as_called(self._currents(len(self.neurons), counts, begin, end))

    def _pooled(self, pool: Pool, counts: Tensor) -> Tensor:
        """The counts that leave a max pooling of spikes."""
        sums = sums_over_time(counts, self._sums_before.get(pool))
        self._sums_before[pool] = sums[-1]
        return pool.largest(sums).diff(dim=0)

    def _currents(self, number: int, counts: dict[int, Tensor], begin: int, end: int) -> Tensor:
        """The currents of a layer, or the output, shape (time, batch, channels, height, width)."""
        currents = self._at_rest[number][begin:end]
        for term in self._sums.targets[number].terms:
            added = term.applied(counts[term.source].flatten(0, 1)).unflatten(0, currents.shape[:2])
            if term in self._filters:
                added = self._filters[term].run(added)
            currents = currents + added
        return currents


def run(prepared: PreparedNetwork, shown: Float[Tensor, "time batch *shape"], image_index: Int[Tensor, " batch"]) -> Simulation:
    """Simulate a batch, a slice of its images at a time.

    Args:
        prepared: the network and the settings.
        shown: what the network gets in each step; of a single step if it is always the same.
        image_index: which image each row is.

    Returns:
        The simulation with the network's unfiltered outputs and the operations of the spikes alone; early exits are not taken.
    """
    largest_layer = prepared.analysis.fan_out.largest_layer
    if shown.dtype == torch.float32:
        with suppress(NoTermError):
            prepared = replace(prepared, sums=prepared.analysis.made(network_sums, prepared.settings.dt))
    simulations = []
    for part in slices(shown, image_index, largest_layer):
        simulation = _run_slice(
            prepared.for_rows(part.rows, len(image_index), len(part.image_index)), part.shown, part.image_index
        )
        simulations.append(simulation.first(part.n_images))
    return concatenate(simulations)


def _run_slice(prepared: PreparedNetwork, shown: Tensor, image_index: Tensor) -> Simulation:
    """Simulate images that fit the budget of memory together."""
    settings = prepared.settings
    at_once = steps_at_once(shown, prepared.analysis.fan_out.largest_layer)
    every_step = shown.expand(settings.n_steps, *shown.shape[1:])
    kind = Forward if prepared.sums is None else WeightedForward
    forward = kind(prepared, every_step, image_index)
    if settings.start in FROM_CURRENTS:
        currents = steady_currents(prepared.analysis.network, shown, len(forward.neurons))
        for layer, current in zip(forward.neurons, currents, strict=True):
            layer.start(current)
    outputs = []
    for begin in range(0, settings.n_steps, at_once):
        outputs.append(forward.run(begin, min(begin + at_once, settings.n_steps)))
    return _result(prepared, forward.neurons, torch.cat(outputs))


def _result(prepared: PreparedNetwork, layers: list[RunningNeurons], outputs: Tensor) -> Simulation:
    """What the neuron layers have kept, as the simulation of one slice; without the operations of the images."""
    spike_operations = {layer.name: torch.cat(layer.operations) for layer in layers}
    dtype = layers[0].spike_counts[0].dtype
    return Simulation(
        outputs=outputs,
        spike_counts={layer.name: torch.cat(layer.spike_counts) for layer in layers},
        synaptic_operations=torch.stack(list(spike_operations.values())).sum(0).to(dtype),
        neurons={name: places.numel() for name, places in prepared.analysis.fan_out.weights_met.items()},
        recordings={layer.name: torch.cat(layer.recording) for layer in layers if layer.recording},
        voltages={layer.name: torch.stack(layer.voltages) for layer in layers if layer.voltages},
        dt=prepared.settings.dt,
        spike_operations=spike_operations,
    )
