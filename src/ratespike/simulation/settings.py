"""The settings of a simulation that every engine needs, gathered from the arguments of `ratespike.simulate`."""

from collections.abc import Mapping
from dataclasses import dataclass

from ratespike.neurons import State
from ratespike.simulation.early_exit import EarlyExit

Start = str | Mapping[str, State]  # a word of `start.STARTS`, or states by the name of the neuron layer


@dataclass(frozen=True)
class Settings:
    """What an engine needs besides the network and the images.

    Attributes:
        n_steps: how many steps.
        dt: length of a step, seconds.
        start: the neurons' states before the first step (see `start.initial_state`).
        record: names of the neuron layers whose spikes and voltages are kept.
        seed: of a random start and of random neurons.
        early_exit: when an image is done before the last step; None: never.
    """

    n_steps: int
    dt: float
    start: Start
    record: tuple[str, ...]
    seed: int
    early_exit: EarlyExit | None = None
