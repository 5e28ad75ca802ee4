"""Images and their labels, in memory or in a file larger than that."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ratespike.data.mapped import Mapped

Rows = slice | Tensor
_ROUNDING = 1e-5  # of values that were resized
_PIECE = 2**24  # pixels that are read at a time


@dataclass(frozen=True)
class Scaling:
    """How pixels become what a network sees: (pixel / white - mean) / std.

    Attributes:
        white: the pixel that becomes 1.
        mean: by channel, or one for all; none for 0.
        std: by channel, or one for all; none for 1.
    """

    white: float = 255.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def normalise(
        self, pictures: Float[Tensor, "images channels height width"]
    ) -> Float[Tensor, "images channels height width"]:
        """What a network sees of pixels that have been divided by `white`."""
        if self.mean:
            pictures = pictures - _by_channel(self.mean)
        if self.std:
            pictures = pictures / _by_channel(self.std)
        return pictures


class Images:
    """Images that stand still, and their labels.

    `images[:5]` or `images[index]` is a choice of them, whose pixels are read when they are used.

    Args:
        pixels: 0 to 255, or floating-point numbers that are used as they are, shape (images, channels, height, width).
        labels: class numbers, shape (images,).
        scaling: of the pixels; by default from 0 (pixel 0) to 1 (pixel 255).
        rows: which of `pixels` the images are, shape (images,); None for all.

    Attributes:
        labels: class numbers, shape (images,).

    Example:
        >>> images = Images(torch.zeros(8, 1, 28, 28, dtype=torch.uint8), torch.arange(8))
        >>> len(images), images.shape, images[:5].labels
        (8, (1, 28, 28), tensor([0, 1, 2, 3, 4]))
    """

    def __init__(
        self,
        pixels: Tensor | Mapped,
        labels: Int[Tensor, " images"],
        scaling: Scaling | None = None,
        rows: Int[Tensor, " images"] | None = None,
    ):
        if scaling is None:
            scaling = Scaling() if _stored(pixels).dtype == torch.uint8 else Scaling(white=1)
        self.labels = labels
        self.scaling = scaling
        self._pixels = pixels
        self._rows = rows

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: Rows) -> "Images":
        if self._rows is not None:
            return Images(self._pixels, self.labels[chosen], self.scaling, self._rows[chosen])
        if isinstance(chosen, slice) and isinstance(self._pixels, Tensor):
            return Images(self._pixels[chosen], self.labels[chosen], self.scaling)
        rows = torch.arange(len(self), dtype=torch.int32)[chosen] if isinstance(chosen, slice) else chosen
        return Images(self._pixels, self.labels[chosen], self.scaling, rows)

    def shown_for(self, n_steps: int, dt: float) -> "Images":
        """The same images for a simulation of `n_steps` steps of `dt` seconds: of those that change, what they show then.

        Raises:
            ParameterError: they show nothing.
        """
        return self

    def scaled(self, scaling: Scaling) -> "Images":
        """The same images, which a network sees in another scaling."""
        return Images(self._pixels, self.labels, scaling, self._rows)

    @property
    def event_height(self) -> float | None:
        """The value of an event in `over_time`; None for images that are no events."""
        return None

    @property
    def pixels(self) -> Tensor:
        """The pixels, shape (images, channels, height, width); of a choice of images a copy."""
        stored = _stored(self._pixels)
        return stored if self._rows is None else stored[self._rows]

    @property
    def value_range(self) -> tuple[float, float]:
        """Where the values of `as_pictures` are: 0 and 1 for bytes; of floating-point numbers the least and the largest."""
        if _stored(self._pixels).dtype == torch.uint8:
            return 0.0, 1.0
        pieces = torch.arange(len(self), dtype=torch.int32).split(max(1, _PIECE // math.prod(self.shape)))
        ends = [torch.stack(self[rows].as_pictures().aminmax()) for rows in pieces]
        lowest, highest = torch.stack(ends).T
        return float(lowest.min()), float(highest.max())

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        _, channels, height, width = _stored(self._pixels).shape
        return channels, height, width

    def as_inputs(self) -> Float[Tensor, "images channels height width"]:
        """The pixels as a network sees them, in float32: from 0 to 1, normalised if the data set says so.

        Example:
            >>> images = Images(torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8), torch.tensor([7]))
            >>> images.as_inputs()
            tensor([[[[0.0000, 0.2000, 1.0000]]]])
        """
        return self.scaling.normalise(self.as_pictures())

    def over_time(self) -> Float[Tensor, "time images channels height width"] | None:
        """What a network sees in each step of a simulation, in float32; None for images that stand still."""
        return None

    def as_simulated(self) -> Float[Tensor, "..."]:
        """What a simulation is given: `over_time`, or of images that stand still `as_inputs`."""
        over_time = self.over_time()
        return self.as_inputs() if over_time is None else over_time

    def as_pictures(self) -> Float[Tensor, "images channels height width"]:
        """The pixels as a person sees them, in float32 from 0 to 1: without the normalisation."""
        return self.pixels.float() / self.scaling.white


def is_from_0_to_1(value_range: tuple[float, float]) -> bool:
    """Whether values are those of pictures, from black to white, but for rounding.

    Example:
        >>> is_from_0_to_1((0.0, 0.9)), is_from_0_to_1((-1.0, 1.0)), is_from_0_to_1((0.0, 255.0))
        (True, False, False)
    """
    lowest, highest = value_range
    return lowest >= -_ROUNDING and highest <= 1 + _ROUNDING


def _stored(pixels: Tensor | Mapped) -> Tensor:
    return pixels.tensor if isinstance(pixels, Mapped) else pixels


def _by_channel(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).reshape(-1, 1, 1)
