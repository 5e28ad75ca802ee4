"""What counts as a network's answer after each step: from its outputs over time."""

import torch
from jaxtyping import Float
from torch import Tensor

from ratespike.synapses import Synapse

READOUTS = ("last", "mean", "mean_after_burn_in", "spike_count")


def read_out(
    outputs: Float[Tensor, "time batch classes"], readout: str, *, synapse: Synapse, dt: float, burn_in: float, scale: float
) -> Float[Tensor, "time batch classes"]:
    """The answer at each step, as if the simulation ended there.

    Only `last` looks through the synapse: the others average themselves, and a filter before them would only delay them.

    Args:
        outputs: of the network's last layer, unfiltered.
        readout:
            - `last`: the filtered output of the step.
            - `mean`: the mean of the outputs so far.
            - `mean_after_burn_in`: the mean of the outputs so far without those of the first `burn_in` seconds; as long as
              there are no others, their mean.
            - `spike_count`: if the network ends in neurons, how many spikes each has fired so far; if it ends in a layer
              with weights, the spikes it has got so far, each weighted: the outputs' sum times dt.
        synapse: the filter behind the output, in front of `last`.
        dt: the step, seconds.
        burn_in: how long `mean_after_burn_in` looks away, seconds.
        scale: a spike's height times dt if the network ends in neurons, else 1.

    Example:
        >>> from ratespike.synapses import NoFilter
        >>> outputs = torch.tensor([[[4.0]], [[1.0]], [[2.0]]])
        >>> read_out(outputs, "mean_after_burn_in", synapse=NoFilter(), dt=0.001, burn_in=0.001, scale=1.0).flatten()
        tensor([4.0000, 1.0000, 1.5000])
    """
    if readout == "last":
        return _filtered(outputs, synapse, dt)
    total = outputs.cumsum(0)
    if readout == "spike_count":
        return total * (dt / scale)
    skipped = min(round(burn_in / dt), len(outputs)) if readout == "mean_after_burn_in" else 0
    mean = _divided_by_steps(total)
    if skipped:
        mean[skipped:] = _divided_by_steps(total[skipped:] - total[skipped - 1])
    return mean


def _filtered(outputs: Tensor, synapse: Synapse, dt: float) -> Tensor:
    state, filtered = synapse.initial_state(outputs[0]), []
    for output in outputs:
        value, state = synapse.step(output, state, dt)
        filtered.append(value)
    return torch.stack(filtered)


def _divided_by_steps(total: Tensor) -> Tensor:
    steps = torch.arange(1, len(total) + 1, device=total.device, dtype=total.dtype)
    return total / steps.reshape(-1, 1, 1)
