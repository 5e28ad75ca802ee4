"""What a training computes of its images: firing rates, rates with noise, or spikes; the slope is always that of rates."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ratespike.neurons import Neuron, filtered_spikes, stochastic_count
from ratespike.neurons.base import at_least_float32
from ratespike.neurons.straight_through import straight_through
from ratespike.parameters import ParameterError, check_parameters, parameter
from ratespike.simulation import STARTS
from ratespike.simulation.mean_spikes import mean_spikes
from ratespike.stateful import Replacement, Stateful, replaced

Watch = Callable[[Neuron, Tensor], None]


@dataclass(frozen=True, kw_only=True)
class Forward(ABC):
    """A forward pass of a training. A class below this one is an option of `forward.type`.

    Attributes:
        spikes: of the class, whether a simulation is part of it.
        depends_on_dt: of the class, whether the training depends on the length of a time step.

    Raises:
        ParameterError: a value out of range.
    """

    spikes: ClassVar[bool] = False
    depends_on_dt: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_parameters(self)

    def __call__(
        self,
        network: nn.Module,
        images: Float[Tensor, "batch ..."],
        layers: Sequence[str],
        dt: float,
        watch: Watch | None = None,
    ) -> Float[Tensor, "batch classes"]:
        """The network's outputs.

        Args:
            network: in which the images go.
            images: of a batch.
            layers: the names of the calls of neurons, in their order.
            dt: length of a time step, seconds.
            watch: is given each neuron and its activations, in the order of the calls.
        """
        activations = self.activations(network, images, layers, dt)

        def call(module: Stateful, signal: Tensor) -> Tensor:
            given = activations(module, signal)
            if watch is not None and isinstance(module, Neuron):
                watch(module, given)
            return given

        with replaced(call):
            return network(images)  # type: ignore[no-any-return]

    @abstractmethod
    def activations(
        self, network: nn.Module, images: Float[Tensor, "batch ..."], layers: Sequence[str], dt: float
    ) -> Replacement:
        """What each neuron and filter gives in a forward pass of these images; the arguments are those of a call."""


def _rates(module: Stateful, signal: Tensor) -> Tensor:
    return module.in_rate_mode(signal)


@dataclass(frozen=True, kw_only=True)
class Rates(Forward):
    """The network's own forward: each neuron gives its firing rate."""

    def activations(
        self, network: nn.Module, images: Float[Tensor, "batch ..."], layers: Sequence[str], dt: float
    ) -> Replacement:
        return _rates


@dataclass(frozen=True, kw_only=True)
class NoisyRates(Forward, ABC):
    """Each neuron gives its rate with noise, such as spikes have; the slope is that of the rate.

    Only trainings have the noise: validation and tests call the network itself.
    """

    @abstractmethod
    def drawn(self, rate: Float[Tensor, "..."], dt: float) -> Float[Tensor, "..."]:
        """Random values whose mean is the rate.

        Args:
            rate: in Hz, in float32 at least; negative where a neuron fires negative spikes.
            dt: length of a time step, seconds.
        """

    def activations(
        self, network: nn.Module, images: Float[Tensor, "batch ..."], layers: Sequence[str], dt: float
    ) -> Replacement:
        def noisy_rates(module: Stateful, signal: Tensor) -> Tensor:
            activation = module.in_rate_mode(signal)
            if not isinstance(module, Neuron):
                return activation
            noisy = self.drawn(at_least_float32(activation.detach()) / module.scale, dt) * module.scale
            return straight_through(noisy.to(activation.dtype), activation)

        return noisy_rates


@dataclass(frozen=True, kw_only=True)
class SpikeNoise(NoisyRates):
    """Each neuron gives what its regular spikes leave behind two low-pass filters, at a random moment between two spikes.

    It is the noise of a simulation that has run for long, and says nothing about first spikes.

    Source: see `ratespike.neurons.filtered_spikes`.

    Attributes:
        tau_rc: time constant of the membrane that the spikes arrive at, seconds.
        tau_s: of a filter in front of it, seconds.

    Raises:
        ParameterError: in addition, two time constants that are the same.

    Example:
        >>> from ratespike.neurons import LIF
        >>> network = nn.Sequential(nn.Linear(2, 3), LIF(), nn.Linear(3, 2))
        >>> outputs = SpikeNoise()(network, torch.rand(5, 2), ["1"], dt=0.001)
        >>> outputs.shape, outputs.requires_grad
        (torch.Size([5, 2]), True)
    """

    tau_rc: float = parameter(0.02, above=0, unit="s")
    tau_s: float = parameter(0.005, above=0, unit="s")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tau_s == self.tau_rc:
            raise ParameterError(f"tau_s={self.tau_s:g}: must be another number than tau_rc; try {0.99 * self.tau_rc:g}")

    def drawn(self, rate: Float[Tensor, "..."], dt: float) -> Float[Tensor, "..."]:
        return filtered_spikes(rate, torch.rand_like(rate), self.tau_rc, self.tau_s)


@dataclass(frozen=True, kw_only=True)
class ResidualNoise(NoisyRates):
    """Each neuron gives the mean of the whole spikes that a window of steps may hold: one of the two numbers next to its rate.

    A neuron that fires regularly, at a phase of which nothing is known, has exactly this distribution of counts
    (`ratespike.neurons.stochastic_count`).

    Source: Huang et al. 2024, "Converting high-performance and low-latency SNNs through explicit modelling of residual error
    in ANNs", arXiv:2404.17456, for residual errors as noise in training; there the noise has one variance for all activations.

    Attributes:
        n_steps: length of the window.

    Example:
        >>> from ratespike.neurons import SpikingRectifiedLinear
        >>> ResidualNoise(n_steps=4)(SpikingRectifiedLinear(max_rate=250), torch.tensor([0.0, 1.0]), ["0"], dt=0.001)
        tensor([0., 1.])
    """

    depends_on_dt: ClassVar[bool] = True

    n_steps: int = parameter(10, at_least=1, at_most=10000)

    def drawn(self, rate: Float[Tensor, "..."], dt: float) -> Float[Tensor, "..."]:
        window = self.n_steps * dt
        return stochastic_count(rate.abs() * window, torch.rand_like(rate)) * rate.sign() / window


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
    depends_on_dt: ClassVar[bool] = True

    n_steps: int = parameter(8, at_least=1, at_most=10000)
    least_steps: int | None = parameter(None, at_least=1)
    start: str = parameter("uniform", choices=STARTS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.least_steps is not None and self.least_steps > self.n_steps:
            raise ParameterError(f"least_steps={self.least_steps}: must be at most n_steps={self.n_steps}")

    def activations(
        self, network: nn.Module, images: Float[Tensor, "batch ..."], layers: Sequence[str], dt: float
    ) -> Replacement:
        if not len(images):
            return _rates
        means = iter(self._mean_spikes(network, images, layers, dt))

        def mean_pulses(module: Stateful, signal: Tensor) -> Tensor:
            rates = module.in_rate_mode(signal)
            if not isinstance(module, Neuron):
                return rates
            pulses = next(means).to(rates.dtype) * (module.scale / dt)
            return straight_through(pulses, rates)

        return mean_pulses

    def _mean_spikes(self, network: nn.Module, images: Tensor, layers: Sequence[str], dt: float) -> list[Tensor]:
        """The spikes of each neuron in a step, on average, by layer."""
        least = self.n_steps if self.least_steps is None else self.least_steps
        n_steps = int(torch.randint(least, self.n_steps + 1, ()))
        seed = int(torch.randint(2**31, ()))
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            return mean_spikes(network, images.float(), n_steps, dt, layers, start=self.start, seed=seed)
