"""The LIF neuron that trains on the whole spikes it fires in a window of time: clip-floor-shift for leaky neurons.

A rate says nothing about the first steps of a simulation. From a voltage of 0 and with the default constants a current below
2.54 fires no spike within 10 ms, though its rate is up to 83 Hz. For a constant current the number of spikes has a closed form,
so a network can be trained on it. The first layer's current is constant; what deeper layers get comes in whole spikes, of which
the count does not know.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ratespike.neurons.base import at_least_float32
from ratespike.neurons.lif import LIF
from ratespike.neurons.lif_rates import lif_activation, lif_rate
from ratespike.neurons.straight_through import straight_through
from ratespike.parameters import ParameterError, parameter

_VOLTAGES = {"zero": 0.0, "half": 0.5}


@dataclass(eq=False, repr=False, kw_only=True)
class WindowCountLIF(LIF):
    """LIF neuron whose rate mode counts its spikes in the first `n_steps` steps of a constant current.

    Rate: `r(J) = N / (n_steps * dt)`, in Hz. With the interval `P = tau_ref + tau_rc * log1p(1 / (J - 1))` and the first
    spike at `t_1 = tau_rc * log((J - v_0) / (J - 1))`, N is `ceil((n_steps * dt - t_1) / P)`, and 0 where J ≤ 1 or
    `t_1 ≥ n_steps * dt`; `v_0` is 0 or, with `start=half`, 0.5. The slope is taken as that of the soft LIF with
    `tau_ref + dt / 2`.

    Step: the LIF's.

    Source: the count is derived here from Nengo's exact step; the idea to train on counts is that of Bu et al. 2022, "Optimal
    ANN-SNN conversion for high-accuracy and ultra-low-latency spiking neural networks", arXiv:2303.04347.

    Attributes:
        sigma: smoothness of the slope around threshold, in units of current; the count does not depend on it.
        n_steps: length of the window.
        dt: length of a step, seconds, as it will be in the simulation.
        start: how the simulation will start, `zero` or `half`.

    Shape:
        any; the output has the input's shape.

    Raises:
        ParameterError: in addition to those of `LIF`, a `tau_ref` shorter than `dt`: spikes would be lost, and the count
            would not be the simulation's.

    Example:
        >>> neuron = WindowCountLIF(max_rate=150, n_steps=10, start="half")
        >>> neuron(torch.tensor([0.0, 0.2, 0.6, 1.0]))
        tensor([0.0000, 0.0000, 0.6667, 1.3333])
    """

    sigma: float = parameter(0.02, at_least=0)
    n_steps: int = parameter(10, at_least=1)
    dt: float = parameter(0.001, above=0, unit="s")
    start: str = parameter("half", choices=("zero", "half"))

    def check(self) -> None:
        super().check()
        if self.tau_ref < self.dt:
            raise ParameterError(
                f"tau_ref={self.tau_ref:g}: must be at least dt={self.dt:g} s, or spikes are lost that the window counts; "
                "try a shorter dt"
            )

    def firing_rate(self, current: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return straight_through(self._counted(current), lif_rate(current, self.tau_rc, self.tau_ref + self.dt / 2, self.sigma))

    def in_rate_mode(self, signal: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The slope comes from the soft rate's compiled pass (see `lif_activation`)."""
        gain, bias = self.gain_and_bias()
        smooth = lif_activation(signal, gain, bias, self.scale, self.tau_rc, self.tau_ref + self.dt / 2, self.sigma)
        counted = self._counted(at_least_float32(signal) * gain + bias) * self.scale
        return straight_through(counted.to(signal.dtype), smooth)

    @torch.no_grad()
    def _counted(self, current: Tensor) -> Tensor:
        window = self.n_steps * self.dt
        return lif_count(current, self.tau_rc, self.tau_ref, window, _VOLTAGES[self.start]) / window


def lif_count(
    current: Float[Tensor, "..."], tau_rc: float, tau_ref: float, window: float, voltage: float = 0.0
) -> Float[Tensor, "..."]:
    """How many spikes a hard LIF neuron fires in a time window of a constant current.

    Spike number k = 0, 1, ... comes at `t_1 + k * P`, and counts if that is before the end of the window. A simulation counts
    the same: it finds a spike in the step in which its moment lies, and moments are not rounded to steps.

    Args:
        current: constant, threshold 1, any shape.
        tau_rc: membrane time constant, seconds.
        tau_ref: refractory time, seconds; not shorter than the steps of the simulation.
        window: its length, seconds.
        voltage: of the membrane at the begin, from 0 to below 1.

    Returns:
        Whole numbers, in the current's shape and dtype; without a slope.

    Example:
        >>> lif_count(torch.tensor([0.5, 2.0, 4.0]), tau_rc=0.02, tau_ref=0.002, window=0.03)
        tensor([0., 2., 4.])
    """
    above = current - 1
    interval = torch.log1p(1 / above).mul_(tau_rc).add_(tau_ref)
    first = torch.log1p((1 - voltage) / above).mul_(tau_rc)
    count = (window - first).clamp_(min=0).div_(interval).ceil_()
    return count.masked_fill_(above <= 0, 0)
