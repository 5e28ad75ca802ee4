"""Synaptic filters. In rate mode a filter is the identity (its gain at frequency zero is 1); in time it smooths spikes."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ratespike.parameters import check_parameters, parameter


@dataclass(eq=False, repr=False, kw_only=True)
class Synapse(nn.Module, ABC):
    """A linear filter over time, as a module that stands behind a neuron, or at the read-out."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "Synapse":
        synapse = super().__new__(cls)
        nn.Module.__init__(synapse)  # before the dataclass assigns attributes
        return synapse

    def __post_init__(self) -> None:
        check_parameters(self)

    @abstractmethod
    def initial_state(self, signal: Float[Tensor, "..."]) -> tuple[Tensor, ...]:
        """The state of a filter at rest, for signals of this shape."""

    @abstractmethod
    def step(
        self, signal: Float[Tensor, "..."], state: tuple[Tensor, ...], dt: float
    ) -> tuple[Float[Tensor, "..."], tuple[Tensor, ...]]:
        """Advance by `dt` seconds; returns the filtered signal, which sees this step's input, and the next state."""

    def forward(self, rates: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The rate mode: a steady signal passes unchanged."""
        return rates

    def extra_repr(self) -> str:
        return ", ".join(f"{field.name}={getattr(self, field.name)}" for field in fields(self))

    __repr__ = nn.Module.__repr__


@dataclass(eq=False, repr=False, kw_only=True)
class NoFilter(Synapse):
    """No filter: each step's signal as it is."""

    def initial_state(self, signal: Float[Tensor, "..."]) -> tuple[Tensor, ...]:
        return ()

    def step(
        self, signal: Float[Tensor, "..."], state: tuple[Tensor, ...], dt: float
    ) -> tuple[Float[Tensor, "..."], tuple[Tensor, ...]]:
        return signal, state


@dataclass(eq=False, repr=False, kw_only=True)
class LowPass(Synapse):
    """Exponential low-pass 1 / (tau s + 1), discretised with a zero-order hold: `y = a y + (1 - a) u`, `a = exp(-dt/tau)`.

    Nengo's `Lowpass` shows the same values one step later; KerasSpiking's and this one have no delay.

    Attributes:
        tau: time constant, seconds.

    Example:
        >>> filtered, state = LowPass(tau=0.1).step(torch.ones(1), (torch.zeros(1),), dt=0.001)
        >>> filtered
        tensor([0.0100])
    """

    tau: float = parameter(0.1, above=0, unit="s")

    def initial_state(self, signal: Float[Tensor, "..."]) -> tuple[Tensor, ...]:
        return (torch.zeros_like(signal),)

    def step(
        self, signal: Float[Tensor, "..."], state: tuple[Tensor, ...], dt: float
    ) -> tuple[Float[Tensor, "..."], tuple[Tensor, ...]]:
        decay = math.exp(-dt / self.tau)
        filtered = state[0] * decay + signal * (1 - decay)
        return filtered, (filtered,)
