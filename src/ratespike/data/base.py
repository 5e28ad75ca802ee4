"""What a data set is: images split into training, validation and test images, and the names of their classes."""

import hashlib
import logging
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ratespike.data.cache import Cache
from ratespike.data.images import Images, Scaling
from ratespike.data.splitting import split_off
from ratespike.parameters import ParameterError, check_parameters, parameter

CACHE = "outputs/data_cache"  # below the folder where relative paths start
_NAMED = 5  # classes without images that a warning names
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Content:
    """What the files of a data set hold.

    Attributes:
        train: training images, in the order of the files.
        test: test images, in the order of the files, of the same shape.
        class_names: the name of each class, by its number.
        left_out: files that could not be read, and why.

    Raises:
        ParameterError: no images, or no pixels in them; images of two shapes; a label that is no class; fewer than two classes;
            a name that is empty, given twice or not UTF-8; a class of test images alone.
    """

    train: Images
    test: Images
    class_names: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for split, images in (("training", self.train), ("test", self.test)):
            if not len(images):
                raise ParameterError(f"there are no {split} images")
            lowest, highest = int(images.labels.min()), int(images.labels.max())
            if not 0 <= lowest <= highest < len(self.class_names):
                raise ParameterError(
                    f"the labels of the {split} images are from {lowest} to {highest}; with {len(self.class_names)} classes "
                    f"they must be from 0 to {len(self.class_names) - 1}"
                )
        if self.train.shape != self.test.shape:
            shapes = f"{self.train.shape} and {self.test.shape}"
            raise ParameterError(f"training and test images differ in shape (channels, height, width): {shapes}")
        if not all(self.train.shape):
            raise ParameterError(f"images have no pixels: their shape (channels, height, width) is {self.train.shape}")
        _check_names(self.class_names)
        untrained = set(self.classes_without_training_images)
        for number in self.test.labels.unique().tolist():
            if number in untrained:
                raise ParameterError(f"there are test images of the class {self.class_names[number]}, but no training images")

    @property
    def classes_without_training_images(self) -> list[int]:
        """Numbers of classes that a network cannot learn."""
        counts = self.train.labels.bincount(minlength=len(self.class_names))
        return (counts == 0).nonzero().flatten().tolist()


