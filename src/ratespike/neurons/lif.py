"""The leaky integrate-and-fire neuron."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ratespike.neurons.base import State, TunedNeuron, check_reachable
from ratespike.neurons.lif_rates import SLOPE_CLAMP, lif_activation, lif_current, lif_rate, lif_rate_in_steps
from ratespike.parameters import ParameterError, parameter

_LEAST_GAIN = 1e-6  # a smaller one is lost beside the threshold current, 1, in float32


def lif_step(
    current: Tensor, voltage: Tensor, refractory_time: Tensor, *, dt: float, tau_rc: float, tau_ref: float, min_voltage: float
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of a LIF neuron: exact for a current that is constant during the step (Nengo 4.1's `LIF.step`).

    The membrane integrates only in the part of the step outside the refractory time; a spike's moment within the step is
    interpolated and the refractory time counts from there. At most one spike a step. A neuron whose current or voltage is
    NaN does not fire; an infinite current makes the voltage NaN at the latest in the refractory time.

    Args:
        current: threshold 1, any shape, constant during the step.
        voltage: of the same shape, at most 1 (Nengo's start too); one above fires in this step.
        refractory_time: seconds left, plus `dt`; 0 or less for a neuron that integrates.
        dt: length of the step, seconds.
        tau_rc: membrane time constant, seconds.
        tau_ref: refractory time, seconds.
        min_voltage: the membrane cannot fall below it.

    Returns:
        spiked (bool), voltage, refractory time (seconds).

    Example:
        >>> current, voltage, refractory_time = torch.tensor([[2.0], [0.99], [0.0]])
        >>> spiked, voltage, refractory_time = lif_step(
        ...     current, voltage, refractory_time, dt=0.001, tau_rc=0.02, tau_ref=0.002, min_voltage=0
        ... )
        >>> spiked, voltage, refractory_time  # fired after 0.2 ms
        (tensor([True]), tensor([0.]), tensor([0.0022]))
    """
    refractory_time = refractory_time - dt
    free = (dt - refractory_time).clamp_(0.0, dt)  # the part of the step outside the refractory time
    charged = torch.expm1(free.mul_(-1 / tau_rc)).neg_()  # 1 - exp(-free / tau_rc)
    voltage = torch.lerp(voltage, current, charged)
    spiked = voltage > 1
    if torch.compiler.is_compiling():  # fused into one pass: cheaper everywhere than a break for finding the few
        rest = _rest(current, voltage, refractory_time, dt, tau_rc, tau_ref)
        refractory_time = torch.where(spiked, rest, refractory_time)
    else:
        fired = spiked.nonzero(as_tuple=True)
        refractory_time[fired] = _rest(current[fired], voltage[fired], refractory_time[fired], dt, tau_rc, tau_ref)
    voltage = voltage.clamp_(min=min_voltage).masked_fill_(spiked, 0)
    return spiked, voltage, refractory_time


def _rest(current: Tensor, voltage: Tensor, refractory_time: Tensor, dt: float, tau_rc: float, tau_ref: float) -> Tensor:
    """What `lif_step` returns as refractory time of neurons that spike in this step.

    In a step a voltage above 1 has passed the threshold at a moment that follows from the exponential approach to the
    current; from that moment the neuron rests for `tau_ref`. The time is counted from the begin of the step.
    """
    relative_overshoot = (voltage - 1) / (current - 1)
    spike_time = dt + tau_rc * torch.log1p(-relative_overshoot.clamp(max=1))
    began = refractory_time.clamp(min=0)  # for a tiny tau_rc rounding puts the spike before it
    return tau_ref + torch.maximum(spike_time.clamp(max=dt), began)


