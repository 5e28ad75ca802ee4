"""Batches cut from tensors in memory, the same for any number of processes."""

from collections.abc import Callable, Iterator

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor, distributed

from ratespike.data import Augmentation, Images, Splits

Batch = tuple[Tensor, Tensor, Tensor]  # images in [0, 1], labels, which image of the set each is


_AS_IT_IS = Augmentation()


_SEEDS_OF_A_RANK = 1_000_000_007  # between the seeds of two processes of a job: more than usual seeds and epochs reach


def epoch_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """The seed of what is random in an epoch, of 63 bits: a resumed epoch draws what it would have drawn.

    Args:
        seed: of the training.
        epoch: its number.
        rank: of a process among those that share the training, where each draws for itself.

    Example:
        >>> epoch_seed(2, 5)
        2000011
    """
    return (seed * 1_000_003 + epoch + rank * _SEEDS_OF_A_RANK) % 2**63


class Batches:
    """The batches of one epoch.

    Processes that work together have every image once. To train, each has a part of every batch, so that `batch_size` is that
    of all of them; to test, each has batches of its own.

    Args:
        images: of one split.
        batch_size: images a batch.
        seed: draws the order together with the epoch; None, to test, keeps the order of the files.
        epoch: returns the number of the current epoch.
        augmentation: of images to train on; by default none.
    """

    def __init__(
        self,
        images: Images,
        batch_size: int,
        seed: int | None = None,
        epoch: Callable[[], int] = int,
        augmentation: Augmentation = _AS_IT_IS,
    ):
        self.images = images
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = epoch
        self.augmentation = augmentation

    def __len__(self) -> int:
        rank, ranks = _rank_and_ranks()
        n_images = len(self.images)
        if self.seed is None:
            n_images = len(range(rank, n_images, ranks))
        return -(-n_images // self.batch_size)  # rounded up

    def size(self, number: int) -> int:
        """How many images a batch has, in all processes."""
        return min(self.batch_size, len(self.images) - number * self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for index in self._indices():
            batch = self.images[index]
            yield self._inputs(batch, index), batch.labels.long(), index

    def _inputs(self, batch: Images, index: Tensor) -> Tensor:
        """What the network sees of a batch; to train, augmented."""
        pictures = batch.as_pictures()
        if self.seed is not None:
            pictures = self.augmentation(pictures, index, self.seed, self.epoch())
        return batch.scaling.normalise(pictures)

    def over_time(self, index: Tensor) -> Tensor | None:
        """What a network sees of some images in each step, shape (time, batch, ...); None for images that stand still."""
        return self.images[index].over_time()

    def _indices(self) -> Iterator[Tensor]:
        """For each batch, which images of the split this process has in it."""
        rank, ranks = _rank_and_ranks()
        if self.seed is None:
            own = torch.arange(len(self.images))[rank::ranks]
            yield from own.split(self.batch_size)
            return
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch()))
        order = torch.randperm(len(self.images), generator=generator)
        for batch in order.split(self.batch_size):
            yield batch[rank::ranks]


def _rank_and_ranks() -> tuple[int, int]:
    """This process's number among those that work together, and how many they are."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


class DataModule(LightningDataModule):
    """The three splits as batches; training images are shuffled and augmented anew in each epoch."""

    def __init__(self, splits: Splits, batch_size: int, seed: int, augmentation: Augmentation = _AS_IT_IS):
        super().__init__()
        self.splits = splits
        self.batch_size = batch_size
        self.seed = seed
        self.augmentation = augmentation

    def train_dataloader(self) -> Batches:
        """In an order drawn from seed and epoch, augmented."""
        return Batches(self.splits.train, self.batch_size, self.seed, self._epoch, self.augmentation)

    def val_dataloader(self) -> Batches:
        """In the order of the split."""
        return Batches(self.splits.validation, self.batch_size)

    def test_dataloader(self) -> Batches:
        """In the order of the files."""
        return Batches(self.splits.test, self.batch_size)

    def _epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer else 0
