"""Unbalanced layers after `convert`: the scale of some layers is far from what their activations are."""

from collections.abc import Iterator

from ratespike.conversion.convert import Converted
from ratespike.conversion.methods import AsTrained, Balanced
from ratespike.diagnosis.causes.base import Cause, Evidence, Remedy
from ratespike.neurons.base import TunedNeuron

_FACTOR = 2.0  # by which the rates of a layer may differ from what they should be


class UnbalancedLayers(Cause):
    """Scales from training images mend it."""

    name = "unbalanced layers after convert"
    order = 6

    def remedies(self, evidence: Evidence) -> Iterator[Remedy]:
        case = evidence.case
        if not isinstance(case.network, Converted) or not isinstance(case.conversion, AsTrained):
            return
        times = {}
        for layer, neuron in zip(evidence.activity, evidence.neurons, strict=True):
            if isinstance(neuron, TunedNeuron) and layer.highest_rate:
                times[layer.name] = layer.highest_rate / neuron.max_rate
        if not times:
            return
        furthest = max(times, key=lambda name: max(times[name], 1 / times[name]))
        if 1 / _FACTOR < times[furthest] < _FACTOR:
            return
        balanced = case.converted_by(Balanced(percentile=99.9))
        if balanced is not None:
            finding = f"the most active neurons of {furthest} should fire at {times[furthest]:.2g} times their max_rate"
            yield Remedy(finding, "conversion=balanced conversion.percentile=99.9", balanced)
