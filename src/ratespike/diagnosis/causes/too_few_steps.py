"""Too few steps: each neuron's number of spikes is too small to tell rates apart."""

from collections.abc import Iterator
from dataclasses import replace

from ratespike.diagnosis.causes.base import Cause, Evidence, Remedy

_LONGER = 4  # times as many steps


class TooFewSteps(Cause):
    """More steps mend it, at their cost; as they also mend much of what else is wrong, every other cause comes first."""

    name = "too few steps"
    order = 10

    def remedies(self, evidence: Evidence) -> Iterator[Remedy]:
        case = evidence.case
        n_steps = _LONGER * case.n_steps
        finding = f"{case.n_steps} steps of {1000 * case.dt:g} ms hold too few spikes"
        yield Remedy(finding, f"n_steps={n_steps}", replace(case, n_steps=n_steps))
