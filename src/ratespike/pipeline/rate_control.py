"""Terms of a training's loss that hold firing rates: a budget of synaptic operations, or a band of rates.

A term is a function of the rates of each neuron layer in a forward pass, whose slope it shares. On rates these are what the
neurons' formulas say; on spikes (`forward=spikes`) what the neurons really sent.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ratespike.neurons import Neuron
from ratespike.parameters import ParameterError, check_parameters, parameter
from ratespike.simulation.network_analysis import analyse

MILLION = 1e6


class Activity(NamedTuple):
    """What a neuron layer gave in a forward pass.

    Attributes:
        activations: `scale` times the firing rates, negative where a neuron fires negative spikes; of shape (batch, ...).
        scale: activation per Hz.
        weights_met: how many weights a spike of each neuron meets; of the layer's shape without batch, in float32.
    """

    activations: Float[Tensor, "batch ..."]
    scale: float
    weights_met: Float[Tensor, "..."]


class Held(NamedTuple):
    """What a rate control makes of a batch.

    Attributes:
        penalty: a part of the loss of the batch, a mean over its images.
        quantity: what is held, without slope, a mean over its images.
    """

    penalty: Float[Tensor, ""]
    quantity: Float[Tensor, ""]


def _alone(mean: Tensor) -> Tensor:
    """The mean over the processes, where there is one."""
    return mean


@dataclass(frozen=True, kw_only=True)
class RateControl(ABC):
    """What holds the rates in a training. A class below this one is an option of `rate_control.type`.

    Attributes:
        in_steps: of the class, whether it counts spikes in time steps, on whose length the training then depends.

    Raises:
        ParameterError: a value out of range.
    """

    in_steps: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_parameters(self)

    @abstractmethod
    def of(self, network: nn.Module, image: Float[Tensor, "1 ..."], dt: float) -> "HeldRates | None":
        """This control of a network; None if there is nothing to hold.

        Args:
            network: which is trained.
            image: of the shape of those that it is trained on.
            dt: length of a time step, seconds.
        """


@dataclass(frozen=True, kw_only=True)
class NoControl(RateControl):
    """The rates are what the loss of the outputs makes them."""

    def of(self, network: nn.Module, image: Float[Tensor, "1 ..."], dt: float) -> "HeldRates | None":
        return None


@dataclass(frozen=True, kw_only=True)
class RateTerm(RateControl, ABC):
    """A term of the loss.

    Attributes:
        quantity: of the class, the name of what it holds, below `train/` and `val/`.
    """

    quantity: ClassVar[str]

    def of(self, network: nn.Module, image: Float[Tensor, "1 ..."], dt: float) -> "HeldRates | None":
        weights_met = analyse(network, image).fan_out.weights_met
        return HeldRates(self, list(weights_met.values()), dt)

    @abstractmethod
    def __call__(
        self,
        layers: Sequence[Activity],
        dt: float,
        n_images: float | None = None,
        over_processes: Callable[[Tensor], Tensor] = _alone,
    ) -> Held:
        """The term for a batch, or for one process's part of it; the mean over the processes is that of the whole batch.

        Args:
            layers: on one device.
            dt: length of a time step, seconds.
            n_images: how many images a process has, on average; None: as many as there are.
            over_processes: gives the mean of a number over the processes; it may overwrite the number.
        """


@dataclass(frozen=True, kw_only=True)
class OperationsBudget(RateTerm):
    """The synaptic operations of all spikes, above a target.

    An image's operations are the sum of `rate * weights that a spike meets * n_steps * dt` over all neurons, and the penalty is
    `weight * max(0, mean over the batch - target)`. What the image itself costs in the first layer is constant and no part of
    it; `test/synaptic_operations` counts that too. A neuron at its highest rate has no slope, and the penalty does not move it.

    Source: Sorbaro et al. 2020, "Optimizing the energy consumption of spiking neural networks for neuromorphic applications",
    doi:10.3389/fnins.2020.00662, penalise such a count with a target. The count is that of `ratespike.simulation.fan_out`.

    Attributes:
        weight: of a million operations an image, beside a loss that is a mean over images.
        target: what costs nothing, million operations an image.
        n_steps: of the simulation whose operations are counted.

    Example:
        >>> rates, weights_met = torch.tensor([[100.0, 0.0], [300.0, 50.0]]), torch.tensor([2e6, 4e6])
        >>> layer = Activity(rates, scale=1, weights_met=weights_met)
        >>> OperationsBudget(weight=0.1, target=1, n_steps=10)([layer], dt=0.001)  # 4 and 1 million of the two neurons
        Held(penalty=tensor(0.4000), quantity=tensor(5000000.))
    """

    in_steps: ClassVar[bool] = True
    quantity: ClassVar[str] = "spike_operations"

    weight: float = parameter(0.1, above=0)
    target: float = parameter(0.0, at_least=0)
    n_steps: int = parameter(30, at_least=1)

    def __call__(
        self,
        layers: Sequence[Activity],
        dt: float,
        n_images: float | None = None,
        over_processes: Callable[[Tensor], Tensor] = _alone,
    ) -> Held:
        of_all_images = torch.stack([_operations_a_second(layer) for layer in layers]).sum()
        own = of_all_images * (self.n_steps * dt / (n_images or len(layers[0].activations)))
        above = own / MILLION - self.target
        whole_is_above = over_processes(own.detach().clone()) / MILLION > self.target
        return Held(self.weight * above * whole_is_above, own.detach())


def _operations_a_second(layer: Activity) -> Tensor:
    """Of all images of a batch together."""
    sizes = layer.activations
    if sizes.numel() and sizes.detach().amin() < 0:
        sizes = torch.where(sizes < 0, -sizes, sizes)  # unlike `abs`, with a slope at 0
    return (sizes.sum(0, dtype=torch.float32) * layer.weights_met).sum() / layer.scale


@dataclass(frozen=True, kw_only=True)
class RateBand(RateTerm):
    """A high percentile of the rates of each channel, which is to lie between two rates.

    A channel is what has one set of weights: an index of a layer's first axis behind the batch. Its percentile is taken over
    the images and places of a batch, by each process over its own images. The penalty is `weight` times the mean over all
    channels of the squared distance to the band. A rectified channel that is silent has no slope, and the penalty does not move
    it.

    Source: the regularizers of KerasSpiking's documentation, which hold a percentile of activities in a range.

    Attributes:
        weight: of a square Hz, beside a loss that is a mean over images.
        low: lower end of the band.
        high: its upper end, above `low`.
        percentile: of the rates, per cent.

    Example:
        >>> rates = torch.tensor([[90.0, 10.0], [300.0, 150.0]])
        >>> layer = Activity(rates, scale=1, weights_met=torch.ones(2))
        >>> RateBand(weight=1e-4, low=100, high=200, percentile=100)([layer], dt=0.001)  # 300 Hz and 150 Hz
        Held(penalty=tensor(0.5000), quantity=tensor(0.5000))
    """

    quantity: ClassVar[str] = "channels_in_rate_band"

    weight: float = parameter(1e-4, above=0)
    low: float = parameter(0.0, at_least=0, unit="Hz")
    high: float = parameter(200.0, above=0, unit="Hz")
    percentile: float = parameter(99.0, above=0, at_most=100)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low >= self.high:
            raise ParameterError(f"low={self.low:g}: must be below high={self.high:g} (Hz)")

    def __call__(
        self,
        layers: Sequence[Activity],
        dt: float,
        n_images: float | None = None,
        over_processes: Callable[[Tensor], Tensor] = _alone,
    ) -> Held:
        own_images = len(layers[0].activations)
        if not own_images:
            nothing = torch.zeros_like(layers[0].weights_met.sum())
            return Held(nothing, nothing)
        percentiles = torch.cat([self._percentiles(layer) for layer in layers])
        distance = torch.relu(self.low - percentiles) + torch.relu(percentiles - self.high)
        share = own_images / (n_images or own_images)
        in_band = (distance == 0).float().mean()
        return Held(self.weight * share * distance.square().mean(), share * in_band)

    def _percentiles(self, layer: Activity) -> Float[Tensor, " channels"]:
        """In Hz."""
        of_channels = layer.activations.transpose(0, 1).flatten(1)
        place = math.ceil(self.percentile / 100 * of_channels.shape[1])
        return of_channels.kthvalue(place, dim=1).values.float() / layer.scale


class HeldRates(nn.Module):
    """A rate control of one network: it watches a forward pass and makes a term of the loss of it.

    Args:
        term: what it makes of it.
        weights_met: by neuron layer, in the order of their calls, how many weights a spike of each neuron meets.
        dt: length of a time step, seconds.

    Example:
        >>> from ratespike.neurons import IntegrateAndFire
        >>> from ratespike.pipeline.forwards import Rates
        >>> network = nn.Sequential(nn.Linear(4, 8), IntegrateAndFire(), nn.Linear(8, 3))
        >>> held = OperationsBudget(weight=1).of(network, torch.zeros(1, 4), dt=0.001)
        >>> outputs = Rates()(network, torch.rand(5, 4), ["1"], dt=0.001, watch=held.watch)
        >>> penalty, operations = held.taken()
        >>> penalty.requires_grad, operations.requires_grad
        (True, False)
    """

    def __init__(self, term: RateTerm, weights_met: Sequence[Tensor], dt: float):
        super().__init__()
        self.term = term
        self.dt = dt
        for number, of_layer in enumerate(weights_met):
            self.register_buffer(f"weights_met_{number}", of_layer.float(), persistent=False)
        self._layers: list[Activity] = []

    def watch(self, neuron: Neuron, activations: Float[Tensor, "batch ..."]) -> None:
        """Remember what a layer gave; a forward pass calls this for each call of a neuron, in their order."""
        weights_met = self.get_buffer(f"weights_met_{len(self._layers)}")
        self._layers.append(Activity(activations, neuron.scale, weights_met))

    def taken(self, n_images: float | None = None, over_processes: Callable[[Tensor], Tensor] = _alone) -> Held:
        """The term for what was remembered, which is forgotten; the arguments are those of the term."""
        layers, self._layers = self._layers, []
        with torch.autocast(layers[0].activations.device.type, enabled=False):
            return self.term(layers, self.dt, n_images, over_processes)
