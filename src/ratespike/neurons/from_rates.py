"""Spikes made from the rate of any neuron: regular, stochastically rounded, or Poisson."""

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ratespike.neurons.base import Neuron, State
from ratespike.parameters import ParameterError, build

_NORMAL_FROM = 500.0  # above this mean a Poisson variable is drawn as a rounded normal one


@dataclass(eq=False, repr=False, kw_only=True)
class SpikesFromRates(Neuron, ABC):
    """A neuron that has the rate mode of another one and spikes of its own.

    Attributes:
        neuron: the other one; from YAML a mapping such as `{type: Sigmoid, max_rate: 300}`.

    Raises:
        ParameterError: `neuron` is no neuron, or a mapping of which none can be made.
    """

    neuron: Neuron

    def __post_init__(self) -> None:
        if isinstance(self.neuron, Mapping):
            self.neuron = build(Neuron, self.neuron, "neuron")  # type: ignore[type-abstract]
        if not isinstance(self.neuron, Neuron):
            raise ParameterError(f"neuron={self.neuron}: must be a neuron, such as {{type: LIF}}")
        super().__post_init__()

    def training_values(self) -> dict[str, Any]:
        return self.neuron.training_values()

    @property
    def scale(self) -> float:
        return self.neuron.scale

    def gain_and_bias(self) -> tuple[float, float]:
        return self.neuron.gain_and_bias()

    def firing_rate(self, current: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return self.neuron.firing_rate(current)

    def in_rate_mode(self, signal: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return self.neuron.in_rate_mode(signal)


@dataclass(eq=False, repr=False, kw_only=True)
class RegularSpiking(SpikesFromRates):
    """Evenly spaced spikes at the rate of another neuron.

    Rate: the other neuron's.

    Step: `v += r(J) * dt`; `n = floor(v)` spikes, which may be negative; `v -= n`.

    Source: Nengo 4.1, `RegularSpiking`; Voelker, Rasmussen and Eliasmith 2020, "A spike in performance", arXiv:2002.03553.

    Shape:
        any; the output has the input's shape.

    Example:
        >>> from ratespike.neurons import LIF
        >>> RegularSpiking(neuron=LIF(max_rate=100))(torch.tensor([0.0, 1.0]))
        tensor([0., 1.])
    """


@dataclass(eq=False, repr=False, kw_only=True)
class StochasticSpiking(SpikesFromRates):
    """Spikes at random, as near to the rate of another neuron as whole numbers allow.

    Rate: the other neuron's.

    Step: with `m = |r(J)| * dt`, `n = floor(m)`, and one more with probability `m - floor(m)`, with r's sign.

    Source: Nengo 4.1, `StochasticSpiking`.

    Shape:
        any; the output has the input's shape.

    Example:
        >>> from ratespike.neurons import LIF
        >>> neuron = StochasticSpiking(neuron=LIF())
        >>> neuron.step(torch.tensor([3.0, 3.0]), {}, 0.001, torch.tensor([0.05, 0.5]))[0]
        tensor([1., 0.])
    """

    random = True

    def initial_state(self, voltage: Float[Tensor, "..."]) -> State:
        return {}

    def step(  # type: ignore[override]
        self, current: Float[Tensor, "..."], state: State, dt: float, uniform: Float[Tensor, "..."]
    ) -> tuple[Float[Tensor, "..."], State]:
        rate = self.firing_rate(current)
        return self.count(rate.abs() * dt, uniform) * rate.sign(), state

    def count(self, mean: Float[Tensor, "..."], uniform: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """How many spikes a step has, drawn so that it has `mean` of them on average.

        Args:
            mean: at least 0, of the current's shape.
            uniform: numbers from [0, 1), of the same shape.
        """
        return stochastic_count(mean, uniform)


@dataclass(eq=False, repr=False, kw_only=True)
class PoissonSpiking(StochasticSpiking):
    """A Poisson process with the rate of another neuron.

    Rate: the other neuron's.

    Step: `n ~ Poisson(|r(J)| * dt)`, with r's sign.

    Source: Nengo 4.1, `PoissonSpiking`.

    Shape:
        any; the output has the input's shape.

    Example:
        >>> from ratespike.neurons import LIF
        >>> neuron = PoissonSpiking(neuron=LIF())
        >>> neuron.step(torch.tensor([3.0, 3.0]), {}, 0.001, torch.tensor([0.05, 0.999]))[0]
        tensor([0., 2.])
    """

    def count(self, mean: Float[Tensor, "..."], uniform: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return poisson_quantile(mean, uniform)


def stochastic_count(mean: Float[Tensor, "..."], uniform: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """`floor(mean)`, and one more with probability `mean - floor(mean)`: a whole number whose expectation is `mean`.

    It is also the exact distribution of how many spikes of a regular train fall into a time window, if all phases of the train
    are equally likely; then `mean` is the rate times the window's length.

    Args:
        mean: at least 0, any shape; a NaN stays one.
        uniform: numbers from [0, 1), of the same shape.

    Example:
        >>> stochastic_count(torch.tensor([1.25, 1.25]), torch.tensor([0.2, 0.3]))
        tensor([2., 1.])
    """
    whole = mean.floor()
    return whole + (uniform < mean - whole)


def poisson_quantile(mean: Float[Tensor, "..."], uniform: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The least count whose Poisson distribution function exceeds `uniform`: a Poisson variable from a uniform one.

    Above a mean of 500 the distribution is taken as normal, rounded, with its skewness corrected (Cornish and Fisher
    1938, "Moments and cumulants in the specification of distributions").

    Args:
        mean: at least 0 and finite, any shape; a NaN stays one.
        uniform: in [0, 1), of the same shape.

    Example:
        >>> poisson_quantile(torch.tensor([0.1, 1.0, 1.0]), torch.tensor([0.5, 0.5, 0.99]))
        tensor([0., 1., 4.])
    """
    small = mean.double().clamp(max=_NORMAL_FROM)  # in float32 exp(-mean) would vanish from 88 on
    count = torch.zeros_like(small)
    probability = torch.exp(-small)  # of this count
    reached = probability.clone()  # the distribution function at this count
    more = uniform >= reached
    while bool(more.any()):
        count += more
        probability *= small / count.clamp(min=1)
        reached = torch.where(more, reached + probability, reached)
        more = uniform >= reached
    z = torch.special.ndtri(uniform.double().clamp(min=2.0**-25))
    normal = (mean + mean.sqrt() * z + (z * z - 1) / 6 + 0.5).floor()
    return torch.where(mean < _NORMAL_FROM, count, normal).to(mean.dtype)
