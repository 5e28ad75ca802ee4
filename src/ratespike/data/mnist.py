"""MNIST: 70 000 handwritten digits (LeCun and Cortes, CC BY-SA 3.0)."""

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ratespike.data.base import Content, DataSet, read_checked
from ratespike.data.cache import Cache
from ratespike.data.idx import parse_idx
from ratespike.data.images import Images

_SHA256 = {
    "train-images-idx3-ubyte.gz": "0b367032e93c5d0cea0925647cfdb18614af8ee15f83e6f2fc2ad904a6835971",
    "train-labels-idx1-ubyte.gz": "1787548bbe0bff1ec2ecdc0ef292b02df999e2d1a6002d27500982c652b17203",
    "t10k-images-idx3-ubyte.gz": "1a1a05eab793c14bb050b398624a11b0ffd1a2953baed553b1b9bd079e2a20be",
    "t10k-labels-idx1-ubyte.gz": "b91679a0acfe4ba0e50a2437a903084cba1f5f92592b016a25a7dfd00455798b",
}


@dataclass(frozen=True, kw_only=True)
class MNIST(DataSet):
    """Handwritten digits, 28 x 28 grey pixels, 60 000 for training and 10 000 for testing.

    Source: Y. LeCun, L. Bottou, Y. Bengio and P. Haffner 1998, "Gradient-based learning applied to document recognition",
    doi:10.1109/5.726791.

    Raises:
        ParameterError: a parameter out of range.

    Example:
        >>> splits = MNIST(dir="data/mnist", validation_images=5000).load(Path())
        >>> splits.image_shape, splits.classes, len(splits.test)
        ((1, 28, 28), 10, 10000)
    """

    where_from: ClassVar[str] = "; MNIST comes with a clone of the repository, data=digits with scikit-learn"

    def read(self, folder: Path, cache: Cache) -> Content:
        files = read_checked(folder, _SHA256)

        def images(part: str) -> Images:
            pixels = parse_idx(gzip.decompress(files[f"{part}-images-idx3-ubyte.gz"]))
            labels = parse_idx(gzip.decompress(files[f"{part}-labels-idx1-ubyte.gz"]))
            return Images(pixels.unsqueeze(1), labels.long())

        return Content(images("train"), images("t10k"), tuple("0123456789"))