def lif_steady_state(
    current: Tensor, phase: Tensor, *, dt: float, tau_rc: float, tau_ref: float, min_voltage: float
) -> tuple[Tensor, Tensor]:
    """Voltage and refractory time of a LIF neuron that has passed the part `phase` of its firing cycle.

    The cycle begins with a spike; the neuron rests for `tau_ref` and then follows `v(t) = J * (1 - exp(-t / tau_rc))`
    up to the threshold. A neuron that does not fire has come to rest at `v = J`, and not below `min_voltage`. With an
    infinite current the whole cycle is rest: the voltage is 0, and what is left of `tau_ref` the refractory time. In float32
    on a CPU it is compiled (by Numba, on first use, then kept on disk).

    Args:
        current: constant, threshold 1.
        phase: in [0, 1), of the same shape; computed with in the current's dtype.
        dt: length of the step that follows, seconds: a resting neuron's refractory time is what is left, plus `dt`,
            because a step begins by taking `dt` away.
        tau_rc: membrane time constant, seconds.
        tau_ref: refractory time, seconds.
        min_voltage: the membrane cannot fall below it.

    Returns:
        voltage, refractory time (seconds).

    Example:
        >>> current, phase = torch.tensor([[2.0, 2.0, 0.5], [0.0, 0.5, 0.5]])
        >>> lif_steady_state(current, phase, dt=0.001, tau_rc=0.02, tau_ref=0.002, min_voltage=0)
        (tensor([0.0000, 0.5133, 0.5000]), tensor([0.0030, 0.0000, 0.0000]))
    """
    phase = phase.to(current.dtype)
    if current.device.type == "cpu" and current.dtype == torch.float32:
        from ratespike.compiled.lif_phase import steady_state  # imports Numba

        return steady_state(current, phase, dt=dt, tau_rc=tau_rc, tau_ref=tau_ref, min_voltage=min_voltage)
    fires = current > 1
    since_spike = phase / lif_rate(torch.where(fires, current, 2), tau_rc, tau_ref)
    charged = -current * torch.expm1(-(since_spike - tau_ref).clamp(min=0) / tau_rc)
    resting = fires & (since_spike < tau_ref)
    charged = charged.clamp(max=1).masked_fill(resting, 0)  # which of an infinite current is NaN
    voltage = torch.where(fires, charged, current.clamp(min=min_voltage))
    return voltage, torch.where(resting, tau_ref - since_spike + dt, 0)


