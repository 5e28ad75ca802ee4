"""Devices and what an operation costs on them, in joules: one table, each row with its source.

These are figures of papers, for one operation: no memory access, no transfer of an image, no idle time. So they order networks
on one device; they are not what a meter would show. `docs/energy.md` says how each number is counted.
"""

from dataclasses import dataclass

_DEGNAN = "Degnan, Marr and Hasler 2016, IEEE Trans. VLSI 24(1):58-66, as KerasSpiking 0.3.0 uses it"
_DAVIES = "Davies et al. 2018, doi:10.1109/MM.2018.112130359: 23.6 + 3.5 pJ an operation, 81 pJ an update"
_HOEPPNER = "Höppner et al. 2019, arXiv:1903.08941, as KerasSpiking 0.3.0 uses it"
_HOROWITZ = "Horowitz 2014, doi:10.1109/ISSCC.2014.6757323, 45 nm, 32-bit floating point: 3.7 pJ a product, 0.9 pJ a sum"


@dataclass(frozen=True)
class Work:
    """What is computed for one image.

    Attributes:
        accumulates: weights that are added up.
        multiply_accumulates: weights that are multiplied and added up.
        updates: of membranes.
        update_accumulates: sums that these updates compute, by the type of the neurons.
        update_multiply_accumulates: products that they compute.
    """

    accumulates: float
    multiply_accumulates: float
    updates: float
    update_accumulates: float = 0.0
    update_multiply_accumulates: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Device:
    """What operations cost on a device.

    Attributes:
        name: in the name of the metric, `energy_joules/<name>`.
        runs_spikes: whether it computes where spikes are, step by step; else it runs the plain network once, on rates.
        accumulate: joules.
        multiply_accumulate: joules.
        update: joules of a membrane's update, whatever the neuron; None for those of the sums and products that the type of
            the neurons needs.
        source: of these figures.

    Example:
        >>> find("loihi").joules(Work(accumulates=1e6, multiply_accumulates=0, updates=1e5))
        3.52e-05
    """

    name: str
    runs_spikes: bool
    accumulate: float
    multiply_accumulate: float
    update: float | None
    source: str

    def joules(self, work: Work) -> float:
        """What an image costs."""
        synapses = work.accumulates * self.accumulate + work.multiply_accumulates * self.multiply_accumulate
        if self.update is not None:
            return synapses + work.updates * self.update
        sums = work.update_accumulates * self.accumulate
        return synapses + sums + work.update_multiply_accumulates * self.multiply_accumulate


def _one_price(name: str, *, runs_spikes: bool, operation: float, update: float, source: str) -> Device:
    """A device whose source names one price for all synaptic operations."""
    return Device(
        name=name,
        runs_spikes=runs_spikes,
        accumulate=operation,
        multiply_accumulate=operation,
        update=update,
        source=source,
    )


def _in_45_nm(name: str, *, runs_spikes: bool, update: float | None) -> Device:
    return Device(
        name=name,
        runs_spikes=runs_spikes,
        accumulate=0.9e-12,
        multiply_accumulate=4.6e-12,
        update=update,
        source=_HOROWITZ,
    )


DEVICES = (
    _in_45_nm("45nm", runs_spikes=True, update=0.0),
    _in_45_nm("45nm_with_neurons", runs_spikes=True, update=None),
    _in_45_nm("45nm_plain", runs_spikes=False, update=0.0),
    _one_price("loihi", runs_spikes=True, operation=27.1e-12, update=81e-12, source=_DAVIES),
    _one_price("spinnaker", runs_spikes=True, operation=13.3e-9, update=26e-9, source=_HOEPPNER),
    _one_price("spinnaker2", runs_spikes=True, operation=450e-12, update=2.19e-9, source=_HOEPPNER),
    _one_price("cpu", runs_spikes=False, operation=8.6e-9, update=8.6e-9, source=_DEGNAN),
    _one_price("gpu", runs_spikes=False, operation=0.3e-9, update=0.3e-9, source=_DEGNAN),
    _one_price("arm", runs_spikes=False, operation=0.9e-9, update=0.9e-9, source=_DEGNAN),
)
"""All devices: cpu is an Intel i7-4960X, gpu an Nvidia Titan Black, arm a Cortex-A, 45nm arithmetic alone."""


def find(name: str) -> Device:
    """The device of a name; raises `KeyError` if there is none."""
    return {device.name: device for device in DEVICES}[name]


def metric_name(device: str) -> str:
    """The name of the metric that holds the energy on a device.

    Example:
        >>> metric_name("loihi")
        'energy_joules/loihi'
    """
    return f"energy_joules/{device}"
