"""A refractory time below `dt`: the part of the step behind a spike is lost, and rates become stairs."""

from collections.abc import Iterator

from ratespike.diagnosis.causes.base import Cause, Evidence, Remedy, shorter_steps
from ratespike.neurons import LIF

_SHORTEST = 1 / 8  # of the steps: no shorter ones are tried


class RefractoryBelowStep(Cause):
    """Steps no longer than the refractory time mend it."""

    name = "refractory time below dt"
    order = 3

    def remedies(self, evidence: Evidence) -> Iterator[Remedy]:
        case = evidence.case
        below = [neuron.tau_ref for neuron in evidence.neurons if isinstance(neuron, LIF) and neuron.tau_ref < case.dt]
        if not below:
            return
        shortest = max(min(below), _SHORTEST * case.dt)
        override, shorter = shorter_steps(case, shortest)
        finding = f"a rest of {1000 * min(below):g} ms ends within a step of {1000 * case.dt:g} ms, whose remainder is lost"
        yield Remedy(finding, override, shorter)
