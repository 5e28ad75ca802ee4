"""What a conversion is: a trained network in, a network that runs on spikes out; perhaps a simulation of its own."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from ratespike.parameters import check_parameters
from ratespike.simulation import Simulation, simulate


@dataclass(frozen=True, kw_only=True)
class Conversion(ABC):
    """A method that is applied after training. A class below this one is an option of `conversion.type`.

    The trained network stays as it is, and gives the rates that spikes are compared with.

    Raises:
        ParameterError: a value out of range.
    """

    def __post_init__(self) -> None:
        check_parameters(self)

    @property
    def n_images(self) -> int:
        """How many training images `converted` looks at."""
        return 0

    @property
    def least_steps(self) -> int:
        """How many steps a simulation has at least."""
        return 1

    def check(self, network: nn.Module) -> None:  # noqa: B027  # not every method asks something
        """Raise `ParameterError` for a network that the method cannot convert, trained or not."""

    def check_simulation(self, n_steps: int, *, early_exit: bool, images_over_time: bool) -> None:  # noqa: B027
        """Raise `ParameterError` for a simulation that the method cannot do.

        Args:
            n_steps: how many steps.
            early_exit: whether images may end before the last step.
            images_over_time: whether the images change.
        """

    @abstractmethod
    def converted(
        self,
        network: nn.Module,
        images: Float[Tensor, "batch ..."],
        dt: float = 0.001,
        *,
        start: str = "uniform",
        seed: int = 0,
    ) -> nn.Module:
        """The network that runs on spikes, in eval mode; the same for the same arguments.

        Args:
            network: as it was trained; it is not changed.
            images: of the training, `n_images` of them or more.
            dt: length of a step, seconds.
            start: how simulations start.
            seed: of them.

        Raises:
            ParameterError: a network that the method cannot convert.
        """

    def simulate(
        self, network: nn.Module, images: Float[Tensor, "batch ..."], n_steps: int = 30, dt: float = 0.001, **settings: Any
    ) -> Simulation:
        """Run a converted network on spikes; the arguments are those of `ratespike.simulate`."""
        return simulate(network, images, n_steps, dt, **settings)
