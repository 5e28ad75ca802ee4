"""MNIST: 70 000 handwritten digits (LeCun and Cortes, CC BY-SA 3.0)."""

import gzip
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ratespike.data.base import DataSet, Images, read_checked

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
        >>> MNIST(dir="data/mnist", validation_images=5000).image_shape
        (1, 28, 28)
    """

    image_shape: ClassVar[tuple[int, int, int]] = (1, 28, 28)
    classes: ClassVar[int] = 10

    def read(self, folder: Path) -> tuple[Images, Images]:
        files = read_checked(folder, _SHA256)

        def images(part: str) -> Images:
            pixels = read_idx(gzip.decompress(files[f"{part}-images-idx3-ubyte.gz"]))
            labels = read_idx(gzip.decompress(files[f"{part}-labels-idx1-ubyte.gz"]))
            return Images(pixels.unsqueeze(1), labels.long())

        return images("train"), images("t10k")


def read_idx(content: bytes) -> Tensor:
    """The tensor in an IDX file of unsigned bytes, MNIST's format.

    The file begins with two zero bytes, the type (8: unsigned bytes) and the number of dimensions; then come the sizes
    (32 bits each, big-endian) and the data. Source: http://yann.lecun.com/exdb/mnist.

    Args:
        content: of the whole file, not compressed.

    Raises:
        ValueError: another format, or another type of numbers.

    Example:
        >>> read_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
        tensor([7, 9], dtype=torch.uint8)
    """
    zeros, kind, dimensions = struct.unpack_from(">HBB", content)
    if zeros != 0 or kind != 8:
        raise ValueError(f"not an IDX file of unsigned bytes: it begins with {content[:4].hex()}")
    shape = struct.unpack_from(f">{dimensions}I", content, 4)
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=4 + 4 * dimensions).reshape(shape)
