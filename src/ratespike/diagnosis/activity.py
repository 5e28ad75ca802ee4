"""Neurons that say nothing: dead ones, silent ones, and those at the highest rate that steps allow."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from ratespike.diagnosis.decomposition import NEAR_CEILING, ceiling, rate_in_short_steps
from ratespike.diagnosis.layers import Layer

_PERCENTILE = 0.99  # of the rates above 0: what the most active neurons do
_SAMPLES = 2**20  # rates of a slice that the percentile is taken of


@dataclass(frozen=True)
class LayerActivity:
    """How much the neurons of one layer fire.

    Attributes:
        name: of the layer.
        dead: fraction of the neurons that have fired for none of the images.
        silent: of the pairs of neuron and image with a rate above 0, the fraction without a spike.
        saturated: of these pairs, the fraction whose rate is as high as steps of dt allow, or higher.
        highest_rate: 99th percentile of the rates above 0 on rates, Hz; the mean of that over the slices of images.
    """

    name: str
    dead: float
    silent: float
    saturated: float
    highest_rate: float


class Activity:
    """What the neurons of one network do; images come some at a time."""

    def __init__(self) -> None:
        self._layers: dict[str, _Counted] = {}

    def add(self, layer: Layer, pulses: Float[Tensor, "time batch ..."]) -> None:
        """Take in what left the neurons of a layer in each step, for some images."""
        rates = rate_in_short_steps(layer.neuron, layer.steady)  # Hz
        fired = (pulses != 0).any(0)  # (batch, ...)
        self._layers.setdefault(layer.call.name, _Counted()).add(rates, fired, ceiling(layer.neuron, layer.case.dt))

    def layers(self) -> list[LayerActivity]:
        """Of each layer, all images so far."""
        return [counted.activity(name) for name, counted in self._layers.items()]


class _Counted:
    """The counts of one layer."""

    def __init__(self) -> None:
        self.ever: Bool[Tensor, ...] | None = None
        self.active = 0
        self.silent = 0
        self.saturated = 0
        self.highest: list[float] = []

    def add(self, rates: Tensor, fired: Tensor, highest_possible: float) -> None:
        of_any = fired.any(0)
        self.ever = of_any if self.ever is None else self.ever | of_any
        active = rates.abs() > 0
        self.active += int(active.sum())
        self.silent += int((active & ~fired).sum())
        self.saturated += int((rates >= NEAR_CEILING * highest_possible).sum())
        above = rates[active].abs()
        if len(above):
            every = -(-len(above) // _SAMPLES)
            self.highest.append(float(above[::every].double().quantile(_PERCENTILE)))

    def activity(self, name: str) -> LayerActivity:
        assert self.ever is not None
        active = max(1, self.active)
        highest = sum(self.highest) / len(self.highest) if self.highest else 0.0
        dead = 1 - float(self.ever.double().mean())
        return LayerActivity(name, dead, self.silent / active, self.saturated / active, highest)
