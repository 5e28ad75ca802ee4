"""What is diagnosed: a network on spikes, the images and the settings; and how a change of one thing shows in its answers."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ratespike.conversion.methods import AsTrained, Conversion
from ratespike.metrics import mcnemar
from ratespike.parameters import ParameterError
from ratespike.simulation import Simulation
from ratespike.synapses import LowPass, Synapse

_AT_ONCE = 500  # images in a simulation; the engines cut them further
_CHANCE = 0.005  # a gain that chance makes more often is none: 0.05 for ten causes together


@dataclass(frozen=True, eq=False, kw_only=True)
class Case:
    """A network on spikes with all that its answers depend on. `dataclasses.replace` makes one that differs in one thing.

    Attributes:
        network: that runs on spikes; of a conversion, what it has made.
        trained: the network before its conversion, whose answers on rates count; None: `network`.
        images: what the network takes, shape (images, ...).
        labels: their classes, shape (images,).
        numbers: of the images in their set, on which random starts depend, shape (images,); None: 0, 1, 2, …
        training: some training images as the network took them, for the scale of pixels and statistics; None: unknown.
        name: of its run, for overrides that name it.
        pixels: the mean and the standard deviation that a configuration has scaled the pixels with.
        n_steps: how many steps.
        dt: length of a step, seconds.
        synapse: the filter behind the output.
        start: how the neurons start, a word of `ratespike.simulate`.
        readout: how outputs over time become an answer.
        burn_in: what `mean_after_burn_in` leaves out, seconds.
        seed: of a random start and of random neurons.
        engine: which engine simulates.
        conversion: the method that the network was converted by, which may simulate in a way of its own.
    """

    network: nn.Module
    images: Float[Tensor, "images ..."]
    labels: Int[Tensor, " images"]
    trained: nn.Module | None = None
    numbers: Int[Tensor, " images"] | None = None
    training: Float[Tensor, "training ..."] | None = None
    name: str = "<run>"
    pixels: tuple[float, float] = (0.0, 1.0)
    n_steps: int = 30
    dt: float = 0.001
    synapse: Synapse = field(default_factory=lambda: LowPass(tau=0.1))
    start: str = "uniform"
    readout: str = "last"
    burn_in: float = 0.01
    seed: int = 0
    engine: str = "auto"
    conversion: Conversion = field(default_factory=AsTrained)

    @property
    def seconds(self) -> float:
        """For how long each image is shown."""
        return self.n_steps * self.dt

    @property
    def index(self) -> Int[Tensor, " images"]:
        """The numbers of the images in their set."""
        return torch.arange(len(self.images), device=self.images.device) if self.numbers is None else self.numbers

    def first(self, images: int) -> "Case":
        """The same with the first images alone."""
        return replace(self, images=self.images[:images], labels=self.labels[:images], numbers=self.index[:images])

    def simulated(self, images: Tensor, index: Tensor) -> Simulation:
        """The simulation of some images.

        Args:
            images: shape (batch, ...).
            index: their numbers, shape (batch,).
        """
        settings: dict[str, Any] = {
            "synapse": self.synapse,
            "start": self.start,
            "readout": self.readout,
            "burn_in": self.burn_in,
            "engine": self.engine,
            "seed": self.seed,
            "image_index": index,
        }
        return self.conversion.simulate(self.network, images, self.n_steps, self.dt, **settings)

    def answers(self) -> Float[Tensor, "images classes"]:
        """What the network answers to all images after the last step."""
        return self._of_all(self.network, lambda images, index: self.simulated(images, index).outputs[-1])

    @torch.no_grad()
    def rates(self) -> Float[Tensor, "images classes"]:
        """What the network answers on rates, as it was trained."""
        network = self.network if self.trained is None else self.trained
        return self._of_all(network, lambda images, index: network(images))

    def right(self) -> Bool[Tensor, " images"]:
        """Whether the answer to each image is right on spikes."""
        return self.answers().argmax(1) == self.labels

    def converted_by(self, conversion: Conversion) -> "Case | None":
        """The same with the network converted by a method that looks at training images; None if the method cannot do it."""
        if conversion.n_images and self.training is None:
            return None
        images = self.images[:0] if self.training is None else self.training
        try:
            network = conversion.converted(self.network, images, self.dt, start=self.start, seed=self.seed)
        except ParameterError:
            return None
        return replace(self, network=network, conversion=conversion)

    def _of_all(self, network: nn.Module, compute: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """What is computed of all images and their numbers with a network in eval mode, some at a time."""
        was_training = network.training
        network.eval()
        try:
            batches = zip(self.images.split(_AT_ONCE), self.index.split(_AT_ONCE), strict=True)
            parts = [compute(images, index) for images, index in batches]
        finally:
            network.train(was_training)
        return torch.cat(parts)

    def check(self) -> None:
        """Raise `ParameterError` for images and labels that do not belong together."""
        if not len(self.images):
            raise ParameterError("images: there are none; give some that the network was not trained on")
        if len(self.images) != len(self.labels):
            raise ParameterError(f"labels: there are {len(self.labels)} for {len(self.images)} images; give one for each")
        if self.labels.dim() != 1 or self.labels.is_floating_point():
            given = f"{self.labels.dtype} of the shape {tuple(self.labels.shape)}"
            raise ParameterError(
                f"labels: must be a class's number for each image, not {given}; try labels.argmax(1) or .long()"
            )

    def check_classes(self, classes: int) -> None:
        """Raise `ParameterError` for a label that none of the network's outputs stands for."""
        lowest, highest = int(self.labels.min()), int(self.labels.max())
        if lowest < 0 or highest >= classes:
            outside = lowest if lowest < 0 else highest
            raise ParameterError(f"labels: one is {outside}; the network has {classes} outputs, from 0 to {classes - 1}")


@dataclass(frozen=True)
class Gain:
    """By how much more often one of two ways to answer the same images is right.

    Attributes:
        accuracy: that is gained, from -1 to 1.
        p_value: how probable a difference as large is where both ways are equally good (see `ratespike.metrics.mcnemar`).
    """

    accuracy: float
    p_value: float

    @property
    def is_real(self) -> bool:
        """Whether more is gained than chance explains."""
        return self.accuracy > 0 and self.p_value < _CHANCE


def gain(before: Bool[Tensor, " images"], after: Bool[Tensor, " images"]) -> Gain:
    """What a change has gained on the same images.

    Example:
        >>> before = torch.tensor([True, False, False, False, False, False, False])
        >>> gain(before, torch.ones(7, dtype=torch.bool))
        Gain(accuracy=0.8571428571428571, p_value=0.03125)
    """
    won = int((after & ~before).sum())
    lost = int((before & ~after).sum())
    return Gain((won - lost) / len(before), mcnemar.p_value(won, lost))
