"""Rings of three sizes, drawn: a data set that needs no files."""

from dataclasses import dataclass
from pathlib import Path

import torch

from ratespike.data import Cache, Content, DataSet, Images
from ratespike.parameters import parameter

_RADII = (2, 4, 6)


@dataclass(frozen=True, kw_only=True)
class Rings(DataSet):
    """Noisy images of a ring, 16 x 16 grey pixels, whose class is the radius.

    Attributes:
        noise: standard deviation of what is added to each pixel, relative to white.

    Example:
        >>> Rings(validation_images=100).draw(5, seed=0).shape
        (1, 16, 16)
    """

    dir: str = parameter(".")
    noise: float = parameter(0.1, at_least=0)

    def read(self, folder: Path, cache: Cache) -> Content:
        return Content(self.draw(1000, seed=0), self.draw(300, seed=1), tuple(f"radius {radius}" for radius in _RADII))

    def draw(self, n_images: int, seed: int) -> Images:
        """Draw rings around points near the middle."""
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(len(_RADII), (n_images,), generator=generator)
        down, right = 7.5 + torch.randn(2, n_images, 1, 1, generator=generator)
        pixel = torch.arange(16.0)
        distance = torch.hypot(pixel[:, None] - down, pixel - right)  # (images, 16, 16), from the ring's centre
        radius = torch.tensor(_RADII)[labels][:, None, None]
        brightness = (1.5 - (distance - radius).abs()).clamp(0, 1)
        brightness = brightness + self.noise * torch.randn(n_images, 16, 16, generator=generator)
        return Images((255 * brightness.clamp(0, 1)).byte().unsqueeze(1), labels)
