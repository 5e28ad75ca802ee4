"""A read-out filter slower than the simulation: it looks at the first steps longer than at the last ones."""

from collections.abc import Iterator
from dataclasses import replace

from ratespike.diagnosis.causes.base import Cause, Evidence, Remedy
from ratespike.synapses import Alpha, LowPass


class SlowReadout(Cause):
    """An answer from the mean of the outputs, or a filter that settles in time, mends it."""

    name = "read-out filter slower than T dt"
    order = 2

    def remedies(self, evidence: Evidence) -> Iterator[Remedy]:
        case = evidence.case
        if case.readout != "last" or not isinstance(case.synapse, LowPass | Alpha) or case.synapse.tau <= case.seconds:
            return
        tau, seconds = 1000 * case.synapse.tau, 1000 * case.seconds  # ms
        finding = f"the read-out filter takes {tau:g} ms, and an image is shown for {seconds:g} ms"
        yield Remedy(finding, "simulation.readout=mean", replace(case, readout="mean"))
        faster = replace(case.synapse, tau=case.seconds / 4)
        yield Remedy(finding, f"synapse.tau={case.seconds / 4:g}", replace(case, synapse=faster))
