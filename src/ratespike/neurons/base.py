"""What a neuron is: its rate, its step and the state between steps, from one set of parameters."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from ratespike.parameters import ParameterError, check_parameters, parameter

State = dict[str, Tensor]  # what a neuron remembers between two steps, each of the current's shape


@dataclass(eq=False, repr=False, kw_only=True)
class Neuron(nn.Module, ABC):
    """A neuron without memory in rate mode and with state in spiking mode.

    The neuron sees the current `J = gain * x + bias`. Gain and bias follow from two numbers that a person can read off
    an f-I curve: the neuron starts to fire at `x = intercept` and fires at `max_rate` when `x = 1`. A rate `r` (Hz)
    leaves the neuron as the activation `amplitude * r`; a spike as a pulse of height `amplitude / dt`, so that both have
    the same mean.

    Calling the module is the rate mode. The spiking mode is `ratespike.simulate`, which keeps the state outside.

    Attributes:
        max_rate: firing rate at `x = 1`, in Hz.
        intercept: the input `x` at which firing starts, below 1.
        amplitude: activation per Hz; 1 / max_rate if not given, so that the activation at `x = 1` is 1.
    """

    max_rate: float = parameter(100.0, above=0, unit="Hz")
    intercept: float = parameter(0.0, below=1)
    amplitude: float | None = parameter(None, above=0)

    def __new__(cls, *args: Any, **kwargs: Any) -> "Neuron":
        neuron = super().__new__(cls)
        nn.Module.__init__(neuron)  # before the dataclass assigns attributes
        return neuron

    def __post_init__(self) -> None:
        check_parameters(self)
        self.check()

    def check(self) -> None:  # not every neuron has parameters that depend on each other
        """Check what holds between parameters; raises `ParameterError`."""

    @abstractmethod
    def gain_and_bias(self) -> tuple[float, float]:
        """Gain and bias that give `max_rate` at input 1 and threshold at `intercept`."""

    @abstractmethod
    def firing_rate(self, current: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The steady firing rate for a constant current, in Hz, differentiable."""

    @abstractmethod
    def initial_state(self, voltage: Float[Tensor, "..."]) -> State:
        """The state of a neuron that starts at this membrane voltage."""

    @abstractmethod
    def step(self, current: Float[Tensor, "..."], state: State, dt: float) -> tuple[Float[Tensor, "..."], State]:
        """Advance by `dt` seconds.

        Returns:
            The number of spikes each neuron fired in the step, in the current's dtype, and the next state.
        """

    @property
    def scale(self) -> float:
        """Activation per Hz, and the height of a spike times `dt`."""
        return 1 / self.max_rate if self.amplitude is None else self.amplitude

    def current(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The input current `J = gain * x + bias`."""
        gain, bias = self.gain_and_bias()
        return x * gain + bias

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The rate mode: `amplitude * firing_rate(gain * x + bias)`."""
        return self.firing_rate(self.current(x)) * self.scale

    def extra_repr(self) -> str:
        return ", ".join(f"{field.name}={getattr(self, field.name)}" for field in fields(self))

    __repr__ = nn.Module.__repr__


def check_max_rate(max_rate: float, tau_ref: float) -> None:
    """A neuron that rests `tau_ref` seconds after a spike cannot reach 1 / tau_ref; raises `ParameterError`."""
    if max_rate * tau_ref >= 1:
        raise ParameterError(
            f"max_rate={max_rate:g}: must be below 1/tau_ref = {1 / tau_ref:g} Hz; try a shorter tau_ref ({tau_ref:g} s)"
        )
