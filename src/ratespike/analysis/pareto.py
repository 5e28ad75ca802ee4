"""What an accuracy costs: time steps, synaptic operations, energy. Groups are compared by all of it together, and in pairs."""

from collections.abc import Sequence
from dataclasses import dataclass

from ratespike.metrics import Metric, names
from ratespike.metrics.added.energy import ENERGY
from ratespike.metrics.devices import DEVICES, metric_name
from ratespike.parameters import ParameterError, nearest

DEVICE = "loihi"  # whose energy is compared by default


@dataclass(frozen=True)
class Cost:
    """One thing that an accuracy costs.

    Attributes:
        metric: of which less is better.
        figure: in the name of its figure, `accuracy_against_<figure>`.
        words: what a group has that costs no more than another one.
        axis: what stands on the axis of its figure, without the unit.
    """

    metric: Metric
    figure: str
    words: str
    axis: str

    @property
    def measure(self) -> str:
        """The name of the measure."""
        return self.metric.name


def costs(device: str) -> tuple[Cost, ...]:
    """All costs, with the energy on a device.

    Raises:
        ParameterError: no device has this name.

    Example:
        >>> [cost.measure for cost in costs("loihi")]
        ['mean_steps', 'synaptic_operations', 'energy_joules/loihi']
    """
    known = [other.name for other in DEVICES if other.runs_spikes]
    if device not in known:
        raise ParameterError(f"device={device}: is none that runs spikes; {nearest(device, known)}")
    (energy,) = (metric for metric in ENERGY if metric.name == metric_name(device))
    return (
        Cost(names.MEAN_STEPS, "mean_steps", "as few time steps", "time steps an image, mean"),
        Cost(names.SYNAPTIC_OPERATIONS, "operations", "as few synaptic operations", "synaptic operations an image"),
        Cost(energy, "energy", f"as little energy on {device}", f"energy an image on {device}"),
    )


def in_words(compared: Sequence[Cost]) -> str:
    """What a group has of which no other one is as accurate.

    Example:
        >>> in_words(costs("loihi")[:2])
        'as few time steps and as few synaptic operations'
    """
    *first, last = [cost.words for cost in compared]
    return f"{', '.join(first)} and {last}" if first else last
