"""The adaptive LIF neuron, which tires: each spike makes the next one come later."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ratespike.neurons.base import State
from ratespike.neurons.lif import LIF
from ratespike.neurons.lif_rates import lif_rate, lif_slope
from ratespike.parameters import parameter

_ITERATIONS = 16  # 5 find the soft rate to float32's precision for the default inc_n; 16 the hard one to 0.02 Hz


@dataclass(eq=False, repr=False, kw_only=True)
class AdaptiveLIF(LIF):
    """LIF neuron whose every spike adds to an adaptation that counts against its current.

    Rate: the r that solves `r = r_LIF(J - inc_n * r)`, in Hz: the rate that is left when the adaptation has settled,
    which takes several `tau_n`. It takes the adaptation for constant; where `tau_n` is not much longer than the time between
    two spikes, the neuron fires more often (at 5 Hz by 0.4 Hz for the defaults, by 4.5 Hz for `tau_n=0.05`).

    Step: the LIF's with the current `J - n`; then `n += dt / tau_n * (inc_n * spikes / dt - n)`. Spikes are counted
    with height `1 / dt`, so that the adaptation does not depend on `amplitude` (in Nengo `inc_n` is multiplied with it).

    Source: Nengo 4.1, `AdaptiveLIF`; La Camera et al. 2004, "Minimal models of adapted neuronal response to in vivo-like
    input currents", doi:10.1162/0899766041732468.

    Attributes:
        tau_n: time constant of the adaptation, seconds.
        inc_n: the settled adaptation per Hz, in units of current.

    Shape:
        any; the output has the input's shape.

    Example:
        >>> AdaptiveLIF(max_rate=100, inc_n=0.1)(torch.tensor([0.0, 1.0]))
        tensor([0., 1.])
    """

    tau_n: float = parameter(1.0, above=0, unit="s")
    inc_n: float = parameter(0.01, at_least=0)

    def current_for(self, rate: float) -> float:
        return super().current_for(rate) + self.inc_n * rate

    def firing_rate(self, current: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return adaptive_lif_rate(current, self.tau_rc, self.tau_ref, self.inc_n, self.sigma)

    def firing_rate_in_steps(self, current: Float[Tensor, "..."], dt: float) -> Float[Tensor, "..."]:
        return self.firing_rate(current)

    def initial_state(self, voltage: Float[Tensor, "..."]) -> State:
        return super().initial_state(voltage) | {"adaptation": torch.zeros_like(voltage)}

    def steady_state(self, current: Float[Tensor, "..."], phase: Float[Tensor, "..."], dt: float) -> State:
        adaptation = self.inc_n * adaptive_lif_rate(current, self.tau_rc, self.tau_ref, self.inc_n)
        return super().steady_state(current - adaptation, phase, dt) | {"adaptation": adaptation}

    def step(self, current: Float[Tensor, "..."], state: State, dt: float) -> tuple[Float[Tensor, "..."], State]:
        adaptation = state["adaptation"]
        spikes, membrane = super().step(current - adaptation, state, dt)
        adapted = adaptation + (dt / self.tau_n) * (spikes * (self.inc_n / dt) - adaptation)
        return spikes, membrane | {"adaptation": adapted}


def adaptive_lif_rate(
    current: Float[Tensor, "..."], tau_rc: float, tau_ref: float, inc_n: float, sigma: float = 0.0
) -> Float[Tensor, "..."]:
    """The settled firing rate of an adaptive LIF neuron, in Hz: `r = lif_rate(J - inc_n * r)`.

    Solved by Newton's method inside a bracket that is halved where Newton's step fails; at most 16 iterations, mostly 5,
    each as costly as `lif_rate`. The derivative is the implicit one, `lif_slope / (1 + inc_n * lif_slope)`.

    Args:
        current: constant, threshold 1, any shape.
        tau_rc: membrane time constant, seconds.
        tau_ref: refractory time, seconds.
        inc_n: adaptation per Hz.
        sigma: smoothness, in units of current; 0 for the hard rate.

    Returns:
        The rates, of the current's shape, differentiable by it; NaN where the current is.

    Example:
        >>> rate = adaptive_lif_rate(torch.tensor([2.0]), tau_rc=0.02, tau_ref=0.002, inc_n=0.01)
        >>> rate, lif_rate(2 - 0.01 * rate, tau_rc=0.02, tau_ref=0.002)
        (tensor([44.3194]), tensor([44.3194]))
    """
    with torch.no_grad():
        settled, slope = _settled_rate(current, tau_rc, tau_ref, inc_n, sigma)
    rate = lif_rate(current - inc_n * settled, tau_rc, tau_ref, sigma)
    return settled + (rate - rate.detach()).nan_to_num() / (1 + inc_n * slope)


def _settled_rate(current: Tensor, tau_rc: float, tau_ref: float, inc_n: float, sigma: float) -> tuple[Tensor, Tensor]:
    """The rate r with `r = lif_rate(J - inc_n * r)`, and the slope of `lif_rate` there.

    `r - lif_rate(J - inc_n * r)`, the error of a guess r, grows with r; so there is one solution, and it lies between 0 and
    the rate without adaptation. Each guess replaces one end of this bracket.
    """
    high = lif_rate(current, tau_rc, tau_ref, sigma)
    low = torch.zeros_like(high)
    rate = high
    rounding = 8 * torch.finfo(high.dtype).eps * high
    last_error = torch.full_like(high, torch.inf)
    for _ in range(_ITERATIONS):
        effective = current - inc_n * rate
        target = lif_rate(effective, tau_rc, tau_ref, sigma)
        damping = 1 + inc_n * lif_slope(effective, target, tau_rc, sigma)  # the error's slope
        error = rate - target
        low = torch.where(error < 0, rate, low)
        high = torch.where(error >= 0, rate, high)
        newton = rate - error / damping
        solved = error.abs() <= rounding * damping
        stuck = (error.abs() > last_error / 2) & (error.abs() > rounding * damping)
        rate = torch.where(stuck | (newton < low) | (newton > high), (low + high) / 2, newton)
        if bool(solved.all()):
            break
        last_error = error.abs()
    return rate, lif_slope(effective, target, tau_rc, sigma)
