"""A neuron whose rate levels off smoothly."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ratespike.neurons import TunedNeuron
from ratespike.parameters import ParameterError, parameter


@dataclass(eq=False, repr=False, kw_only=True)
class Saturating(TunedNeuron):
    """A neuron that fires regular spikes at a rate with a ceiling.

    Rate: `r(J) = top_rate * tanh(J / top_rate)` for J > 0, else 0, in Hz.

    Step: `v += r(J) * dt`; `n = floor(v)` spikes; `v -= n`, as of every neuron that has no step of its own.

    Source: Nengo 4.1, `Tanh` and `RegularSpiking`, without negative rates.

    Attributes:
        top_rate: the ceiling, Hz.

    Example:
        >>> Saturating(max_rate=100, top_rate=400)(torch.tensor([-1.0, 0.0, 1.0]))
        tensor([0., 0., 1.])
    """

    top_rate: float = parameter(400.0, above=0, unit="Hz")

    def check(self) -> None:
        """Refuse a `max_rate` that it cannot reach."""
        self.current_for(self.max_rate)

    def current_for(self, rate: float) -> float:
        if not 0 < rate < self.top_rate:
            raise ParameterError(f"max_rate={rate:g}: must be above 0 and below top_rate = {self.top_rate:g} Hz")
        return self.top_rate * math.atanh(rate / self.top_rate)

    def firing_rate(self, current: Tensor) -> Tensor:
        return self.top_rate * torch.tanh(torch.relu(current) / self.top_rate)
