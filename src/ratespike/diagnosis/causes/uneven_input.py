"""Uneven input behind pooling: spikes come in lumps, and neurons answer to a lump what the mean current would not have made."""

from collections.abc import Iterator

from ratespike.conversion.methods import AsTrained, Calibrated, SignedSpikes
from ratespike.diagnosis.case import Case
from ratespike.diagnosis.causes.base import Cause, Evidence, Remedy
from ratespike.diagnosis.decomposition import UNEVEN
from ratespike.simulation.network_analysis import analyse
from ratespike.simulation.tracing import Operation, Trace, Value

_LEAST = 0.2  # of the error of a layer


class UnevenInput(Cause):
    """Spikes that can be taken back mend it, and biases that take in what spikes miss."""

    name = "uneven input behind pooling"
    order = 7

    def remedies(self, evidence: Evidence) -> Iterator[Remedy]:
        case = evidence.case
        behind = _behind_pooling(case)
        shares = {error.name: error.parts.get(UNEVEN, 0.0) for error in evidence.errors if error.name in behind}
        if not shares or max(shares.values()) < _LEAST:
            return
        name = max(shares, key=shares.__getitem__)
        finding = f"{name} gets pooled spikes unevenly, which makes {100 * shares[name]:.0f} % of its error"
        if not isinstance(case.conversion, AsTrained):
            return
        for override, conversion in (
            ("conversion=signed_spikes", SignedSpikes()),
            (f"conversion=calibrated conversion.n_steps={case.n_steps}", Calibrated(n_steps=case.n_steps)),
        ):
            converted = case.converted_by(conversion)
            if converted is not None:
                yield Remedy(finding, override, converted)


def _behind_pooling(case: Case) -> set[str]:
    """The names of the layers of neurons that get pooled spikes."""
    trace = analyse(case.network, case.images).trace
    return {call.name for call in trace.neurons if _pools_spikes(trace, call.signal)}


def _pools_spikes(trace: Trace, signal: Value) -> bool:
    """Whether spikes are pooled between the last neurons and a signal."""
    made_by: dict[Value | None, Operation] = {}
    for operation in trace.operations:
        made_by.update(dict.fromkeys(operation.results, operation))
    waiting = [signal]
    while waiting:
        value = waiting.pop()
        if value not in made_by:  # the images, or what leaves a neuron
            continue
        operation = made_by[value]
        if operation.has_spikes and ("pool" in operation.name or operation.name == "mean"):
            return True
        waiting += operation.inputs
    return False
