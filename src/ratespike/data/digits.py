"""The 1 797 handwritten digits that come with scikit-learn: a data set for a first try, with no files of its own."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

from ratespike.available_memory import check_fits
from ratespike.data.base import Content, UnsplitDataSet
from ratespike.data.cache import Cache
from ratespike.data.images import Images, Scaling
from ratespike.parameters import parameter

_FLOAT = 4  # bytes
_WHITE = 16  # a pixel counts the set bits of 4 x 4 ones


@dataclass(frozen=True, kw_only=True)
class Digits(UnsplitDataSet):
    """Handwritten digits, 8 x 8 grey pixels from 0 to 16; some of each class are drawn for tests.

    Source: E. Alpaydin and C. Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
    doi:10.24432/C50P49; the copy is scikit-learn's `load_digits`.

    Attributes:
        size: height and width in pixels, to which the images are enlarged bilinearly; null for the 8 of the files.

    Raises:
        ParameterError: a parameter out of range.

    Example:
        >>> splits = Digits(validation_images=200).load(Path())
        >>> splits.image_shape, splits.classes, len(splits.test)
        ((1, 8, 8), 10, 359)
    """

    dir: str = parameter(".")
    size: int | None = parameter(None, at_least=8)

    def read(self, folder: Path, cache: Cache) -> Content:
        from sklearn.datasets import load_digits

        content = load_digits()
        pixels = torch.from_numpy(content.images).byte().unsqueeze(1)
        images = Images(pixels, torch.from_numpy(content.target).long(), Scaling(white=_WHITE))
        if self.size is not None:
            n_bytes = 2 * _FLOAT * len(pixels) * self.size**2  # the images, and those that are interpolated
            check_fits(n_bytes, f"size={self.size}")
            enlarged = F.interpolate(images.as_pictures(), size=(self.size, self.size), mode="bilinear", align_corners=False)
            images = Images(enlarged, images.labels)
        train, test = self.with_test_images(images)
        return Content(train, test, tuple("0123456789"))
