"""How much of a network is 0: of its weights, and of what its neurons send, as NeuroBench counts both."""

from typing import TYPE_CHECKING

from ratespike.metrics.metric import PERCENT, Metric

if TYPE_CHECKING:
    from torch import Tensor

    from ratespike.metrics import Results
    from ratespike.simulation import Simulation


def _spikes(rates: "Tensor", spikes: "Simulation", labels: "Tensor") -> "Tensor":
    """Of all neurons in each step, shape (time, batch)."""
    import torch

    return sum(spikes.spike_counts.values(), start=torch.zeros_like(spikes.synaptic_operations))


def _activation_sparsity(results: "Results") -> float | None:
    """The fraction of neurons and steps without a spike; of neurons that spike several times in a step a lower bound."""
    if results.cost is None or not results.cost.neurons:
        return None
    spikes = float(results.image_means["activation_sparsity"].sum())
    return max(0.0, 1 - spikes / (results.cost.neurons * results.mean_steps))


ACTIVATION_SPARSITY = Metric(
    name="activation_sparsity",
    label="activation sparsity",
    unit=PERCENT,
    more_is_better=True,
    compute=_activation_sparsity,
    in_groups="never",
    of_each_image=_spikes,
)
CONNECTION_SPARSITY = Metric(
    name="connection_sparsity",
    label="connection sparsity",
    unit=PERCENT,
    more_is_better=True,
    compute=lambda results: None if results.cost is None else results.cost.connection_sparsity,
    in_groups="never",
)
