"""What a cause is: evidence that it is there, and a remedy that can be tried."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

from ratespike.diagnosis.activity import LayerActivity
from ratespike.diagnosis.case import Case
from ratespike.diagnosis.decomposition import LayerError
from ratespike.neurons import Neuron
from ratespike.simulation.network_analysis import analyse
from ratespike.simulation.tracing import Trace


@dataclass(frozen=True)
class Evidence:
    """What causes look at.

    Attributes:
        case: that is diagnosed.
        errors: of each layer of neurons and of the output.
        activity: of each layer of neurons.
    """

    case: Case
    errors: list[LayerError]
    activity: list[LayerActivity]

    @property
    def neurons(self) -> list[Neuron]:
        """The neurons that the network calls, one for each layer of `activity`."""
        return [call.module for call in self.trace.neurons if isinstance(call.module, Neuron)]

    @cached_property
    def trace(self) -> Trace:
        """What the network does with an image."""
        return analyse(self.case.network, self.case.images).trace


@dataclass(frozen=True)
class Remedy:
    """What would mend a cause.

    Attributes:
        finding: what was found, the first half of a sentence.
        override: to try, as a command line takes it.
        case: the case with the remedy, which is simulated.
        program: that takes the override: `evaluate` or `train`.
    """

    finding: str
    override: str
    case: Case
    program: str = "evaluate"


class Cause(ABC):
    """Why accuracy falls from rates to spikes. A class below this one, in a file of its own, is a cause.

    Attributes:
        name: of the cause.
        order: causes whose evidence says more come first: of two remedies that mend about the same, the first one is named.
    """

    name: ClassVar[str]
    order: ClassVar[int]

    @abstractmethod
    def remedies(self, evidence: Evidence) -> Iterator[Remedy]:
        """What would mend it, each of which is tried; nothing where the evidence is missing."""


def shorter_steps(case: Case, dt: float) -> tuple[str, Case]:
    """The override for steps of `dt` seconds that show each image as long as before, and the case with it."""
    n_steps = round(case.seconds / dt)
    return f"dt={dt:g} n_steps={n_steps}", replace(case, dt=dt, n_steps=n_steps)
