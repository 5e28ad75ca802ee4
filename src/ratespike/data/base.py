"""What a data set is: tensors in memory, split into training, validation and test images."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from ratespike.parameters import ParameterError, check_parameters, parameter


@dataclass(frozen=True)
class Images:
    """Images and labels in memory.

    Attributes:
        pixels: 0 to 255, shape (images, channels, height, width).
        labels: class numbers, shape (images,).
    """

    pixels: UInt8[Tensor, "images channels height width"]
    labels: Int[Tensor, " images"]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: slice | Tensor) -> "Images":
        return Images(self.pixels[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Splits:
    """Three disjoint sets of images."""

    train: Images
    validation: Images
    test: Images


@dataclass(frozen=True, kw_only=True)
class DataSet(ABC):
    """A data set on disk and how its training images are split.

    Attributes:
        dir: the folder with the files; a relative path starts at the repository root.
        validation_images: how many training images are set aside for choices.
        split_seed: draws the validation images; null takes the last ones in the file's order.
        train_images: a slice of the training images for debugging; null means all.
        test_images: a slice of the test images for debugging; null means all.
        report_first: tell the accuracies of this many first test images beside those of all; null does not.
        batch_size: images a batch, in training and in testing.
    """

    dir: str = parameter()
    validation_images: int = parameter(at_least=1)
    split_seed: int | None = parameter(0, at_least=0)
    train_images: int | None = parameter(None, at_least=1)
    test_images: int | None = parameter(None, at_least=1, training=False)
    report_first: int | None = parameter(None, at_least=1, training=False)
    batch_size: int = parameter(200, at_least=1)

    image_shape: ClassVar[tuple[int, int, int]]
    classes: ClassVar[int]

    def __post_init__(self) -> None:
        check_parameters(self)

    @abstractmethod
    def read(self, folder: Path) -> tuple[Images, Images]:
        """Training and test images, in the order of the files; raises `ParameterError` for missing or damaged files."""

    def load(self, root: Path) -> Splits:
        """Read, check and split.

        Raises:
            ParameterError: files missing or damaged, or more validation images than there are.
        """
        folder = root / self.dir
        if not folder.is_dir():
            raise ParameterError(f"data.dir={self.dir}: no such folder; the repository holds MNIST in data/mnist")
        train, test = self.read(folder)
        if self.validation_images >= len(train):
            raise ParameterError(f"data.validation_images={self.validation_images}: must be below {len(train)} training images")
        order = torch.arange(len(train))
        if self.split_seed is not None:
            order = torch.randperm(len(train), generator=torch.Generator().manual_seed(self.split_seed))
        kept, held_out = order[: -self.validation_images], order[-self.validation_images :]
        return Splits(train[kept[: self.train_images]], train[held_out[: self.train_images]], test[: self.test_images])

    @property
    def is_slice(self) -> bool:
        """Whether accuracies come from a part of the data and must not be compared with those of all."""
        return self.train_images is not None or self.test_images is not None


def read_checked(folder: Path, hashes: Mapping[str, str]) -> dict[str, bytes]:
    """Read files and compare their SHA-256.

    Raises:
        ParameterError: a file is missing or damaged.
    """
    contents = {}
    for name, expected in hashes.items():
        path = folder / name
        if not path.is_file():
            raise ParameterError(f"data.dir={folder}: {name} is missing; `git checkout data` restores the repository's files")
        contents[name] = path.read_bytes()
        if hashlib.sha256(contents[name]).hexdigest() != expected:
            raise ParameterError(
                f"data.dir={folder}: {name} is damaged ({len(contents[name])} bytes, wrong SHA-256); "
                "`git checkout data` restores the repository's files"
            )
    return contents