@dataclass(frozen=True)
class Splits:
    """Three disjoint sets of images.

    Attributes:
        train: to train on.
        validation: set aside from the training images, for choices.
        test: for the result alone.
        class_names: the name of each class, by its number.
        left_out: files that could not be read, and why.
        is_shuffled: whether the training images are in a random order, not in that of the files.
    """

    train: Images
    validation: Images
    test: Images
    class_names: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    is_shuffled: bool = False

    def some_training_images(self, count: int) -> Images:
        """At most `count` training images, always the same.

        In a random order these are the first ones. Files may be in the order of their classes: of these they are evenly spaced.

        Example:
            >>> import torch
            >>> images = Images(torch.zeros(6, 1, 1, 1, dtype=torch.uint8), torch.tensor([0, 0, 1, 1, 2, 2]))
            >>> in_order = Splits(images, images, images, ("cat", "dog", "bird"))
            >>> in_order.some_training_images(3).labels.tolist(), len(in_order.some_training_images(9))
            ([0, 1, 2], 6)
        """
        count = min(count, len(self.train))
        if self.is_shuffled or not count:
            return self.train[:count]
        return self.train[torch.arange(count) * len(self.train) // count]

    def shown_for(self, n_steps: int, dt: float) -> "Splits":
        """The same for a simulation of `n_steps` steps of `dt` seconds, which matters to images that change.

        Raises:
            ParameterError: they show nothing in that time.
        """
        return replace(
            self,
            train=self.train.shown_for(n_steps, dt),
            validation=self.validation.shown_for(n_steps, dt),
            test=self.test.shown_for(n_steps, dt),
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self.train.shape

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
            >>> import torch
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

    A subclass gives `read`, and `files` if their content may change; docs/adding_a_data_set.md shows one.

    Attributes:
        dir: the folder with the files; a relative path starts at the repository root, with the console command at the
            current folder; `~` is the user's home.
        validation_images: how many training images are set aside for choices; null for a tenth.
        split_seed: draws the validation images; null takes the last ones in the file's order.
        stratify: whether each class has the same share of the validation images as of the training images.
        mean: what is subtracted of the pixels, which are from 0 to 1, before a network sees them: a number or one for each
            channel; null for 0.
        std: what they are divided by then, likewise; null for 1.
        train_images: a slice of the training images for debugging; null means all.
        test_images: a slice of the test images for debugging; null means all.
        report_first: report the accuracies of this many first test images beside those of all; null does not.
        class_weights: what an image counts in the training loss: `none` for 1, `balanced` for the less the more images its
            class has, so that all classes count the same (`Splits.balanced_weights`).
        batch_size: images a batch, in training and in testing.
        changes_over_time: whether the images do. Then a training sees their mean over the steps of a simulation, and depends on
            how many and how long these are.
        may_be_a_file: whether `dir` may be a file in place of a folder.
        where_from: what an error line says of where its files come from.
    """

    changes_over_time: ClassVar[bool] = False
    may_be_a_file: ClassVar[bool] = False
    where_from: ClassVar[str] = ""

    dir: str = parameter()
    validation_images: int | None = parameter(None, at_least=1)
    split_seed: int | None = parameter(0, at_least=0)
    stratify: bool = parameter(False)
    mean: Any = None
    std: Any = None
    train_images: int | None = parameter(None, at_least=1)
    test_images: int | None = parameter(None, at_least=1, training=False)
    report_first: int | None = parameter(None, at_least=1, training=False)
    class_weights: str = parameter("none", choices=("none", "balanced"))
    batch_size: int = parameter(200, at_least=1)

    def __post_init__(self) -> None:
        check_parameters(self)
        for name in ("mean", "std"):
            object.__setattr__(self, name, _numbers(name, getattr(self, name)))

    @abstractmethod
    def read(self, folder: Path, cache: Cache) -> Content:
        """Training and test images and the names of their classes.

        Args:
            folder: `dir`; it exists, and is a folder unless `may_be_a_file`.
            cache: keeps what is decoded from the files.

        Raises:
            ParameterError: a file is missing or damaged.
        """

    def files(self, folder: Path) -> Sequence[str | Path]:
        """The files that `read` reads and whose content may change: a training on other content is another training."""
        return []

    def content(self, root: Path) -> str:
        """A hash of the content of `files`; empty where there are none, or no such folder.

        Args:
            root: the folder from which a relative `dir` starts.
        """
        folder = self._folder(root)
        files = self.files(folder) if self._exists(folder) else []
        return Cache(root / CACHE).content(folder, files) if files else ""

    def load(self, root: Path) -> Splits:
        """Read, check and split.

        Args:
            root: the folder from which a relative `dir` starts.

        Raises:
            ParameterError: files missing or damaged, or more validation images than there are.
        """
        folder = self._folder(root)
        if not self._exists(folder):
            kind = "file" if self.may_be_a_file else "folder"
            looked = f"{folder.absolute()} was looked for"
            raise ParameterError(f"data.dir={self.dir}: no such {kind}; {looked}; give data.dir=<{kind}>{self.where_from}")
        try:
            content = self.read(folder, Cache(root / CACHE))
        except ParameterError as error:
            raise ParameterError(f"data.dir={self.dir}: {error}") from None
        self._warn_of_untrained(content)
        for name in ("mean", "std"):
            given, channels = getattr(self, name), content.train.shape[0]
            if given is not None and len(given) not in (1, channels):
                raise ParameterError(f"data.{name}={list(given)}: must be one number, or {channels} for as many channels")
        validation_images = self._validation_images(len(content.train))
        kept, held_out = split_off(content.train.labels, validation_images, self.split_seed, self.stratify)
        if not len(held_out):
            raise ParameterError(
                f"data.dir={self.dir}: no image can be set aside for validation: no class has more than one training image; "
                "give more images, or data.stratify=false"
            )
        return Splits(
            train=self._scaled(content.train)[kept[: self.train_images].clone()],
            validation=self._scaled(content.train)[held_out[: self.train_images].clone()],
            test=self._scaled(content.test)[: self.test_images],
            class_names=content.class_names,
            left_out=content.left_out,
            is_shuffled=self.split_seed is not None,
        )

    def _folder(self, root: Path) -> Path:
        return root / os.path.expanduser(self.dir)  # noqa: PTH111  # that of `Path` raises where there is no such user

    def _exists(self, folder: Path) -> bool:
        return folder.is_dir() or (self.may_be_a_file and folder.exists())

    def _warn_of_untrained(self, content: Content) -> None:
        """Labels that begin at 1, or one that is 255 by mistake, make classes of nothing."""
        untrained = [content.class_names[number] for number in content.classes_without_training_images]
        if not untrained:
            return
        classes = "class" if len(untrained) == 1 else f"{len(untrained)} classes"
        named = ", ".join([*untrained[:_NAMED], *(["…"] if len(untrained) > _NAMED else [])])
        _logger.warning(
            "%s: no training images of the %s %s; number the classes from 0, without gaps", self.dir, classes, named
        )

    def _validation_images(self, training_images: int) -> int:
        validation_images = self.validation_images or max(1, training_images // 10)
        if validation_images >= training_images:
            raise ParameterError(f"data.validation_images={validation_images}: must be below {training_images} training images")
        return validation_images

    def _scaled(self, images: Images) -> Images:
        """Images with the normalisation that the user asked for."""
        return images.scaled(Scaling(images.scaling.white, self.mean or (), self.std or ()))

    @property
    def is_slice(self) -> bool:
        """Whether accuracies come from a part of the data and must not be compared with those of all."""
        return self.train_images is not None or self.test_images is not None


@dataclass(frozen=True, kw_only=True)
class UnsplitDataSet(DataSet, ABC):
    """A data set whose files may not say which images are for tests; then some of each class are drawn, always the same.

    Attributes:
        test_fraction: of the images, drawn for tests where the files have none set aside.
        test_seed: draws them, and the order of all images.
    """

    test_fraction: float = parameter(0.2, above=0, below=1)
    test_seed: int = parameter(0, at_least=0)

    def in_random_order(self, images: Images) -> Images:
        """Images in an order drawn from `test_seed`: files in the order of their classes would make slices of one class."""
        return images[torch.randperm(len(images), dtype=torch.int32, generator=torch.Generator().manual_seed(self.test_seed))]

    def with_test_images(self, images: Images) -> tuple[Images, Images]:
        """Images divided into training and test images, the same fraction of each class, in a random order."""
        n_test = round(self.test_fraction * len(images))
        if not 0 < n_test < len(images):
            raise ParameterError(f"{len(images)} images are too few to set {self.test_fraction:g} of them aside for tests")
        train, test = split_off(images.labels, n_test, self.test_seed, stratify=True)
        if not len(test):
            raise ParameterError(f"none of {len(images)} images can be set aside for tests: no class has more than one image")
        return images[train], images[test]


def numbered_classes(labels: Tensor) -> tuple[str, ...]:
    """The names of classes that have none: their numbers, from 0 to the largest label.

    Example:
        >>> import torch
        >>> numbered_classes(torch.tensor([2, 0]))
        ('0', '1', '2')
    """
    classes = int(labels.max()) + 1 if len(labels) else 0
    return tuple(str(number) for number in range(classes))


def check_finite(values: Tensor, what: str) -> None:
    """Raise `ParameterError` if pixels are NaN or infinite; whole numbers never are.

    Args:
        values: of any shape, looked at piece by piece.
        what: names them in the error line.
    """
    if not values.is_floating_point():
        return
    rows = max(1, 2**24 // max(1, values[:1].numel()))
    for first in range(0, len(values), rows):
        wrong = (~values[first : first + rows].isfinite()).flatten(1).any(1)
        if wrong.any():
            raise ParameterError(f"{what}: image {first + int(wrong.nonzero()[0])} has pixels that are NaN or infinite")


def _check_names(class_names: Sequence[str]) -> None:
    """Raise `ParameterError` for names of classes that results could not be told apart by, or that no file can hold."""
    if len(class_names) < 2:
        raise ParameterError(f"there is only one class, {class_names[0]}; to tell classes apart takes two or more")
    for number, name in enumerate(class_names):
        if not name.strip():
            raise ParameterError(f"the class {number} has an empty name; give each class a name")
        if any("\ud800" <= letter <= "\udfff" for letter in name):  # as Python reads a folder's name of other bytes
            raise ParameterError(f"the name of the class {name!a} is not UTF-8, and no result could hold it; rename it")
    twice = [name for name, count in Counter(class_names).items() if count > 1]
    if twice:
        raise ParameterError(f"two classes have the name {twice[0]}; give each a name of its own")


def _numbers(name: str, given: Any) -> tuple[float, ...] | None:
    """A number or a list of numbers as a tuple; none of `std` is 0 or less."""
    if given is None:
        return None
    values = list(given) if isinstance(given, list | tuple) else [given]
    for value in values:
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
        if not is_number or (name == "std" and value <= 0):
            above = " above 0" if name == "std" else ""
            raise ParameterError(f"{name}={given}: must be a number{above}, a list of such, one for each channel, or null")
    return tuple(float(value) for value in values)


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
