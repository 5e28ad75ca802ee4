"""The sigmoid neuron, whose rate is the logistic function of its current."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ratespike.neurons.base import TunedNeuron, check_reachable
from ratespike.parameters import ParameterError, parameter


@dataclass(eq=False, repr=False, kw_only=True)
class Sigmoid(TunedNeuron):
    """A neuron that always fires, at half of its greatest rate when `x = intercept`, in regular spikes.

    Rate: `r(J) = 1 / (tau_ref * (1 + exp(-J)))`, in Hz.

    Step: `v += r(J) * dt`; `n = floor(v)` spikes; `v -= n`.

    Source: Nengo 4.1, `Sigmoid` and `RegularSpiking`.

    Attributes:
        tau_ref: the inverse of the greatest rate, seconds.

    Shape:
        any; the output has the input's shape.

    Raises:
        ParameterError: `max_rate` not between 0.5 / tau_ref and 1 / tau_ref.

    Example:
        >>> Sigmoid(max_rate=300, tau_ref=0.0025)(torch.tensor([0.0, 1.0]))
        tensor([0.6667, 1.0000])
    """

    max_rate: float = parameter(300.0, above=0, unit="Hz")
    tau_ref: float = parameter(0.0025, above=0, unit="s")

    def check(self) -> None:
        """Refuse a `max_rate` that is not between the rate at the intercept and the greatest rate."""
        check_reachable(self.max_rate, self.tau_ref)
        if self.max_rate * self.tau_ref <= 0.5:
            half = 0.5 / self.tau_ref
            raise ParameterError(
                f"max_rate={self.max_rate:g}: must be above 0.5/tau_ref = {half:g} Hz, the rate at the intercept"
            )

    def current_for(self, rate: float) -> float:
        check_reachable(rate, self.tau_ref, "rate")
        return -math.log(1 / (rate * self.tau_ref) - 1)

    def firing_rate(self, current: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        rate = torch.sigmoid(current.nan_to_num()) / self.tau_ref
        return torch.where(current.isnan(), torch.nan, rate)  # with a slope of 0, which sigmoid(nan) has not
