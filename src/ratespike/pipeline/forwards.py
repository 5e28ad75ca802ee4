"""What a training computes of its images: firing rates, or spikes with the slope of rates."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ratespike.neurons import Neuron
from ratespike.parameters import ParameterError, check_parameters, parameter
from ratespike.simulation import STARTS
from ratespike.simulation.mean_spikes import mean_spikes
from ratespike.stateful import Stateful, replaced


@dataclass(frozen=True, kw_only=True)
class Forward(ABC):
    """A forward pass of a training. A class below this one is an option of `forward.type`.

    Attributes:
        spikes: of the class, whether a simulation is part of it, on whose time step the training then depends.

    Raises:
        ParameterError: a value out of range.
    """

    spikes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_parameters(self)

    @abstractmethod
    def __call__(
        self, network: nn.Module, images: Float[Tensor, "batch ..."], layers: Sequence[str], dt: float
    ) -> Float[Tensor, "batch classes"]:
        """The network's outputs.

        Args:
            network: in which the images go.
            images: of a batch.
            layers: the names of the calls of neurons, in their order.
            dt: length of a time step, seconds.
        """


@dataclass(frozen=True, kw_only=True)
class Rates(Forward):
    """The network's own forward: each neuron gives its firing rate."""

    def __call__(
        self, network: nn.Module, images: Float[Tensor, "batch ..."], layers: Sequence[str], dt: float
    ) -> Float[Tensor, "batch classes"]:
        return network(images)  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True)
class Spikes(Forward):
    """Each neuron gives the mean of the pulses that it really sends in a simulation; the slope is that of its rate.

    What a layer gets then deviates from rates as it does in tests: late first spikes, uneven intervals, counts of whole spikes.
    The simulation is that of `ratespike.simulate`; only the rates' pass takes memory for a backward pass.

    Source: Nengo's documentation of KerasSpiking, "spiking-aware training", for a single step; here over many.

    Attributes:
        n_steps: length of the simulation.
        least_steps: the shortest one, if the length is to be drawn for each batch; None: it is not.
        start: how the simulation starts (see `ratespike.simulate`).

    Example:
        >>> from ratespike.neurons import LIF
        >>> network = nn.Sequential(nn.Linear(2, 3), LIF(), nn.Linear(3, 2))
        >>> outputs = Spikes(n_steps=4)(network, torch.rand(5, 2), ["1"], dt=0.001)
        >>> outputs.shape, outputs.requires_grad
        (torch.Size([5, 2]), True)
    """

    spikes: ClassVar[bool] = True

    n_steps: int = parameter(8, at_least=1)
    least_steps: int | None = parameter(None, at_least=1)
    start: str = parameter("uniform", choices=STARTS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.least_steps is not None and self.least_steps > self.n_steps:
            raise ParameterError(f"least_steps={self.least_steps}: must be at most n_steps={self.n_steps}")

    def __call__(
        self, network: nn.Module, images: Float[Tensor, "batch ..."], layers: Sequence[str], dt: float
    ) -> Float[Tensor, "batch classes"]:
        if not len(images):
            return network(images)  # type: ignore[no-any-return]
        means = iter(self._mean_spikes(network, images, layers, dt))

        def call(module: Stateful, signal: Tensor) -> Tensor:
            rates = module.in_rate_mode(signal)
            if not isinstance(module, Neuron):
                return rates
            pulses = next(means).to(rates.dtype) * (module.scale / dt)
            return rates + (pulses - rates).detach()

        with replaced(call):
            return network(images)  # type: ignore[no-any-return]

    def _mean_spikes(self, network: nn.Module, images: Tensor, layers: Sequence[str], dt: float) -> list[Tensor]:
        """The spikes of each neuron in a step, on average, by layer."""
        least = self.n_steps if self.least_steps is None else self.least_steps
        n_steps = int(torch.randint(least, self.n_steps + 1, ()))
        seed = int(torch.randint(2**31, ()))
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            return mean_spikes(network, images.float(), n_steps, dt, layers, start=self.start, seed=seed)
