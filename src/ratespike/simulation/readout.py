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
        self.readout = readout
        self.synapse = synapse
        self.dt = dt
        self.scale = scale
        self.steps = 0
        self.burn_in_steps = round(burn_in / dt) if readout == "mean_after_burn_in" else 0
        # of `last`: the filter's state; of the others: the outputs' sum, and the sum of those of the burn-in
        self.state: tuple[Tensor, ...] | None = None

    def extend(self, outputs: Float[Tensor, "time batch classes"]) -> Float[Tensor, "time batch classes"]:
        """The answers after each of the steps that follow; `outputs` are those of the last layer, unfiltered."""
        answer_after = self._filtered if self.readout == "last" else self._from_sums
        return torch.stack([answer_after(output) for output in outputs])

    def keep(self, images: Tensor) -> None:
        """Go on with these images only: their rows, or a mask of all rows."""
        if self.state is not None:
            self.state = tuple(values[images] for values in self.state)

    def _filtered(self, output: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
        """The answer of `last` after one more step."""
        if self.state is None:
            self.state = self.synapse.initial_state(output)
        value, self.state = self.synapse.step(output, self.state, self.dt)
        return value

    def _from_sums(self, output: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
        """The answer of a mean or of the spike count after one more step."""
        output = at_least_float32(output)
        if self.state is None:
            self.state = (torch.zeros_like(output), torch.zeros_like(output))
        total, of_burn_in = self.state
        total = total + output
        self.steps += 1
        if self.steps == self.burn_in_steps:
            of_burn_in = total
        self.state = (total, of_burn_in)

        if self.readout == "spike_count":
            return total * (self.dt / self.scale)
        if self.steps <= self.burn_in_steps:
            return total / self.steps
        return (total - of_burn_in) / (self.steps - self.burn_in_steps)
