"""CIFAR-10 and CIFAR-100 in their official binary form (Krizhevsky 2009)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ratespike.data.base import Content, DataSet
from ratespike.data.cache import Cache
from ratespike.data.images import Images
from ratespike.parameters import ParameterError

_PIXELS = 3 * 32 * 32  # of an image: all red ones, all green ones, all blue ones, row by row


@dataclass(frozen=True, kw_only=True)
class CIFAR(DataSet, ABC):
    """Colour images of 32 x 32 pixels in files of records: some bytes of labels, then the pixels of one image."""

    def files(self, folder: Path) -> Sequence[Path]:
        train, test, names = self.layout()
        return [folder / name for name in (*train, test, names) if (folder / name).is_file()]

    def read(self, folder: Path, cache: Cache) -> Content:
        train, test, names = self.layout()
        class_names = tuple(_existing(folder / names).read_text(encoding="utf-8").split())
        return Content(self._images([folder / name for name in train]), self._images([folder / test]), class_names)

    @abstractmethod
    def layout(self) -> tuple[tuple[str, ...], str, str]:
        """The names of the training files, of the test file and of the file with the names of the classes."""

    @abstractmethod
    def label_bytes(self) -> int:
        """How many labels of one byte precede the pixels; the last of them is the class."""

    def _images(self, paths: Sequence[Path]) -> Images:
        record = self.label_bytes() + _PIXELS
        records = []
        for path in paths:
            content = np.fromfile(_existing(path), np.uint8)
            if not len(content) or len(content) % record:
                raise ParameterError(f"{path.name}: is damaged: its {len(content)} bytes are no whole number of {record}")
            records.append(torch.from_numpy(content).reshape(-1, record))
        table = torch.cat(records)
        return Images(table[:, -_PIXELS:].reshape(-1, 3, 32, 32), table[:, self.label_bytes() - 1].long())


@dataclass(frozen=True, kw_only=True)
class CIFAR10(CIFAR):
    """Ten classes of colour images, 32 x 32 pixels, 50 000 for training and 10 000 for testing.

    `dir` holds the files of the binary version: `data_batch_1.bin` to `data_batch_5.bin`, `test_batch.bin` and
    `batches.meta.txt`.

    Source: A. Krizhevsky 2009, "Learning multiple layers of features from tiny images",
    https://www.cs.toronto.edu/~kriz/cifar.html.

    Raises:
        ParameterError: a parameter out of range.

    Example:
        >>> CIFAR10(dir="data/cifar10", validation_images=5000).layout()[1]
        'test_batch.bin'
    """

    def layout(self) -> tuple[tuple[str, ...], str, str]:
        return tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin", "batches.meta.txt"

    def label_bytes(self) -> int:
        return 1


@dataclass(frozen=True, kw_only=True)
class CIFAR100(CIFAR):
    """A hundred classes of colour images, 32 x 32 pixels, 50 000 for training and 10 000 for testing.

    `dir` holds the files of the binary version: `train.bin`, `test.bin` and `fine_label_names.txt`. The classes are the fine
    ones.

    Source: A. Krizhevsky 2009, "Learning multiple layers of features from tiny images",
    https://www.cs.toronto.edu/~kriz/cifar.html.

    Raises:
        ParameterError: a parameter out of range.

    Example:
        >>> CIFAR100(dir="data/cifar100", validation_images=5000).layout()[1]
        'test.bin'
    """

    def layout(self) -> tuple[tuple[str, ...], str, str]:
        return ("train.bin",), "test.bin", "fine_label_names.txt"

    def label_bytes(self) -> int:
        return 2  # the coarse class, the fine one


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ParameterError(
            f"{path.name} is missing; unpack the binary version of https://www.cs.toronto.edu/~kriz/cifar.html"
        )
    return path
