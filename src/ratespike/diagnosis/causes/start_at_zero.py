"""The start at zero: every neuron begins as if it had just been reset, so that all first spikes come late."""

from collections.abc import Iterator
from dataclasses import replace

from ratespike.diagnosis.causes.base import Cause, Evidence, Remedy


class StartAtZero(Cause):
    """A start somewhere in the firing cycle, or in the middle of it, mends it."""

    name = "start at zero"
    order = 5

    def remedies(self, evidence: Evidence) -> Iterator[Remedy]:
        case = evidence.case
        if case.start != "zero":
            return
        finding = "all membranes start at 0, so that the first spikes come late"
        for start in ("steady_phase", "half_phase"):
            yield Remedy(finding, f"simulation.start={start}", replace(case, start=start))
