"""What a simulation of a case shows layer by layer, in one pass over its images."""

from dataclasses import dataclass

from torch import Tensor

from ratespike.diagnosis.activity import Activity, LayerActivity
from ratespike.diagnosis.case import Case
from ratespike.diagnosis.decomposition import Decomposition, LayerError
from ratespike.diagnosis.layers import Layer, slices


@dataclass(frozen=True)
class Measured:
    """What a simulation shows.

    Attributes:
        errors: of each layer of neurons, in the order of their calls, and of the output.
        activity: of each layer of neurons.
    """

    errors: list[LayerError]
    activity: list[LayerActivity]


def measure(case: Case) -> Measured:
    """Simulate the images of a case once, and look at each layer on the way."""
    decomposition, activity = Decomposition(), Activity()
    for part in slices(case):

        def look(layer: Layer, currents: Tensor) -> Tensor:
            pulses = layer.pulses(currents)
            decomposition.add(layer, part.rates.activations[layer.number], currents, pulses)  # noqa: B023  # called at once
            activity.add(layer, pulses)
            return pulses

        decomposition.add_outputs(part, part.run(look))
    return Measured(decomposition.errors(), activity.layers())
