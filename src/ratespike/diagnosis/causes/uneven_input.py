"""Uneven input: spikes come in lumps, and neurons answer to a lump what the mean current would not have made.

Pooling gathers spikes into lumps. A lower limit of the membrane makes them harmful behind any layer: what a neuron gets below
the limit is forgotten, and what it gets above is not, so that its mean is too high.
"""

import copy
from collections.abc import Iterator
from dataclasses import replace

from ratespike.conversion.methods import AsTrained, Calibrated, SignedSpikes
from ratespike.diagnosis.causes.base import Cause, Evidence, Remedy
from ratespike.diagnosis.decomposition import UNEVEN
from ratespike.neurons import LIF, IntegrateAndFire
from ratespike.simulation.tracing import Operation, Trace, Value

_LEAST = 0.2  # of the error of a layer
_MOST_STEPS = 1000  # that a calibration looks at


class UnevenInput(Cause):
    """Membranes without a lower limit mend it, spikes that can be taken back, and biases that take in what spikes miss."""

    name = "uneven input"
    order = 7

    def remedies(self, evidence: Evidence) -> Iterator[Remedy]:
        if not isinstance(evidence.case.conversion, AsTrained):
            return
        shares = {error.name: error.parts.get(UNEVEN, 0.0) for error in evidence.errors}
        uneven = {name: share for name, share in shares.items() if share >= _LEAST}
        yield from _without_limit(evidence, uneven)
        yield from _behind_pooling(evidence, uneven)


def _without_limit(evidence: Evidence, uneven: dict[str, float]) -> Iterator[Remedy]:
    """Membranes without a lower limit, where one that gets its input unevenly has one."""
    names = [call.name for call in evidence.trace.neurons if call.name in uneven and _limit(call.module) is not None]
    if not names:
        return
    name = max(names, key=uneven.__getitem__)
    network = copy.deepcopy(evidence.case.network)
    for module in network.modules():
        if isinstance(module, LIF | IntegrateAndFire):
            module.min_voltage = None
    finding = (
        f"{name} gets spikes unevenly, which makes {100 * uneven[name]:.0f} % of its error, and what would bring its membranes "
        "below min_voltage is lost"
    )
    yield Remedy(finding, "neuron.min_voltage=null", replace(evidence.case, network=network))


def _behind_pooling(evidence: Evidence, uneven: dict[str, float]) -> Iterator[Remedy]:
    """Methods after training, where neurons get pooled spikes unevenly."""
    case, trace = evidence.case, evidence.trace
    names = [call.name for call in trace.neurons if call.name in uneven and _pools_spikes(trace, call.signal)]
    if not names:
        return
    name = max(names, key=uneven.__getitem__)
    finding = f"{name} gets pooled spikes unevenly, which makes {100 * uneven[name]:.0f} % of its error"
    n_steps = min(case.n_steps, _MOST_STEPS)
    for override, conversion in (
        ("conversion=signed_spikes", SignedSpikes()),
        (f"conversion=calibrated conversion.n_steps={n_steps}", Calibrated(n_steps=n_steps)),
    ):
        converted = case.converted_by(conversion)
        if converted is not None:
            yield Remedy(finding, override, converted)


def _limit(neuron: object) -> float | None:
    """The voltage below which a neuron's membrane cannot fall; None if there is none."""
    return neuron.min_voltage if isinstance(neuron, LIF | IntegrateAndFire) else None


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
