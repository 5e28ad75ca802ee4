"""The variability that a regular spike train has behind filters: what a rate in training does not show."""

import torch
from jaxtyping import Float
from torch import Tensor


def filtered_spikes(
    rate: Float[Tensor, "..."], phase: Float[Tensor, "..."], tau_rc: float, tau_s: float
) -> Float[Tensor, "..."]:
    """The value of a regular spike train behind two low-pass filters, at a moment between two spikes, in Hz.

    The train has lasted for long. Each of its spikes, at times t ago, has left the response of a low-pass filter of `tau_s` (a
    synapse) with one of `tau_rc` (a membrane) behind it, `(exp(-t / tau_rc) - exp(-t / tau_s)) / (tau_rc - tau_s)`. Over the
    interval `P = 1 / rate` they add up to

        (1 / (tau_rc - tau_s)) * (exp(-t / tau_rc) / (1 - exp(-P / tau_rc)) - exp(-t / tau_s) / (1 - exp(-P / tau_s)))

    whose mean over t from 0 to P is the rate. Source: Hunsberger and Eliasmith 2016, "Training spiking deep networks for
    neuromorphic hardware", arXiv:1611.05141, for noise of spikes in training; the filters are those of NengoLoihi 1.1,
    `LowpassRCNoise`.

    Args:
        rate: in Hz, any shape; a negative one is a train of negative spikes.
        phase: what part of the interval has passed since the last spike, in [0, 1), of the same shape.
        tau_rc: time constant of the one filter, seconds.
        tau_s: of the other one, another number.

    Returns:
        0 where the rate is 0; no slope.

    Example:
        >>> phase = torch.linspace(0, 0.999, 1000)
        >>> values = filtered_spikes(torch.full((1000,), 50.0), phase, tau_rc=0.02, tau_s=0.005)
        >>> values.min(), values.max(), values.mean()
        (tensor(37.5546), tensor(57.7042), tensor(50.0000))
    """
    rate = rate.detach()
    interval = 1 / rate.abs()
    since_spike = phase * interval
    response = _decayed(since_spike, interval, tau_rc).sub_(_decayed(since_spike, interval, tau_s)).div_(tau_rc - tau_s)
    return torch.where(rate == 0, 0, response.mul_(rate.sign()))


def _decayed(since_spike: Tensor, interval: Tensor, tau: float) -> Tensor:
    """What is left of all spikes so far that have decayed with `tau`, in spikes."""
    last = torch.exp(since_spike * (-1 / tau))
    return last.div_(torch.expm1(interval * (-1 / tau)).neg_())
