"""Saturated neurons: activations beyond `max_rate`, whose rate is more than a spike in each step."""

from collections.abc import Iterator

from ratespike.conversion.methods import AsTrained, Balanced
from ratespike.diagnosis.causes.base import Cause, Evidence, Remedy, shorter_steps

_LEAST = 0.01  # of the active neurons of a layer
_SHORTER = 8  # times


class SaturatedNeurons(Cause):
    """Balanced weights mend it at no cost; where they cannot be scaled, shorter steps do."""

    name = "saturated neurons"
    order = 8

    def remedies(self, evidence: Evidence) -> Iterator[Remedy]:
        case = evidence.case
        worst = max(evidence.activity, key=lambda layer: layer.saturated)
        if worst.saturated < _LEAST:
            return
        finding = f"in {worst.name} {100 * worst.saturated:.0f} % of the active neurons should fire more than once a step"
        if isinstance(case.conversion, AsTrained):
            balanced = case.converted_by(Balanced(percentile=99.9))
            if balanced is not None:
                yield Remedy(finding, "conversion=balanced conversion.percentile=99.9", balanced)
        override, shorter = shorter_steps(case, case.dt / _SHORTER)
        yield Remedy(finding, override, shorter)
