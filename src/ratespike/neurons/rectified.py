"""The rectified linear neuron, which fires as often as its current says."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ratespike.neurons.base import Neuron, State


@dataclass(eq=False, repr=False, kw_only=True)
class SpikingRectifiedLinear(Neuron):
    """Integrate-and-fire without leak: the rate is `max(J, 0)` Hz, and several spikes a step are allowed.

    Its step is Nengo's `SpikingRectifiedLinear`: `v += max(J, 0) * dt`, `n = floor(v)` spikes, `v -= n`.

    Shape:
        any; the output has the input's shape.

    Example:
        >>> SpikingRectifiedLinear(max_rate=200)(torch.tensor([-1.0, 0.5]))
        tensor([0.0000, 0.5000])
    """

    def gain_and_bias(self) -> tuple[float, float]:
        gain = self.max_rate / (1 - self.intercept)
        return gain, -self.intercept * gain

    def firing_rate(self, current: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return torch.relu(current)

    def initial_state(self, voltage: Float[Tensor, "..."]) -> State:
        return {"voltage": voltage}

    def step(self, current: Float[Tensor, "..."], state: State, dt: float) -> tuple[Float[Tensor, "..."], State]:
        voltage = state["voltage"] + current.clamp(min=0) * dt
        spikes = voltage.floor()
        return spikes, {"voltage": voltage - spikes}
