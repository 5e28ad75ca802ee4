"""Which remedy to try: every cause with evidence says one, each is tried on the same images, and one is named, or none."""

from dataclasses import dataclass

from jaxtyping import Bool
from torch import Tensor

from ratespike.diagnosis.case import Gain, gain
from ratespike.diagnosis.causes import Cause, Evidence, Remedy
from ratespike.parameters import kinds

_FEWEST_WRONG = 9  # images: with fewer, not even answers without a mistake would be a gain beyond chance
_AS_MUCH = 0.75  # of the largest gain, that a remedy whose evidence says more has to reach


@dataclass(frozen=True)
class Tried:
    """A remedy that was tried.

    Attributes:
        cause: its name.
        order: of the cause: the evidence of those with a lower one says more.
        finding: what was found, half a sentence.
        override: as a command line takes it.
        program: that takes it, `evaluate` or `train`.
        n_steps: that are simulated with the remedy: of one cause, the remedy with the fewest is named.
        accuracy: on spikes with the remedy, on the diagnosed images.
        gain: over the accuracy without.
    """

    cause: str
    order: int
    finding: str
    override: str
    program: str
    n_steps: int
    accuracy: float
    gain: Gain


def try_remedies(evidence: Evidence, right: Bool[Tensor, " images"]) -> list[Tried]:
    """Simulate the images with the remedy of each cause whose evidence is there; none if hardly any answer is wrong.

    Args:
        evidence: what was measured.
        right: whether the answer to each image is right on spikes as it is.
    """
    if int((~right).sum()) < _FEWEST_WRONG:
        return []
    tried: dict[str, Tried] = {}  # by override: what two causes call for is tried once, for the first one
    for cause in sorted((kind() for kind in kinds(Cause).values()), key=lambda cause: cause.order):
        for remedy in cause.remedies(evidence):
            if remedy.override not in tried:
                tried[remedy.override] = _tried(cause, remedy, right)
    return list(tried.values())


def advised(tried: list[Tried]) -> Tried | None:
    """The remedy to name: of those that gain about as much as the best one, that of the cause whose evidence says most.

    More steps mend nearly everything, so the largest gain alone would name nothing else.
    """
    real = [remedy for remedy in tried if remedy.gain.is_real]
    if not real:
        return None
    enough = _AS_MUCH * max(remedy.gain.accuracy for remedy in real)
    near_best = [remedy for remedy in real if remedy.gain.accuracy >= enough]
    return min(near_best, key=lambda remedy: (remedy.order, remedy.n_steps, -remedy.gain.accuracy))


def _tried(cause: Cause, remedy: Remedy, right: Tensor) -> Tried:
    after = remedy.case.right()
    return Tried(
        cause=cause.name,
        order=cause.order,
        finding=remedy.finding,
        override=remedy.override,
        program=remedy.program,
        n_steps=remedy.case.n_steps,
        accuracy=float(after.double().mean()),
        gain=gain(right, after),
    )
