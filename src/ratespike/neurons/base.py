"""What a neuron is: its rate, its step and the state between steps, from one set of parameters.

One class holds both modes, so that what is trained (the rate) and what is run (the step) cannot have different parameters.
"""

from abc import abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ratespike.parameters import ParameterError, check_parameters, parameter, training_values
from ratespike.stateful import Stateful

State = dict[str, Tensor]  # what a neuron remembers between two steps, each of the current's shape


@dataclass(eq=False, repr=False, kw_only=True)
class Neuron(Stateful):
    """A neuron without memory in rate mode and with state in spiking mode.

    The neuron sees the current `J = gain * x + bias`. A firing rate `r` (Hz) leaves it as the activation `scale * r`; a
    spike as a pulse of height `scale / dt`, so that both have the same mean.

    Calling the module is the rate mode. The spiking mode is `ratespike.simulate`, which keeps the state outside. A neuron
    that defines nothing but its rate fires regularly: `v += r * dt`, `n = floor(v)` spikes, `v -= n`, which is Nengo's
    `RegularSpiking` (Voelker, Rasmussen and Eliasmith 2020, "A spike in performance", arXiv:2002.03553).

    Half-precision inputs are computed in float32 and come out in their own dtype; float64 stays float64. A NaN comes out
    as NaN. No slope is infinite or NaN: where the rate itself is not finite, the slope is 0.

    Attributes:
        random: whether `step` takes a fourth argument, numbers drawn uniformly from [0, 1), of the current's shape.
    """

    random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_parameters(self)
        self.check()

    def check(self) -> None:  # not every neuron has parameters that depend on each other
        """Check what holds between parameters, whose own ranges have been checked before.

        Raises:
            ParameterError: a combination with which the neuron cannot work.
        """

    def training_values(self) -> dict[str, Any]:
        """The class and the parameters that change a training, those of the rate mode; with equal ones trainings are equal."""
        return training_values(self)

    @property
    @abstractmethod
    def scale(self) -> float:
        """Activation per Hz, and the height of a spike times `dt`."""

    @abstractmethod
    def gain_and_bias(self) -> tuple[float, float]:
        """The gain and the bias in `J = gain * x + bias`, which turn an input into a current."""

    @abstractmethod
    def firing_rate(self, current: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The steady firing rate for a constant current, in Hz, differentiable.

        Args:
            current: any shape, in float32 at least.

        Returns:
            The rates, of the same shape and dtype; negative where a neuron fires negative spikes.
        """

    def firing_rate_in_steps(self, current: Float[Tensor, "..."], dt: float) -> Float[Tensor, "..."]:
        """The firing rate that the spiking mode has in steps of `dt` seconds, in Hz; it can be lower than `firing_rate`."""
        return self.firing_rate(current)

    def step_warning(self, dt: float) -> str | None:
        """The reason why steps of `dt` seconds are too long for this neuron to fire at its rate; None if they are not."""
        return None

    def initial_state(self, voltage: Float[Tensor, "..."]) -> State:
        """The state of a neuron that starts at this membrane voltage, in units of its threshold."""
        return {"voltage": voltage}

    def steady_state(self, current: Float[Tensor, "..."], phase: Float[Tensor, "..."], dt: float) -> State:
        """The state of a neuron that has had this current for long.

        Args:
            current: constant.
            phase: what part of its firing cycle has passed, in [0, 1), of the current's shape.
            dt: the step that follows, seconds.
        """
        return self.initial_state(phase)

    def step(self, current: Float[Tensor, "..."], state: State, dt: float) -> tuple[Float[Tensor, "..."], State]:
        """Advance by `dt` seconds.

        Args:
            current: in this step, any shape, in float32 at least.
            state: each value of the current's shape; it is left as it is.
            dt: length of the step, seconds.

        Returns:
            The number of spikes each neuron fired in the step, in the current's dtype, and the next state.

        Example:
            >>> from ratespike.neurons import SpikingRectifiedLinear
            >>> neuron = SpikingRectifiedLinear()
            >>> neuron.step(torch.tensor([1500.0]), neuron.initial_state(torch.tensor([0.75])), dt=0.001)
            (tensor([2.]), {'voltage': tensor([0.2500])})
        """
        voltage = torch.add(state["voltage"], self.firing_rate(current), alpha=dt)  # voltage + rate * dt
        spikes = voltage.floor()
        return spikes, {"voltage": voltage - spikes}

    def current(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The input current `J = gain * x + bias`, in float32 at least."""
        gain, bias = self.gain_and_bias()
        return at_least_float32(x) * gain + bias

    def in_rate_mode(self, signal: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """`scale * firing_rate(gain * x + bias)` for inputs `x`."""
        return (self.firing_rate(self.current(signal)) * self.scale).to(signal.dtype)

    def activation_and_current(self, signal: Float[Tensor, "..."]) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
        """`in_rate_mode(signal)` and `current(signal)`, without derivatives where a neuron can do both in one pass."""
        return self.in_rate_mode(signal), self.current(signal)

    def extra_repr(self) -> str:
        shown = []
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, nn.Module):  # which PyTorch shows below
                shown.append(f"{field.name}={value}")
        return ", ".join(shown)

    __repr__ = nn.Module.__repr__


@dataclass(eq=False, repr=False, kw_only=True)
class TunedNeuron(Neuron):
    """A neuron whose gain and bias follow from two numbers that a person can read off an f-I curve.

    It starts to fire at `x = intercept` and fires at `max_rate` when `x = 1`. Source: Nengo 4.1,
    `NeuronType.gain_bias`.

    Attributes:
        max_rate: firing rate at `x = 1`, in Hz.
        intercept: the input `x` at which firing starts, below 1.
        amplitude: activation per Hz; 1 / max_rate if not given, so that the activation at `x = 1` is 1.
        threshold_current: of the class, the current at which firing starts: that at `x = intercept`.

    Example:
        >>> from ratespike.neurons import LIF
        >>> neuron = LIF(max_rate=200, intercept=-0.5)
        >>> neuron.firing_rate(neuron.current(torch.tensor([-0.5, 1.0])))
        tensor([  0., 200.])
    """

    threshold_current: ClassVar[float] = 0.0

    max_rate: float = parameter(100.0, above=0, unit="Hz")
    intercept: float = parameter(0.0, below=1)
    amplitude: float | None = parameter(None, above=0)

    @abstractmethod
    def current_for(self, rate: float) -> float:
        """The constant current that makes the neuron fire at `rate` Hz: the inverse of the (hard) firing rate.

        Args:
            rate: above 0, in Hz.

        Raises:
            ParameterError: the neuron cannot fire at this rate.
        """

    @property
    def scale(self) -> float:
        return 1 / self.max_rate if self.amplitude is None else self.amplitude

    def gain_and_bias(self) -> tuple[float, float]:
        gain = (self.current_for(self.max_rate) - self.threshold_current) / (1 - self.intercept)
        return gain, self.threshold_current - gain * self.intercept


def at_least_float32(x: Tensor) -> Tensor:
    """`x`, in float32 if it has half precision: a membrane at 0.9 would not notice a small current in bfloat16."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def check_reachable(rate: float, tau_ref: float, name: str = "max_rate") -> None:
    """Check that a neuron that rests after each spike can fire at a rate.

    Args:
        rate: in Hz.
        tau_ref: how long it rests, seconds; it fires less often than `1 / tau_ref`.
        name: of the rate, for the error line.

    Raises:
        ParameterError: the rate is too high, or not above 0.
    """
    if rate * tau_ref >= 1:
        raise ParameterError(
            f"{name}={rate:g}: must be below 1/tau_ref = {1 / tau_ref:g} Hz; try a shorter tau_ref ({tau_ref:g} s)"
        )
    if not rate > 0:
        raise ParameterError(f"{name}={rate:g}: must be a number above 0 (Hz)")
