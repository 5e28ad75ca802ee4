"""Synaptic operations and membrane updates of an image, as NeuroBench counts them.

Where its counts and these differ, and which of the two a network has, is said in docs/energy.md.
"""

from typing import TYPE_CHECKING

from ratespike.metrics.metric import MILLION, Metric

if TYPE_CHECKING:
    from torch import Tensor

    from ratespike.metrics import Results
    from ratespike.simulation import Simulation


def _accumulates(rates: "Tensor", spikes: "Simulation", labels: "Tensor") -> "Tensor":
    return spikes.accumulates


def _multiply_accumulates(rates: "Tensor", spikes: "Simulation", labels: "Tensor") -> "Tensor":
    return spikes.multiply_accumulates


def _folded(rates: "Tensor", spikes: "Simulation", labels: "Tensor") -> "Tensor":
    return spikes.folded_accumulates


def _total(results: "Results", name: str) -> float | None:
    """Of all steps; None in results that were kept before it was counted."""
    return None if results.cost is None else float(results.image_means[name].sum())


def _dense(results: "Results") -> float | None:
    return None if results.cost is None else results.cost.plain_operations * results.mean_steps


def _updates(results: "Results") -> float | None:
    return None if results.cost is None else results.cost.neurons * results.mean_steps


EFFECTIVE_ACS = Metric(
    name="effective_acs",
    label="effective accumulates an image",
    unit=MILLION,
    more_is_better=False,
    compute=lambda results: _total(results, "effective_acs"),
    in_groups="never",
    of_each_image=_accumulates,
)
EFFECTIVE_MACS = Metric(
    name="effective_macs",
    label="effective multiply-accumulates an image",
    unit=MILLION,
    more_is_better=False,
    compute=lambda results: _total(results, "effective_macs"),
    in_groups="never",
    of_each_image=_multiply_accumulates,
)
FOLDED_ACS = Metric(
    name="folded_acs",
    label="accumulates that are products unless folded",
    unit=MILLION,
    more_is_better=None,
    compute=lambda results: _total(results, "folded_acs"),
    in_groups="never",
    of_each_image=_folded,
)
DENSE_OPERATIONS = Metric(
    name="dense_operations",
    label="dense operations of all steps",
    unit=MILLION,
    more_is_better=False,
    compute=_dense,
    in_groups="never",
)
PLAIN_OPERATIONS = Metric(
    name="plain_operations",
    label="operations of the plain network, once",
    unit=MILLION,
    more_is_better=False,
    compute=lambda results: None if results.cost is None else float(results.cost.plain_operations),
    in_groups="never",
)
MEMBRANE_UPDATES = Metric(
    name="membrane_updates",
    label="membrane updates an image",
    unit=MILLION,
    more_is_better=False,
    compute=_updates,
    in_groups="never",
)
