"""A folder of IDX files, the format of MNIST and of many data sets that follow it: Fashion-MNIST, KMNIST, EMNIST."""

import gzip
import logging
import math
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ratespike.data.base import Content, DataSet, numbered_classes
from ratespike.data.cache import MOST_DEFLATED, Cache
from ratespike.data.images import Images
from ratespike.data.known_idx import find_known
from ratespike.data.mapped import Mapped
from ratespike.parameters import ParameterError

_logger = logging.getLogger(__name__)
_TRAIN = ("train",)
_PIECE = 2**20  # bytes that are unpacked at a time
_LONGEST_HEADER = 4 + 4 * 255  # bytes
_TEST = ("t10k", "test")  # one of these words is in the names of test files
_CHANNELS = (1, 3)


@dataclass(frozen=True, kw_only=True)
class IDX(DataSet):
    """Images and labels in four IDX files of unsigned bytes, gzipped or not.

    The files are found by words in their names: `train` or `t10k` or `test`, and `images` or `labels`, as in
    `train-images-idx3-ubyte.gz`. Images are grey (count, height, width), or have 1 or 3 channels, as their last axis or their
    second; labels are whole numbers from 0, as many classes as the largest training label says. Files of MNIST, Fashion-MNIST
    and KMNIST are known by their checksums, which are checked, and their classes have names. A gzipped file is unpacked once,
    into the cache; from there, or from a file that is not gzipped, images are read when they are used.

    Source: the format is that of Y. LeCun's MNIST, http://yann.lecun.com/exdb/mnist.

    Raises:
        ParameterError: a parameter out of range.

    Example:
        >>> splits = IDX(dir="data/mnist", validation_images=5000).load(Path())
        >>> splits.image_shape, splits.classes, len(splits.test)
        ((1, 28, 28), 10, 10000)
    """

    def read(self, folder: Path, cache: Cache) -> Content:
        train = _images(folder, _TRAIN, cache)
        test = _images(folder, _TEST, cache)
        known = find_known(self.files(folder))
        if known is not None:
            _logger.info("%s: the checksums are those of %s", self.dir, known.name)
            return Content(train, test, known.class_names)
        _logger.info("%s: no checksums of these files are known; they are taken as they are", self.dir)
        return Content(train, test, numbered_classes(train.labels))

    def files(self, folder: Path) -> Sequence[Path]:
        return [_file(folder, split, what) for split in (_TRAIN, _TEST) for what in ("images", "labels")]


def _images(folder: Path, split: tuple[str, ...], cache: Cache) -> Images:
    """The images of the files in whose names one of the words of `split` is."""
    images_file, labels_file = _file(folder, split, "images"), _file(folder, split, "labels")
    pixels, labels = _channels_first(read_idx(images_file, cache), images_file), read_idx(labels_file, cache).tensor
    n_images = len(pixels.tensor)
    if labels.dim() != 1 or len(labels) != n_images:
        raise ParameterError(f"{labels_file.name}: holds {tuple(labels.shape)} labels for {n_images} images")
    return Images(pixels, labels)


def _channels_first(pixels: Mapped, path: Path) -> Mapped:
    """Pixels as (count, channels, height, width)."""
    shape = tuple(pixels.tensor.shape)
    if len(shape) == 3:
        return pixels.with_axis(1)
    if len(shape) == 4 and shape[3] in _CHANNELS:
        return pixels.permuted(0, 3, 1, 2)
    if len(shape) == 4 and shape[1] in _CHANNELS:
        return pixels
    raise ParameterError(
        f"{path.name}: holds numbers of the shape {shape}; must be (count, height, width), (count, height, width, channels) or "
        "(count, channels, height, width) with 1 or 3 channels"
    )


def _file(folder: Path, split: tuple[str, ...], what: str) -> Path:
    """The one file of a split that holds images, or labels."""
    words = " or ".join(split)
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    found = [path for path in files if what in _words(path) and not _words(path).isdisjoint(split)]
    if not found:
        raise ParameterError(f"no file has {words} and {what} in its name, such as {split[0]}-{what}-idx3-ubyte.gz")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ParameterError(f"{len(found)} files have {words} and {what} in their names ({names}); leave one")
    return found[0]


def _words(path: Path) -> set[str]:
    """The words in a file's name: `latest-images` is no file of tests."""
    return set(re.split(r"[\W_]+", path.name))


def read_idx(path: Path, cache: Cache) -> Mapped:
    """The numbers in an IDX file of unsigned bytes, gzipped or not; neither is read into memory.

    Args:
        path: of the file.
        cache: where a gzipped file is unpacked.

    Raises:
        ParameterError: a damaged file, or one of another format.
    """
    with path.open("rb") as file:
        is_zipped = file.read(2) == b"\x1f\x8b"
    if is_zipped:
        made = cache.made("idx", path.parent, [path], lambda place: _unzip(path, place / "unpacked", cache))
        unpacked = made / "unpacked"
    else:
        unpacked = path
    with unpacked.open("rb") as file:
        shape = _shape_in(file.read(_LONGEST_HEADER), path)
    if not is_zipped:
        _check_size(unpacked.stat().st_size, shape, path)
    return Mapped(unpacked, np.dtype(np.uint8), shape, offset=4 + 4 * len(shape))


def _unzip(path: Path, unpacked: Path, cache: Cache) -> None:
    """Unpack a gzipped file, unless its header claims more than it can hold or the disk has room for."""
    try:
        with gzip.open(path) as file, unpacked.open("wb") as target:
            header = file.read(_LONGEST_HEADER)
            shape = _shape_in(header, path)
            size = _size(shape)
            if size > MOST_DEFLATED * path.stat().st_size:
                raise ParameterError(
                    f"{path.name}: is damaged: its header says {size} bytes, which {path.stat().st_size} cannot hold"
                )
            cache.check_room(size, path.name)
            target.write(header)
            while target.tell() <= size and (piece := file.read(_PIECE)):
                target.write(piece)
            _check_size(target.tell(), shape, path)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ParameterError(f"{path.name}: is damaged ({error})") from None


def _shape_in(header: bytes, path: Path) -> tuple[int, ...]:
    try:
        return _shape(header)
    except ValueError as error:
        raise ParameterError(f"{path.name}: {error}") from None


def _check_size(found: int, shape: tuple[int, ...], path: Path) -> None:
    if found != _size(shape):
        raise ParameterError(f"{path.name}: is damaged: it holds {found} bytes, but its header says {_size(shape)}")


def _size(shape: tuple[int, ...]) -> int:
    """How many bytes a file of numbers of this shape has."""
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
