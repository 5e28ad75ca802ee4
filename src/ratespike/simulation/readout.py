"""What counts as a network's answer after each step: from its outputs over time."""

import torch
from jaxtyping import Float
from torch import Tensor

from ratespike.neurons.base import at_least_float32
from ratespike.synapses import Synapse

READOUTS = ("last", "mean", "mean_after_burn_in", "spike_count")


class Answers:
    """What a network answers after each step, as if the simulation ended there; outputs may come some steps at a time.

    Only `last` looks through the synapse: the others average themselves, and a filter before them would only delay them.

    Args:
        readout:
            - `last`: the filtered output of the step.
            - `mean`: the mean of the outputs so far.
            - `mean_after_burn_in`: the mean of the outputs so far without those of the first `burn_in` seconds; as long as
              there are no others, their mean.
            - `spike_count`: if the network ends in neurons, how many spikes each has fired so far; if it ends in a layer
              with weights, the spikes it has got so far, each weighted: the outputs' sum times dt.
        synapse: the filter behind the output, in front of `last`.
        dt: the step, seconds.
        burn_in: how long `mean_after_burn_in` looks away, seconds.
        scale: a spike's height times dt if the network ends in neurons, else 1.

    Example:
        >>> from ratespike.synapses import NoFilter
        >>> outputs = torch.tensor([[[4.0]], [[1.0]], [[2.0]]])
        >>> answers = Answers("mean_after_burn_in", synapse=NoFilter(), dt=0.001, burn_in=0.001, scale=1.0)
        >>> answers.extend(outputs).flatten()
        tensor([4.0000, 1.0000, 1.5000])
    """

    def __init__(self, readout: str, *, synapse: Synapse, dt: float, burn_in: float, scale: float):
        self.readout, self.synapse, self.dt, self.scale = readout, synapse, dt, scale
        self.skipped = round(burn_in / dt) if readout == "mean_after_burn_in" else 0
        self.steps = 0
        self.state: tuple[Tensor, ...] | None = None  # of the filter, or the sum so far and that of the burn-in

    def extend(self, outputs: Float[Tensor, "time batch classes"]) -> Float[Tensor, "time batch classes"]:
        """The answers after each of the steps that follow; `outputs` are those of the last layer, unfiltered."""
        step = self._filtered if self.readout == "last" else self._summed
        return torch.stack([step(output) for output in outputs])

    def keep(self, images: Tensor) -> None:
        """Go on with these images only: numbers, or a mask."""
        self.state = tuple(values[images] for values in self.state or ())

    def _filtered(self, output: Tensor) -> Tensor:
        if self.state is None:
            self.state = self.synapse.initial_state(output)
        value, self.state = self.synapse.step(output, self.state, self.dt)
        return value

    def _summed(self, output: Tensor) -> Tensor:
        output = at_least_float32(output)
        nothing = torch.zeros_like(output)
        total, skipped = self.state or (nothing, nothing)
        self.steps, total = self.steps + 1, total + output
        if self.steps == self.skipped:
            skipped = total
        self.state = total, skipped
        if self.readout == "spike_count":
            return total * (self.dt / self.scale)
        if self.steps > self.skipped:
            return (total - skipped) / (self.steps - self.skipped)
        return total / self.steps
