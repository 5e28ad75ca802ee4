"""The energy of an image on each device of `ratespike.metrics.devices`.

On a device that runs spikes it is that of the operations and updates of the simulation; on another one that of the plain
network, once, as KerasSpiking has it: so both stand beside each other. What each number counts: docs/energy.md.
"""

from typing import TYPE_CHECKING

from ratespike.metrics.devices import DEVICES, Device, Work, metric_name
from ratespike.metrics.metric import Metric, Unit

if TYPE_CHECKING:
    from ratespike.metrics import Results

_MICROJOULE = Unit("µJ", scale=1e6, mean_digits=3)
_IN_GROUPS = ("45nm", "45nm_plain", "loihi")
_IN_RUNS = (*_IN_GROUPS, "45nm_with_neurons", "spinnaker2")  # the others are kept, but fill no line of a run's table


def _work(device: Device, results: "Results") -> Work | None:
    """What a device computes for an image; None of results that do not hold it."""
    cost = results.cost
    if cost is None:
        return None
    if not device.runs_spikes:
        return Work(accumulates=0, multiply_accumulates=cost.plain_operations, updates=cost.neurons)
    steps = results.mean_steps
    return Work(
        accumulates=float(results.image_means["effective_acs"].sum()),
        multiply_accumulates=float(results.image_means["effective_macs"].sum()),
        updates=cost.neurons * steps,
        update_accumulates=cost.update_accumulates * steps,
        update_multiply_accumulates=cost.update_multiply_accumulates * steps,
    )


def _energy_on(device: Device) -> Metric:
    def joules(results: "Results") -> float | None:
        work = _work(device, results)
        return None if work is None else device.joules(work)

    network = "" if device.runs_spikes else ", plain network"
    name = device.name.replace("_plain", "").replace("_", " ")
    return Metric(
        name=metric_name(device.name),
        label=f"energy an image, {name}{network}",
        unit=_MICROJOULE,
        more_is_better=False,
        compute=joules,
        in_groups="where there is room" if device.name in _IN_GROUPS else "never",
        row_if=lambda results: device.name in _IN_RUNS,
    )


ENERGY = tuple(map(_energy_on, DEVICES))
