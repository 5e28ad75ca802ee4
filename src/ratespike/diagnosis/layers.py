"""A network on spikes, layer by layer: all time steps of a layer before the next layer begins, as nothing feeds back.

Each layer of neurons may do something else than the simulation: fire on a current that stands still, or pass on its rate.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ratespike.diagnosis.case import Case
from ratespike.neurons import Neuron
from ratespike.simulation.max_pooling import MaxPoolings, is_max_pooling
from ratespike.simulation.network_analysis import Analysis, analyse
from ratespike.simulation.random import uniform_like
from ratespike.simulation.reference import RunningFilter
from ratespike.simulation.settings import Settings
from ratespike.simulation.start import initial_state
from ratespike.simulation.tracing import Call
from ratespike.stateful import Stateful, replaced
from ratespike.synapses import Synapse

_VALUES_AT_ONCE = 2**23  # of the largest layer in all steps of the images that run together: 32 MiB in float32

Change = Callable[["Layer", Tensor], Tensor]


@dataclass(frozen=True)
class Layer:
    """A call of a layer of neurons in a simulation of some images.

    Attributes:
        case: whose settings count.
        call: of the neurons.
        number: among the layers of neurons, from 0.
        index: which image each row is, shape (batch,).
        steady: the current of each neuron on rates, from which a start in a phase of the cycle takes it.
    """

    case: Case
    call: Call
    number: int
    index: Int[Tensor, " batch"]
    steady: Float[Tensor, "batch ..."]

    @property
    def neuron(self) -> Neuron:
        """Its neurons."""
        assert isinstance(self.call.module, Neuron)
        return self.call.module

    def fired(
        self,
        currents: Float[Tensor, "time batch ..."],
        start: str | None = None,
        steady: Float[Tensor, "batch ..."] | None = None,
    ) -> Iterator[Float[Tensor, "batch ..."]]:
        """The spikes of each neuron in each step.

        Args:
            currents: of all steps.
            start: a word of `ratespike.simulate`; None: that of the case.
            steady: the current whose firing cycle a start in a phase takes; None: that on rates.
        """
        case = self.case
        settings = Settings(case.n_steps, case.dt, case.start if start is None else start, (), case.seed)
        state = initial_state(self.call, self.number, self.steady if steady is None else steady, self.index, settings)
        for step, current in enumerate(currents, start=1):
            numbers: tuple[Tensor, ...] = ()
            if self.neuron.random:
                numbers = (uniform_like(current, case.seed, self.index, self.number, purpose=step),)
            spikes, state = self.neuron.step(current, state, case.dt, *numbers)
            yield spikes

    def mean_activation(self, spikes: Iterator[Tensor]) -> Float[Tensor, "batch ..."]:
        """What the spikes of all steps are on average, in the unit of the rates' activations."""
        counts = sum(spikes)
        assert isinstance(counts, Tensor)
        return counts * (self.neuron.scale / self.case.seconds)

    def pulses(self, currents: Float[Tensor, "time batch ..."]) -> Float[Tensor, "time batch ..."]:
        """What leaves the neurons in each step, as in the case's simulation."""
        return torch.stack(list(self.fired(currents))) * (self.neuron.scale / self.case.dt)


@dataclass(frozen=True)
class Rates:
    """Some images on rates.

    Attributes:
        currents: by layer of neurons, in their order, what arrives at each, shape (batch, ...).
        activations: what leaves each.
        outputs: shape (batch, classes).
    """

    currents: list[Tensor]
    activations: list[Tensor]
    outputs: Float[Tensor, "batch classes"]


@dataclass(frozen=True)
class Slice:
    """Some of the images of a case, as many as fit in memory in all steps.

    Attributes:
        case: it is of.
        analysis: of the network.
        images: shape (batch, ...).
        labels: their classes, shape (batch,).
        index: their numbers in their set, shape (batch,).
        rates: of them.
    """

    case: Case
    analysis: Analysis
    images: Tensor
    labels: Tensor
    index: Tensor
    rates: Rates

    @property
    def layers(self) -> list[Layer]:
        """The layers of neurons, in the order of their calls."""
        calls = self.analysis.trace.neurons
        return [Layer(self.case, call, number, self.index, self.rates.currents[number]) for number, call in enumerate(calls)]

    def run(self, change: Change) -> Float[Tensor, "time batch classes"]:
        """The outputs in each step, unfiltered.

        Args:
            change: given a layer of neurons and its currents in all steps (time, batch, ...), what leaves it.
        """
        n_steps = self.case.n_steps
        trace = self.analysis.trace
        layers = {layer.call.number: layer for layer in self.layers}
        calls = iter(trace.calls)

        def call(module: Stateful, signal: Tensor) -> Tensor:
            known = next(calls)
            signals = signal.unflatten(0, (n_steps, -1))
            if isinstance(module, Synapse):
                return RunningFilter(module, self.case.dt).run(signals).flatten(0, 1)
            layer = layers[known.number]
            return change(layer, layer.neuron.current(signals)).to(signal.dtype).flatten(0, 1)

        poolings = None
        if any(is_max_pooling(operation) for operation in trace.operations):
            poolings = MaxPoolings(trace)
            poolings.begin(n_steps)
        shown = self.images.expand(n_steps, *self.images.shape).flatten(0, 1)
        with torch.no_grad(), replaced(call), poolings or nullcontext():
            rows: Tensor = self.analysis.network(shown)
        outputs: Tensor = rows.unflatten(0, (n_steps, -1))
        return outputs

    def on_rates_with(self, chosen: Layer, activation: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch classes"]:
        """The outputs on rates, with an activation in place of that of one layer."""
        calls = iter(self.analysis.trace.calls)

        def call(module: Stateful, signal: Tensor) -> Tensor:
            if next(calls).number == chosen.call.number:
                return activation.to(signal.dtype)
            return module.in_rate_mode(signal)

        with torch.no_grad(), replaced(call):
            outputs: Tensor = self.analysis.network(self.images)
        return outputs


def slices(case: Case) -> Iterator[Slice]:
    """The images of a case, some at a time, with what the network computes of them on rates."""
    analysis = analyse(case.network, case.images)
    largest = max(analysis.fan_out.largest_layer, case.images[0].numel())
    size = max(1, _VALUES_AT_ONCE // (case.n_steps * largest))
    parts = zip(case.images.split(size), case.labels.split(size), case.index.split(size), strict=True)
    for images, labels, index in parts:
        yield Slice(case, analysis, images, labels, index, _on_rates(analysis, images))


@torch.no_grad()
def _on_rates(analysis: Analysis, images: Tensor) -> Rates:
    currents: list[Tensor] = []
    activations: list[Tensor] = []

    def call(module: Stateful, signal: Tensor) -> Tensor:
        if not isinstance(module, Neuron):
            return module.in_rate_mode(signal)
        activation, current = module.activation_and_current(signal)
        currents.append(current)
        activations.append(activation)
        return activation

    with replaced(call):
        outputs: Tensor = analysis.network(images)
    return Rates(currents, activations, outputs)
