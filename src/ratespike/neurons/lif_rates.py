"""The LIF neuron's rate as pure functions: hard, soft, its slope, its inverse, and what is left of it in time steps.

The rate at a current J depends on z, the distance `J - 1` to threshold: `r = 1 / (tau_ref + tau_rc * log1p(1 / z))`. The hard
rate has `z = max(J - 1, 0)`; the soft one a smooth function that is nearly the same, `z = sigma * softplus((J - 1) / sigma)`.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ratespike.neurons.base import at_least_float32

SLOPE_CLAMP = 1e-3  # the hard rate's slope is infinite at threshold: below this distance it is held
_MOST_CYCLES = 1000  # how many spikes to look for one that is lost: a rarer loss changes the rate by less than 0.1 %


class _Rate(torch.autograd.Function):
    """Firing rate with its analytic derivative, in PyTorch operations: any device, any dtype."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, tau_rc: float, tau_ref: float, sigma: float) -> Tensor:
        above = current - 1
        rate = 1 / (tau_ref + tau_rc * _log_term(above, sigma))
        ctx.save_for_backward(above, rate)
        ctx.constants = tau_rc, sigma
        return rate

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        above, rate = ctx.saved_tensors
        return grad * _slope(above, rate, *ctx.constants), None, None, None


class _CompiledRate(torch.autograd.Function):
    """`scale * rate(gain * x + bias)` and its derivative in one pass over memory: float32 on a CPU."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, gain: float, bias: float, scale: float, tau_rc: float, tau_ref: float, sigma: float
    ) -> Tensor:
        """The activation; its derivative by x is computed along with it and kept for `backward`."""
        from ratespike.compiled.lif_rate import LIFActivation, rate_and_slope  # imports Numba

        function = LIFActivation(gain, bias, scale, tau_rc, tau_ref, sigma, SLOPE_CLAMP)
        activation, slope = rate_and_slope(x, function)
        ctx.save_for_backward(slope)
        return activation

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (slope,) = ctx.saved_tensors
        return grad * slope, *(None,) * 6


def lif_activation(
    x: Float[Tensor, "..."], gain: float, bias: float, scale: float, tau_rc: float, tau_ref: float, sigma: float = 0.0
) -> Float[Tensor, "..."]:
    """The rate mode of a LIF neuron, `scale * lif_rate(gain * x + bias)`.

    In float32 on a CPU it is compiled (by Numba, on first use, then kept on disk): rate and derivative in one pass over
    memory, to 1e-6 of their values. An infinite `x` counts as 1e30.

    Args:
        x: any shape; half precision is computed in float32 and comes out in its own dtype.
        gain: current per input.
        bias: current at `x = 0`, threshold 1.
        scale: activation per Hz.
        tau_rc: membrane time constant, seconds.
        tau_ref: refractory time, seconds.
        sigma: smoothness, in units of current; 0 for the hard rate.

    Example:
        >>> lif_activation(torch.tensor([-1.0, 1.0]), 1.0, 1.0, 0.01, tau_rc=0.02, tau_ref=0.002)
        tensor([0.0000, 0.6304])
    """
    precise = at_least_float32(x)
    if precise.device.type == "cpu" and precise.dtype == torch.float32:
        activation: Tensor = _CompiledRate.apply(precise, gain, bias, scale, tau_rc, tau_ref, sigma)  # type: ignore[no-untyped-call]
    else:
        activation = lif_rate(precise * gain + bias, tau_rc, tau_ref, sigma) * scale
    return activation.to(x.dtype)


def _log_term(above: Tensor, sigma: float) -> Tensor:
    """`log1p(1 / z)`, from the distance to threshold: the charging time in units of `tau_rc`."""
    if sigma == 0:
        return torch.log1p(1 / above.clamp(min=0))
    x = above / sigma
    z = F.softplus(x, threshold=_far(x)) * sigma
    far_below = -x - math.log(sigma)  # there z is sigma * exp(x), which may underflow, and the term is -log(z)
    return torch.where(x < -_far(x), far_below, torch.log1p(1 / z))


def _far(x: Tensor) -> float:
    """Beyond it `softplus(x)` is `x`, and `softplus(-x)` is `exp(-x)`, to the precision of the dtype."""
    return 40.0 if x.dtype == torch.float64 else 20.0


def _slope(above: Tensor, rate: Tensor, tau_rc: float, sigma: float) -> Tensor:
    """d(rate)/d(current), from the distance to threshold and the rate there: `r**2 * tau_rc / (z * (z + 1)) * dz/dJ`."""
    if sigma == 0:
        z = above.clamp(min=SLOPE_CLAMP)
        slope = rate / z * (rate / (z + 1)) * tau_rc
    else:
        x = above / sigma
        soft = F.softplus(x, threshold=_far(x))  # z / sigma
        relative = torch.where(x < -_far(x), torch.ones_like(x), torch.sigmoid(x) / soft)  # d(log z)/dx
        slope = rate * rate * (tau_rc / sigma) * relative / (soft * sigma + 1)
    return slope.nan_to_num_(nan=0.0, posinf=0.0)


def lif_rate(current: Float[Tensor, "..."], tau_rc: float, tau_ref: float, sigma: float = 0.0) -> Float[Tensor, "..."]:
    """Steady firing rate of a LIF neuron, in Hz.

    `r(J) = 1 / (tau_ref + tau_rc * log1p(1 / (J - 1)))` above threshold (J > 1), else 0. With `sigma > 0` the distance to
    threshold `J - 1` is replaced by `sigma * softplus((J - 1) / sigma)`, which makes the rate smooth (Hunsberger and
    Eliasmith 2016, "Training spiking deep networks for neuromorphic hardware", arXiv:1611.05141).

    The derivative is analytic. The hard rate's is infinite at threshold; within `SLOPE_CLAMP` of the threshold it is taken
    as if at that distance from it, and below threshold it is 0. An infinite current gives `1 / tau_ref` or 0, NaN gives NaN;
    the derivative is finite everywhere: 0 where the rate is infinite or NaN.

    Args:
        current: input current, threshold 1, any shape; computed in its own dtype (`LIF` makes that float32 at least).
        tau_rc: membrane time constant, seconds.
        tau_ref: refractory time, seconds.
        sigma: smoothness, in units of current; 0 for the hard rate.

    Returns:
        The rates in Hz, of the current's shape and dtype.

    Example:
        >>> lif_rate(torch.tensor([0.5, 2.0]), tau_rc=0.02, tau_ref=0.002)
        tensor([ 0.0000, 63.0400])
    """
    return _Rate.apply(current, tau_rc, tau_ref, sigma)  # type: ignore[no-any-return, no-untyped-call]


def lif_slope(
    current: Float[Tensor, "..."], rate: Float[Tensor, "..."], tau_rc: float, sigma: float = 0.0
) -> Float[Tensor, "..."]:
    """The derivative of `lif_rate` by the current, in Hz, from the current and the rate there.

    `dr/dJ = r**2 * tau_rc / (z * (z + 1)) * dz/dJ`, with `z` the hard or soft distance to threshold. It is finite (see
    `lif_rate`).

    Args:
        current: threshold 1, any shape.
        rate: `lif_rate(current, ...)`.
        tau_rc: membrane time constant, seconds.
        sigma: smoothness, in units of current; 0 for the hard rate.

    Example:
        >>> current = torch.tensor([0.5, 2.0])
        >>> lif_slope(current, lif_rate(current, tau_rc=0.02, tau_ref=0.002), tau_rc=0.02)
        tensor([ 0.0000, 39.7404])
    """
    return _slope(current - 1, rate, tau_rc, sigma)


def lif_current(rate: float, tau_rc: float, tau_ref: float, sigma: float = 0.0) -> float:
    """The constant current at which a LIF neuron fires at `rate` Hz: the inverse of `lif_rate`.

    `J = 1 / (1 - exp((tau_ref - 1 / rate) / tau_rc))`; with `sigma > 0`, `J = 1 + sigma * log(expm1((J_hard - 1) / sigma))`.

    Args:
        rate: above 0, below 1 / tau_ref, in Hz.
        tau_rc: membrane time constant, seconds.
        tau_ref: refractory time, seconds.
        sigma: smoothness of the rate; 0 for the hard rate.

    Example:
        >>> round(lif_current(63.04, tau_rc=0.02, tau_ref=0.002), 4)
        2.0
    """
    passed = math.exp((tau_ref - 1 / rate) / tau_rc)  # of the voltage, how much is missing at the spike, relative
    above = passed / (1 - passed)
    if sigma == 0:
        return 1 + above
    x = above / sigma
    return 1 + sigma * (x + math.log(-math.expm1(-x)))


def lif_rate_in_steps(current: Float[Tensor, "..."], tau_rc: float, tau_ref: float, dt: float) -> Float[Tensor, "..."]:
    """The rate that the hard LIF neuron really has when it is stepped by `lif_step`, in Hz.

    From `tau_ref = dt` on it is `lif_rate`. A shorter refractory time can end within the step of its spike, and then the
    rest of that step is lost: the next charging begins with the next step. If charging takes `T` seconds, the spikes
    after such a loss come at `T`, `T + (T + tau_ref)`, ...; the first, number n, that leaves more than `tau_ref` of its step
    is followed by a loss, and everything repeats. So n spikes take a whole number of steps, and the rate is a staircase,
    `n / (dt * ceil((T + (n - 1) * (T + tau_ref)) / dt))`. (Derived here; checked against Nengo's `LIF` in the tests.)

    Args:
        current: constant, threshold 1, any shape.
        tau_rc: membrane time constant, seconds.
        tau_ref: refractory time, seconds.
        dt: length of a step, seconds.

    Example:
        >>> current = torch.tensor([2.0, 30.0])
        >>> lif_rate(current, tau_rc=0.02, tau_ref=0.0005), lif_rate_in_steps(current, tau_rc=0.02, tau_ref=0.0005, dt=0.001)
        (tensor([ 69.6236, 848.8740]), tensor([ 68.9655, 750.0000]))
    """
    exact = lif_rate(current, tau_rc, tau_ref).detach()
    if tau_ref >= dt:
        return exact
    charging = (tau_rc * torch.log1p(1 / (current - 1).clamp(min=0).double())) / dt  # in steps
    resting = tau_ref / dt
    rate = exact.double()
    unknown = exact > 0
    for spikes in range(1, _MOST_CYCLES + 1):
        elapsed = charging + (spikes - 1) * (charging + resting)
        steps = elapsed.floor() + 1  # a voltage of exactly 1 does not fire yet
        lost = unknown & (steps - elapsed > resting)
        rate = torch.where(lost, spikes / (dt * steps), rate)
        unknown = unknown & ~lost
        if not bool(unknown.any()):
            break
    return rate.to(current.dtype)
