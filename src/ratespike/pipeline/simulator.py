"""The spiking mode as a configuration sets it."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ratespike.config.schemas import SimulationConfig
from ratespike.conversion.methods import AsTrained, Conversion
from ratespike.data import Splits
from ratespike.simulation import Simulation
from ratespike.synapses import Synapse


@dataclass(frozen=True)
class Simulator:
    """The spiking mode with the settings of a configuration.

    Attributes:
        settings: start, read-out, early exit, engine, seed.
        dt: length of a step, seconds.
        synapse: the filter behind the network's output.
        event_height: the value of an event in images that change; None for images that stand still.
        conversion: what is done to a trained network first.
    """

    settings: SimulationConfig
    dt: float
    synapse: Synapse
    event_height: float | None
    conversion: Conversion = AsTrained()  # noqa: RUF009  # without state

    def check(self, network: nn.Module, n_steps: int) -> None:
        """Raise `ParameterError` if the conversion cannot do a network, trained or not, or these simulations of it."""
        self.conversion.check(network)
        has_exit = self.settings.early_exit is not None or self.settings.exit_loss is not None
        self.conversion.check_simulation(n_steps, early_exit=has_exit, images_over_time=self.event_height is not None)

    def tried(self, network: nn.Module, splits: Splits) -> Simulation:
        """As few steps of one training image as can be, converted and simulated as the run will do it.

        The engine `auto` is tried by the reference, which simulates whatever the other one cannot, and takes no time to start.

        Args:
            network: stays as it is.
            splits: whose first image it is.

        Raises:
            ParameterError: a network that cannot be simulated with these settings.
        """
        settings = self.settings
        if settings.engine == "auto":
            settings = replace(settings, engine="torch")
        if settings.exit_loss is not None:
            settings = replace(settings, early_exit=1.0)  # any threshold, for one that will be fitted
        shown = splits.some_training_images(1)
        converted = self.conversion.converted(network, shown.as_inputs(), self.dt, start=settings.start, seed=settings.seed)
        number = torch.zeros(1, dtype=torch.int64)
        return replace(self, settings=settings)(converted, shown.as_simulated(), number, self.conversion.least_steps)

    def converted(self, network: nn.Module, splits: Splits) -> nn.Module:
        """The network that runs on spikes, of a trained one.

        Args:
            network: stays as it is.
            splits: the conversion looks at as many of the training images as it wants.
        """
        settings = self.settings
        inputs = splits.some_training_images(self.conversion.n_images).as_inputs()
        return self.conversion.converted(network, inputs, self.dt, start=settings.start, seed=settings.seed)

    def __call__(self, network: nn.Module, images: Tensor, image_index: Tensor, n_steps: int) -> Simulation:
        """Simulate images.

        Args:
            network: in which they go, converted.
            images: shape (batch, channels, height, width); of those that change, what they are in each step, shape
                (time, batch, channels, height, width).
            image_index: their numbers in their set, shape (batch,).
            n_steps: how many steps.
        """
        return self.conversion.simulate(
            network,
            images,
            n_steps,
            self.dt,
            synapse=self.synapse,
            start=self.settings.start,
            readout=self.settings.readout,
            burn_in=self.settings.burn_in,
            early_exit=self.settings.early_exit,
            exit_by=self.settings.exit_by,
            engine=self.settings.engine,
            seed=self.settings.seed,
            image_index=image_index,
            images_over_time=self.event_height is not None,
            event_height=self.event_height,
        )

    def without_conversion(self) -> "Simulator":
        """The same for networks as they are."""
        return replace(self, conversion=AsTrained())

    def with_exit(self, threshold: float | None) -> "Simulator":
        """The same with another threshold of the early exit; None for simulations of all steps."""
        return replace(self, settings=replace(self.settings, early_exit=threshold))
