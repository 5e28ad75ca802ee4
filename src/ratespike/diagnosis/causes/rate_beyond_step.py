"""A maximum rate beyond `1 / dt`: the neuron fires at most once a step, and what its rate promises is cut off.

A rate of `1 / tau_ref` or more cannot be set: the neuron refuses such a `max_rate`.
"""

from collections.abc import Iterator

from ratespike.diagnosis.causes.base import Cause, Evidence, Remedy, shorter_steps
from ratespike.diagnosis.decomposition import ceiling
from ratespike.neurons.base import TunedNeuron


class RateBeyondStep(Cause):
    """Steps that are short enough for the maximum rate mend it."""

    name = "max rate beyond 1/dt"
    order = 4

    def remedies(self, evidence: Evidence) -> Iterator[Remedy]:
        case = evidence.case
        tuned = [neuron for neuron in evidence.neurons if isinstance(neuron, TunedNeuron)]
        beyond = [neuron.max_rate for neuron in tuned if neuron.max_rate > 1.001 * ceiling(neuron, case.dt)]
        if not beyond:
            return
        rate = max(beyond)
        override, shorter = shorter_steps(case, case.dt / _power_of_two(rate * case.dt))
        finding = f"neurons with max_rate={rate:g} Hz fire at most once in a step of {1000 * case.dt:g} ms"
        yield Remedy(finding, override, shorter)


def _power_of_two(times: float) -> int:
    """The least power of two that is at least `times`."""
    found = 2
    while found < times:
        found *= 2
    return found
