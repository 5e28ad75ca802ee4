"""What a data set is: images in memory, split into training, validation and test images.

A data set keeps its pixels as whole numbers from 0 to 255, a quarter of the memory of float32, and says itself what a network
gets to see of them: `Images.as_inputs`.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ratespike.parameters import ParameterError, check_parameters, parameter


@dataclass(frozen=True)
class Images:
    """Images and labels in memory; `images[:5]` or `images[index]` is a choice of them, without a copy where slices allow it.

    Attributes:
        pixels: 0 to 255, shape (images, channels, height, width).
        labels: class numbers, shape (images,).

    Example:
        >>> images = Images(torch.zeros(8, 1, 28, 28, dtype=torch.uint8), torch.arange(8))
        >>> len(images), images[:5].labels
        (8, tensor([0, 1, 2, 3, 4]))
    """

    pixels: UInt8[Tensor, "images channels height width"]
    labels: Int[Tensor, " images"]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: slice | Tensor) -> "Images":
        return Images(self.pixels[chosen], self.labels[chosen])

    def as_inputs(self) -> Float[Tensor, "images channels height width"]:
        """The pixels as a network sees them: float32 from 0 (pixel 0) to 1 (pixel 255).

        Example:
            >>> images = Images(torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8), torch.tensor([7]))
            >>> images.as_inputs()
            tensor([[[[0.0000, 0.2000, 1.0000]]]])
        """
        return self.pixels.float() / 255


@dataclass(frozen=True)
class Content:
    """What the files of a data set hold.

    Attributes:
        train: training images, in the order of the files.
        test: test images, in the order of the files, of the same shape.
        class_names: the name of each class, by its number.

    Raises:
        ParameterError: no images, images of two shapes, or a label that is no class.
    """

    train: Images
    test: Images
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        for split, images in (("training", self.train), ("test", self.test)):
            if not len(images):
                raise ParameterError(f"there are no {split} images")
            if not 0 <= int(images.labels.min()) <= int(images.labels.max()) < len(self.class_names):
                found = f"from {int(images.labels.min())} to {int(images.labels.max())}"
                raise ParameterError(
                    f"the labels of the {split} images are {found}; with {len(self.class_names)} classes they must be "
                    f"from 0 to {len(self.class_names) - 1}"
                )
        if self.train.pixels.shape[1:] != self.test.pixels.shape[1:]:
            shapes = f"{tuple(self.train.pixels.shape[1:])} and {tuple(self.test.pixels.shape[1:])}"
            raise ParameterError(f"training and test images differ in shape (channels, height, width): {shapes}")


@dataclass(frozen=True)
class Splits:
    """Three disjoint sets of images.

    Attributes:
        train: to train on.
        validation: set aside from the training images, for choices.
        test: for the result alone.
        class_names: the name of each class, by its number.
    """

    train: Images
    validation: Images
    test: Images
    class_names: tuple[str, ...]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.train.pixels.shape[1:]
        return channels, height, width

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def balanced_weights(self) -> Float[Tensor, " classes"]:
        """For each class, the number of training images divided by that of its own and by that of the classes that have some.

        A class without training images has the weight 0. The mean over the training images is 1.

        Source: scikit-learn's `compute_class_weight("balanced", ...)`, after G. King and L. Zeng 2001, "Logistic regression in
        rare events data", doi:10.1093/oxfordjournals.pan.a004868.

        Example:
            >>> images = Images(torch.zeros(4, 1, 1, 1, dtype=torch.uint8), torch.tensor([0, 0, 0, 1]))
            >>> Splits(images, images, images, ("cat", "dog", "bird")).balanced_weights
            tensor([0.6667, 2.0000, 0.0000])
        """
        images = self.train.labels.bincount(minlength=self.classes)
        weights = len(self.train) / (images * images.count_nonzero())
        return weights.where(images > 0, 0.0)


@dataclass(frozen=True, kw_only=True)
class DataSet(ABC):
    """A data set on disk and how its training images are split.

    A subclass gives `read`; docs/adding_a_data_set.md shows one.

    Attributes:
        dir: the folder with the files; a relative path starts at the repository root.
        validation_images: how many training images are set aside for choices.
        split_seed: draws the validation images; null takes the last ones in the file's order.
        train_images: a slice of the training images for debugging; null means all.
        test_images: a slice of the test images for debugging; null means all.
        report_first: report the accuracies of this many first test images beside those of all; null does not.
        class_weights: what an image counts in the training loss: `none` for 1, `balanced` for the less the more images its
            class has, so that all classes count the same (`Splits.balanced_weights`).
        batch_size: images a batch, in training and in testing.
    """

    dir: str = parameter()
    validation_images: int = parameter(at_least=1)
    split_seed: int | None = parameter(0, at_least=0)
    train_images: int | None = parameter(None, at_least=1)
    test_images: int | None = parameter(None, at_least=1, training=False)
    report_first: int | None = parameter(None, at_least=1, training=False)
    class_weights: str = parameter("none", choices=("none", "balanced"))
    batch_size: int = parameter(200, at_least=1)

    def __post_init__(self) -> None:
        check_parameters(self)

    @abstractmethod
    def read(self, folder: Path) -> Content:
        """Training and test images and the names of their classes.

        Args:
            folder: that of `dir`; it exists.

        Raises:
            ParameterError: a file is missing or damaged.
        """

    def load(self, root: Path) -> Splits:
        """Read, check and split.

        Args:
            root: the folder from which a relative `dir` starts.

        Raises:
            ParameterError: files missing or damaged, or more validation images than there are.
        """
        folder = root / self.dir
        if not folder.is_dir():
            raise ParameterError(f"data.dir={self.dir}: no such folder; give data.dir=<folder>")
        try:
            content = self.read(folder)
        except ParameterError as error:
            raise ParameterError(f"data.dir={self.dir}: {error}") from None
        train = content.train
        if self.validation_images >= len(train):
            raise ParameterError(f"data.validation_images={self.validation_images}: must be below {len(train)} training images")
        order = torch.arange(len(train))
        if self.split_seed is not None:
            order = torch.randperm(len(train), generator=torch.Generator().manual_seed(self.split_seed))
        kept = order[: -self.validation_images]
        held_out = order[-self.validation_images :]
        return Splits(
            train=train[kept[: self.train_images]],
            validation=train[held_out[: self.train_images]],
            test=content.test[: self.test_images],
            class_names=content.class_names,
        )

    @property
    def is_slice(self) -> bool:
        """Whether accuracies come from a part of the data and must not be compared with those of all."""
        return self.train_images is not None or self.test_images is not None


def read_checked(folder: Path, hashes: Mapping[str, str]) -> dict[str, bytes]:
    """Read files whose SHA-256 is known.

    Args:
        folder: the files'.
        hashes: by file name, the SHA-256 in hexadecimal.

    Returns:
        The contents by file name, in the order of `hashes`.

    Raises:
        ParameterError: a file is missing or damaged.
    """
    contents: dict[str, bytes] = {}
    for name, expected in hashes.items():
        path = folder / name
        if not path.is_file():
            raise ParameterError(f"{name} is missing; `git checkout data` restores the repository's files")
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != expected:
            raise ParameterError(
                f"{name} is damaged ({len(content)} bytes, wrong SHA-256); `git checkout data` restores the repository's files"
            )
        contents[name] = content
    return contents
