"""Synaptic filters. In rate mode a filter is the identity (its gain at frequency zero is 1); in time it smooths spikes.

Like a neuron, a filter keeps no state in the module: `step` takes the state and returns the next one.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ratespike.neurons.base import at_least_float32
from ratespike.parameters import check_parameters, parameter
from ratespike.stateful import Stateful


@dataclass(eq=False, repr=False, kw_only=True)
class Synapse(Stateful):
    """A linear filter over time, as a module that stands behind a neuron, or at the read-out.

    Half-precision signals are filtered in float32 and come out in float32: in bfloat16 a decay of 0.999 would be 1.

    Raises:
        ParameterError: a parameter out of range.
    """

    def __post_init__(self) -> None:
        check_parameters(self)

    @abstractmethod
    def initial_state(self, signal: Float[Tensor, "..."]) -> tuple[Tensor, ...]:
        """The state of a filter at rest.

        Args:
            signal: for its shape, dtype and device.
        """

    @abstractmethod
    def step(
        self, signal: Float[Tensor, "..."], state: tuple[Tensor, ...], dt: float
    ) -> tuple[Float[Tensor, "..."], tuple[Tensor, ...]]:
        """Advance by `dt` seconds.

        Args:
            signal: in this step, any shape.
            state: that of `initial_state`, or what the step before returned.
            dt: length of the step, seconds.

        Returns:
            The filtered signal, which contains this step's signal already, and the next state.
        """

    def in_rate_mode(self, signal: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """A steady signal passes unchanged."""
        return signal

    def extra_repr(self) -> str:
        return ", ".join(f"{field.name}={getattr(self, field.name)}" for field in fields(self))

    __repr__ = nn.Module.__repr__


@dataclass(eq=False, repr=False, kw_only=True)
class NoFilter(Synapse):
    """No filter: each step's signal as it is.

    Example:
        >>> NoFilter().step(torch.ones(1), (), dt=0.001)
        (tensor([1.]), ())
    """

    def initial_state(self, signal: Float[Tensor, "..."]) -> tuple[Tensor, ...]:
        return ()

    def step(
        self, signal: Float[Tensor, "..."], state: tuple[Tensor, ...], dt: float
    ) -> tuple[Float[Tensor, "..."], tuple[Tensor, ...]]:
        return signal, state


@dataclass(eq=False, repr=False, kw_only=True)
class LowPass(Synapse):
    """Exponential low-pass 1 / (tau s + 1), discretised with a zero-order hold: `y = a y + (1 - a) u`, `a = exp(-dt/tau)`.

    Source: Nengo 4.1, `Lowpass`, whose probes and connections show the same values one step later, because Nengo's simulator
    adds a step of delay to every synapse; KerasSpiking's `Lowpass` and this one have no delay.

    Attributes:
        tau: time constant, seconds.

    Example:
        >>> filtered, state = LowPass(tau=0.1).step(torch.ones(1), (torch.zeros(1),), dt=0.001)
        >>> filtered
        tensor([0.0100])
    """

    tau: float = parameter(0.1, above=0, unit="s")

    def initial_state(self, signal: Float[Tensor, "..."]) -> tuple[Tensor, ...]:
        return (torch.zeros_like(at_least_float32(signal)),)

    def step(
        self, signal: Float[Tensor, "..."], state: tuple[Tensor, ...], dt: float
    ) -> tuple[Float[Tensor, "..."], tuple[Tensor, ...]]:
        decay = math.exp(-dt / self.tau)
        filtered = state[0] * decay + signal * (1 - decay)
        return filtered, (filtered,)


@dataclass(eq=False, repr=False, kw_only=True)
class Alpha(Synapse):
    """Alpha filter 1 / (tau s + 1)**2, two equal low-passes in a row, discretised together with a zero-order hold.

    With `a = exp(-dt/tau)` and `b = a dt/tau`: `y = a y + b x + (1 - a - b) u`, then `x = a x + (1 - a) u`.

    Source: Nengo 4.1, `Alpha`, with the same step of delay as `LowPass`.

    Attributes:
        tau: time constant, seconds; the answer to a spike is greatest after this time.

    Example:
        >>> filtered, state = Alpha(tau=0.1).step(torch.ones(1), (torch.zeros(1), torch.zeros(1)), dt=0.1)
        >>> filtered
        tensor([0.2642])
    """

    tau: float = parameter(0.1, above=0, unit="s")

    def initial_state(self, signal: Float[Tensor, "..."]) -> tuple[Tensor, ...]:
        rest = torch.zeros_like(at_least_float32(signal))
        return rest, rest

    def step(
        self, signal: Float[Tensor, "..."], state: tuple[Tensor, ...], dt: float
    ) -> tuple[Float[Tensor, "..."], tuple[Tensor, ...]]:
        first, filtered = state  # the outputs of the two low-passes
        decay = math.exp(-dt / self.tau)
        passed_on = decay * dt / self.tau
        filtered = decay * filtered + passed_on * first + (1 - decay - passed_on) * signal
        return filtered, (decay * first + (1 - decay) * signal, filtered)
