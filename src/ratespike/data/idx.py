"""A folder of IDX files, the format of MNIST and of many data sets that follow it: Fashion-MNIST, KMNIST, EMNIST."""

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ratespike.data.base import Content, DataSet, Images
from ratespike.parameters import ParameterError

_TEST = ("t10k", "test")  # one of these words is in the names of test files
_MOST_DEFLATED = 1100  # times: no file of gzip holds more than 1032 times its size


@dataclass(frozen=True, kw_only=True)
class IDX(DataSet):
    """Images and labels in four IDX files of unsigned bytes, gzipped or not.

    The files are found by their names: `train` or `t10k` or `test`, and `images` or `labels`, as in
    `train-images-idx3-ubyte.gz`. Images are grey (count, height, width) or (count, height, width, channels); labels are whole
    numbers from 0, as many classes as the largest training label says.

    Source: the format is that of Y. LeCun's MNIST, http://yann.lecun.com/exdb/mnist.

    Raises:
        ParameterError: a parameter out of range.

    Example:
        >>> splits = IDX(dir="data/mnist", validation_images=5000).load(Path())
        >>> splits.image_shape, splits.classes, len(splits.test)
        ((1, 28, 28), 10, 10000)
    """

    def read(self, folder: Path) -> Content:
        train = _images(folder, ("train",))
        test = _images(folder, _TEST)
        classes = int(train.labels.max()) + 1 if len(train) else 0
        return Content(train, test, tuple(str(number) for number in range(classes)))


def _images(folder: Path, split: tuple[str, ...]) -> Images:
    """The images of the files in whose names one of the words of `split` is."""
    images_file, labels_file = _file(folder, split, "images"), _file(folder, split, "labels")
    pixels, labels = read_idx(images_file), read_idx(labels_file)
    if pixels.dim() not in (3, 4):
        raise ParameterError(
            f"{images_file.name}: holds numbers of the shape {tuple(pixels.shape)}; must be (count, height, width)"
        )
    if labels.dim() != 1 or len(labels) != len(pixels):
        raise ParameterError(f"{labels_file.name}: holds {tuple(labels.shape)} labels for {len(pixels)} images")
    return Images(pixels.unsqueeze(1) if pixels.dim() == 3 else pixels.movedim(-1, 1), labels.long())


def _file(folder: Path, split: tuple[str, ...], what: str) -> Path:
    """The one file of a split that holds images, or labels."""
    words = " or ".join(split)
    found = [path for path in sorted(folder.iterdir()) if what in path.name and any(word in path.name for word in split)]
    if not found:
        raise ParameterError(f"no file has {words} and {what} in its name, such as {split[0]}-{what}-idx3-ubyte.gz")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ParameterError(f"{len(found)} files have {words} and {what} in their names ({names}); leave one")
    return found[0]


def read_idx(path: Path) -> Tensor:
    """The tensor in an IDX file of unsigned bytes, gzipped or not.

    No more memory is taken than the file can fill, whatever its header says.

    Raises:
        ParameterError: a damaged file, or one of another format.
    """
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = _unzipped(content, path)
    size = _size(content, path)
    if len(content) != size:
        raise ParameterError(f"{path.name}: is damaged: it holds {len(content)} bytes or more, but its header says {size}")
    return parse_idx(content)


def _unzipped(content: bytes, path: Path) -> bytes:
    """The content of a gzipped file, at most one byte more than its header says."""
    try:
        size = _size(zlib.decompressobj(wbits=31).decompress(content, 4 + 4 * 255), path)
        if size > _MOST_DEFLATED * len(content):
            raise ParameterError(f"{path.name}: is damaged: its header says {size} bytes, which {len(content)} cannot hold")
        return zlib.decompressobj(wbits=31).decompress(content, size + 1)
    except zlib.error as error:
        raise ParameterError(f"{path.name}: is damaged ({error})") from None


def _size(content: bytes, path: Path) -> int:
    """How many bytes a file has by its header."""
    try:
        shape = _shape(content)
    except ValueError as error:
        raise ParameterError(f"{path.name}: {error}") from None
    return 4 + 4 * len(shape) + math.prod(shape)


def _shape(content: bytes) -> tuple[int, ...]:
    """The sizes in an IDX file's header; raises `ValueError` for another format."""
    if len(content) < 4 or content[:3] != bytes([0, 0, 8]) or len(content) < 4 + 4 * content[3]:
        raise ValueError(f"not an IDX file of unsigned bytes: it begins with {content[:4].hex()}")
    return struct.unpack_from(f">{content[3]}I", content, 4)


def parse_idx(content: bytes) -> Tensor:
    """The tensor in the content of an IDX file of unsigned bytes.

    The file begins with two zero bytes, the type (8: unsigned bytes) and the number of dimensions; then come the sizes
    (32 bits each, big-endian) and the data. Source: http://yann.lecun.com/exdb/mnist.

    Args:
        content: of the whole file, not compressed.

    Raises:
        ValueError: another format, or another type of numbers.

    Example:
        >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
        tensor([7, 9], dtype=torch.uint8)
    """
    shape = _shape(content)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)
    return torch.from_numpy(values.copy())
