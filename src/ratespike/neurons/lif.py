"""The leaky integrate-and-fire neuron."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ratespike.neurons.base import Neuron, State, check_max_rate
from ratespike.parameters import parameter

SLOPE_CLAMP = 1e-3  # the hard rate's slope is infinite at threshold: below this distance it is held
_TAIL = -20.0  # from here on softplus(x) equals exp(x) in float64 to 1e-9, and log1p(1/z) equals -log(z)


class _Rate(torch.autograd.Function):
    """Firing rate with its analytic derivative: two passes over memory instead of autograd's one per operation."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, tau_rc: float, tau_ref: float, sigma: float) -> Tensor:
        above = current - 1
        if sigma > 0:
            x = above / sigma
            log_term = torch.where(x < _TAIL, -x - math.log(sigma), torch.log1p(1 / (F.softplus(x) * sigma)))
            rate = 1 / (tau_ref + tau_rc * log_term)
        else:
            rate = 1 / (tau_ref + tau_rc * torch.log1p(1 / above.clamp(min=0)))
        ctx.save_for_backward(above, rate)
        ctx.constants = tau_rc, sigma
        return rate

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        above, rate = ctx.saved_tensors
        tau_rc, sigma = ctx.constants
        if sigma > 0:
            x = above / sigma
            soft = F.softplus(x)
            relative = torch.where(x < _TAIL, torch.ones_like(x), torch.sigmoid(x) / soft)  # d(log z)/dx
            slope = rate * rate * (tau_rc / sigma) * relative / (soft * sigma + 1)
        else:
            above = above.clamp(min=SLOPE_CLAMP)
            slope = rate * rate * tau_rc / (above * (above + 1))
        return grad * slope, None, None, None


def lif_rate(current: Float[Tensor, "..."], tau_rc: float, tau_ref: float, sigma: float = 0.0) -> Float[Tensor, "..."]:
    """Steady firing rate of a LIF neuron, in Hz.

    `r(J) = 1 / (tau_ref + tau_rc * log1p(1 / (J - 1)))` above threshold (J > 1), else 0. With `sigma > 0` the distance to
    threshold `J - 1` is replaced by `sigma * softplus((J - 1) / sigma)`, which makes the rate smooth (Hunsberger and
    Eliasmith 2016, "Training spiking deep networks for neuromorphic hardware", arXiv:1611.05141).

    The derivative is analytic. The hard rate's is infinite at threshold; there it is taken at a distance of
    `SLOPE_CLAMP` from it.

    Args:
        current: input current, threshold 1, any shape.
        tau_rc: membrane time constant, seconds.
        tau_ref: refractory time, seconds.
        sigma: smoothness, in units of current; 0 for the hard rate.

    Example:
        >>> lif_rate(torch.tensor([0.5, 2.0]), tau_rc=0.02, tau_ref=0.002)
        tensor([ 0.0000, 63.0400])
    """
    return _Rate.apply(current, tau_rc, tau_ref, sigma)  # type: ignore[no-any-return, no-untyped-call]


def lif_step(
    current: Tensor, voltage: Tensor, refractory_time: Tensor, *, dt: float, tau_rc: float, tau_ref: float, min_voltage: float
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of a LIF neuron: exact for a current that is constant during the step (Nengo 4.1's `LIF.step`).

    The membrane integrates only in the part of the step outside the refractory time; a spike's moment within the step is
    interpolated and the refractory time counts from there. At most one spike a step.

    Returns:
        spiked (bool), voltage, refractory time (seconds).
    """
    refractory_time = refractory_time - dt
    free = (dt - refractory_time).clamp_(0, dt)
    voltage = voltage - (current - voltage) * torch.expm1(free.mul_(-1 / tau_rc))
    spiked = voltage > 1
    overshoot, drive = voltage[spiked] - 1, current[spiked] - 1
    refractory_time[spiked] = tau_ref + dt + tau_rc * torch.log1p(-overshoot / drive)
    voltage = voltage.clamp_(min=min_voltage).masked_fill_(spiked, 0)
    return spiked, voltage, refractory_time


@dataclass(eq=False, repr=False, kw_only=True)
class LIF(Neuron):
    """Leaky integrate-and-fire neuron, hard (`sigma=0`) or soft in rate mode, Nengo's exact step in spiking mode.

    Attributes:
        tau_rc: membrane time constant, seconds.
        tau_ref: refractory time after a spike, seconds.
        sigma: smoothness of the rate around threshold, in units of current (training only; spikes do not depend on it).
        min_voltage: the membrane cannot fall below it.

    Shape:
        any; the output has the input's shape.

    Raises:
        ParameterError: a parameter out of range, or `max_rate` not below 1 / tau_ref.

    Example:
        >>> neuron = LIF(max_rate=100, intercept=0)
        >>> neuron(torch.tensor([-1.0, 0.0, 1.0]))
        tensor([0.0000, 0.0000, 1.0000])
    """

    tau_rc: float = parameter(0.02, above=0, unit="s")
    tau_ref: float = parameter(0.002, at_least=0, unit="s")
    sigma: float = parameter(0.0, at_least=0)
    min_voltage: float = parameter(0.0, at_most=0)

    def check(self) -> None:
        check_max_rate(self.max_rate, self.tau_ref)

    def gain_and_bias(self) -> tuple[float, float]:
        x = -1 / math.expm1((self.tau_ref - 1 / self.max_rate) / self.tau_rc)  # the current that fires at max_rate
        gain = (1 - x) / (self.intercept - 1)
        return gain, 1 - gain * self.intercept

    def firing_rate(self, current: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return lif_rate(current, self.tau_rc, self.tau_ref, self.sigma)

    def initial_state(self, voltage: Float[Tensor, "..."]) -> State:
        return {"voltage": voltage, "refractory_time": torch.zeros_like(voltage)}

    def step(self, current: Float[Tensor, "..."], state: State, dt: float) -> tuple[Float[Tensor, "..."], State]:
        spiked, voltage, refractory_time = lif_step(
            current,
            state["voltage"],
            state["refractory_time"],
            dt=dt,
            tau_rc=self.tau_rc,
            tau_ref=self.tau_ref,
            min_voltage=self.min_voltage,
        )
        return spiked.to(current.dtype), {"voltage": voltage, "refractory_time": refractory_time}
