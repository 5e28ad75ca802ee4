"""The swap test: rates in every layer but one, and spikes in every layer but one."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ratespike.diagnosis.case import Case
from ratespike.diagnosis.layers import Layer, Slice, slices


@dataclass(frozen=True)
class Swapped:
    """What the accuracy is if one layer is of another mode than all others.

    Attributes:
        name: of the layer.
        only_on_spikes: accuracy with rates everywhere but here: the layer's neurons fire on the current that arrives on rates,
            and the mean of their spikes goes on.
        only_on_rates: accuracy with spikes everywhere but here: the layer passes on the rate at the mean over time of its
            current, in every step.
    """

    name: str
    only_on_spikes: float
    only_on_rates: float


def swap(case: Case) -> list[Swapped]:
    """Swap each layer of neurons once. The outputs' mean over all steps answers, so that no filter is in the way."""
    right: dict[str, list[int]] = {}
    for part in slices(case):
        for layer in part.layers:
            answers = (_with_one_on_spikes(part, layer), part.run(_all_but(layer)).mean(0))
            counts = right.setdefault(layer.call.name, [0, 0])
            for place, answer in enumerate(answers):
                counts[place] += int((answer.argmax(1) == part.labels).sum())
    images = len(case.images)
    return [Swapped(name, spikes / images, rates / images) for name, (spikes, rates) in right.items()]


def _all_but(chosen: Layer) -> Callable[[Layer, Tensor], Tensor]:
    """Spikes in all layers but the chosen one."""

    def change(layer: Layer, currents: Tensor) -> Tensor:
        if layer.number != chosen.number:
            return layer.pulses(currents)
        steady = layer.neuron.firing_rate(currents.mean(0)) * layer.neuron.scale
        return steady.expand_as(currents)

    return change


def _with_one_on_spikes(part: Slice, chosen: Layer) -> Float[Tensor, "batch classes"]:
    """Rates in all layers but the chosen one."""
    still = chosen.steady.expand(part.case.n_steps, *chosen.steady.shape)
    spiking = chosen.mean_activation(chosen.fired(still))
    return part.on_rates_with(chosen, spiking)
