"""Silent neurons: rates so low that many neurons fire no spike within `n_steps * dt`."""

from collections.abc import Iterator
from dataclasses import replace

from ratespike.diagnosis.causes.base import Cause, Evidence, Remedy
from ratespike.neurons import LIF
from ratespike.neurons.base import TunedNeuron

_HIGHEST = 0.1  # spikes a step of the most active neurons: above, steps are used
_MOST = 8  # times as long a step at most


class SilentNeurons(Cause):
    """Longer steps mend it at no cost: each image is shown for longer in as many steps, and every neuron fires more often."""

    name = "silent neurons"
    order = 9

    def remedies(self, evidence: Evidence) -> Iterator[Remedy]:
        case = evidence.case
        least = min(evidence.activity, key=lambda layer: layer.highest_rate)
        longest = case.dt * _MOST
        for neuron in evidence.neurons:
            if isinstance(neuron, LIF):
                longest = min(longest, neuron.tau_ref)
            if isinstance(neuron, TunedNeuron):
                longest = min(longest, 1 / neuron.max_rate)
        if least.highest_rate * case.dt > _HIGHEST or longest < 1.5 * case.dt:
            return
        spikes = least.highest_rate * case.seconds
        finding = (
            f"in {least.name} the most active neurons fire {least.highest_rate:.0f} Hz, {spikes:.1f} spikes in "
            f"{1000 * case.seconds:g} ms, and {100 * least.silent:.0f} % of the neurons that should fire are silent"
        )
        yield Remedy(finding, f"dt={longest:g}", replace(case, dt=longest))