@dataclass(eq=False, repr=False, kw_only=True)
class LIF(TunedNeuron):
    """Leaky integrate-and-fire neuron, hard (`sigma=0`) or soft in rate mode, Nengo's exact step in spiking mode.

    Rate: `r(J) = 1 / (tau_ref + tau_rc * log1p(1 / (J - 1)))` for J > 1, else 0, in Hz. Soft: `J - 1` is replaced by
    `sigma * softplus((J - 1) / sigma)`.

    Step: `tau_rc * dv/dt = J - v` from the end of the refractory time to the end of the step, exactly; a spike where v
    passes 1, at an interpolated moment, from which the next refractory time counts; then `v = 0`. At most one spike a
    step: where `tau_ref < dt`, spikes are lost (`lif_rate_in_steps`), and `simulate` warns.

    Source: Nengo 4.1, `LIF`; soft: Hunsberger and Eliasmith 2016, "Training spiking deep networks for neuromorphic
    hardware", arXiv:1611.05141.

    Attributes:
        tau_rc: membrane time constant, seconds.
        tau_ref: refractory time after a spike, seconds.
        sigma: smoothness of the rate around threshold, in units of current (training only; spikes do not depend on it).
        min_voltage: the membrane cannot fall below it; None: it can fall without limit.

    Shape:
        any; the output has the input's shape.

    Raises:
        ParameterError: a parameter out of range, `max_rate` not below 1 / tau_ref, or `tau_rc` so short that the gain
            vanishes.

    Example:
        >>> neuron = LIF(max_rate=100, intercept=0)
        >>> neuron(torch.tensor([-1.0, 0.0, 1.0]))
        tensor([0., 0., 1.])
    """

    threshold_current = 1.0

    tau_rc: float = parameter(0.02, above=0, unit="s")
    tau_ref: float = parameter(0.002, at_least=0, unit="s")
    sigma: float = parameter(0.0, at_least=0)
    min_voltage: float | None = parameter(0.0, at_most=0, training=False)

    def check(self) -> None:
        """Refuse a `max_rate` that the refractory time forbids, and a `tau_rc` so short that the gain vanishes."""
        check_reachable(self.max_rate, self.tau_ref)
        if self.gain_and_bias()[0] < _LEAST_GAIN:
            shortest = (1 / self.max_rate - self.tau_ref) / math.log(1 / _LEAST_GAIN)
            raise ParameterError(
                f"tau_rc={self.tau_rc:g}: too short for max_rate={self.max_rate:g}: the rate would jump at threshold; "
                f"try {2 * shortest:.1g} s or more"
            )

    @property
    def lowest_voltage(self) -> float:
        """`min_voltage`, minus infinity where there is none."""
        return -math.inf if self.min_voltage is None else self.min_voltage

    def current_for(self, rate: float) -> float:
        check_reachable(rate, self.tau_ref, "rate")
        return lif_current(rate, self.tau_rc, self.tau_ref)

    def firing_rate(self, current: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return lif_rate(current, self.tau_rc, self.tau_ref, self.sigma)

    def in_rate_mode(self, signal: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Rate and derivative in one pass (see `lif_activation`)."""
        if type(self).firing_rate is not LIF.firing_rate:  # a LIF with a rate of its own
            return super().in_rate_mode(signal)
        gain, bias = self.gain_and_bias()
        return lif_activation(signal, gain, bias, self.scale, self.tau_rc, self.tau_ref, self.sigma)

    @torch.no_grad()
    def activation_and_current(self, signal: Float[Tensor, "..."]) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
        """In one pass over memory where the rate is compiled (see `lif_activation`)."""
        own_rate = type(self).in_rate_mode is not LIF.in_rate_mode or type(self).firing_rate is not LIF.firing_rate
        if own_rate or signal.device.type != "cpu" or signal.dtype != torch.float32:
            return super().activation_and_current(signal)
        from ratespike.compiled.lif_rate import LIFActivation, rate_and_current  # imports Numba

        gain, bias = self.gain_and_bias()
        function = LIFActivation(gain, bias, self.scale, self.tau_rc, self.tau_ref, self.sigma, SLOPE_CLAMP)
        return rate_and_current(signal, function)

    def firing_rate_in_steps(self, current: Float[Tensor, "..."], dt: float) -> Float[Tensor, "..."]:
        return lif_rate_in_steps(current, self.tau_rc, self.tau_ref, dt)

    def step_warning(self, dt: float) -> str | None:
        if self.tau_ref >= dt:
            return None
        return f"tau_ref={self.tau_ref:g} s is shorter than a step of {dt:g} s, in which it fires at most once"

    def initial_state(self, voltage: Float[Tensor, "..."]) -> State:
        return {"voltage": voltage, "refractory_time": torch.zeros_like(voltage)}

    def steady_state(self, current: Float[Tensor, "..."], phase: Float[Tensor, "..."], dt: float) -> State:
        voltage, refractory_time = lif_steady_state(
            current, phase, dt=dt, tau_rc=self.tau_rc, tau_ref=self.tau_ref, min_voltage=self.lowest_voltage
        )
        return {"voltage": voltage, "refractory_time": refractory_time}

    def step(self, current: Float[Tensor, "..."], state: State, dt: float) -> tuple[Float[Tensor, "..."], State]:
        """Advance by `dt` seconds with `lif_step`: at most one spike a neuron."""
        spiked, voltage, refractory_time = lif_step(
            current,
            state["voltage"],
            state["refractory_time"],
            dt=dt,
            tau_rc=self.tau_rc,
            tau_ref=self.tau_ref,
            min_voltage=self.lowest_voltage,
        )
        return spiked.to(current.dtype), {"voltage": voltage, "refractory_time": refractory_time}
