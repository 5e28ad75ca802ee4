"""Rectified linear neurons, which fire as often as their current says, any number of spikes a step."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ratespike.neurons.base import State, TunedNeuron
from ratespike.parameters import parameter


@dataclass(eq=False, repr=False, kw_only=True)
class SpikingRectifiedLinear(TunedNeuron):
    """Integrate-and-fire without leak and without limit: several spikes a step are allowed.

    Rate: `r(J) = max(J, 0)`, J in Hz.

    Step: `v += max(J, 0) * dt`; `n = floor(v)` spikes; `v -= n`.

    Source: Nengo 4.1, `SpikingRectifiedLinear`.

    Shape:
        any; the output has the input's shape.

    Example:
        >>> SpikingRectifiedLinear(max_rate=200)(torch.tensor([-1.0, 0.5]))
        tensor([0.0000, 0.5000])
    """

    def current_for(self, rate: float) -> float:
        return rate

    def firing_rate(self, current: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return torch.relu(current)


@dataclass(eq=False, repr=False, kw_only=True)
class SpikingLeakyReLU(SpikingRectifiedLinear):
    """A rectified linear neuron that answers a negative current with negative spikes, of height `-scale / dt`.

    Rate: `r(J) = J` for J ≥ 0, else `negative_slope * J`, in Hz.

    Step: `v += r(J) * dt`; `n = trunc(v)` spikes, which may be negative; `v -= n`.

    Source: NengoDL 3.6, `SpikingLeakyReLU`.

    Attributes:
        negative_slope: the rate per current below 0.

    Shape:
        any; the output has the input's shape.

    Example:
        >>> SpikingLeakyReLU(negative_slope=0.5)(torch.tensor([-1.0, 0.5]))
        tensor([-0.5000,  0.5000])
    """

    negative_slope: float = parameter(0.1, at_least=0)

    def firing_rate(self, current: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return torch.nn.functional.leaky_relu(current, self.negative_slope)

    def steady_state(self, current: Float[Tensor, "..."], phase: Float[Tensor, "..."], dt: float) -> State:
        return self.initial_state(torch.where(current < 0, -phase, phase))

    def step(self, current: Float[Tensor, "..."], state: State, dt: float) -> tuple[Float[Tensor, "..."], State]:
        voltage = state["voltage"] + self.firing_rate(current) * dt
        spikes = voltage.trunc()  # towards 0: negative ones from -1 on
        return spikes, {"voltage": voltage - spikes}
