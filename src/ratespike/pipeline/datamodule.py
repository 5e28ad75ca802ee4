"""Batches cut from tensors in memory."""

from collections.abc import Callable, Iterator

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor, distributed

from ratespike.data import Images, Splits

Batch = tuple[Tensor, Tensor, Tensor]  # images in [0, 1], labels, which image of the set each is


class Batches:
    """The batches of one epoch; with `seed`, in an order that depends on seed and epoch alone.

    Processes that work together have every image once: to train, each has a part of every batch, so that `batch_size` is that
    of all; without `seed`, to test, each has batches of its own.
    """

    def __init__(self, images: Images, batch_size: int, seed: int | None = None, epoch: Callable[[], int] = int):
        self.images, self.batch_size, self.seed, self.epoch = images, batch_size, seed, epoch

    def __len__(self) -> int:
        rank, ranks = _ranks()
        n_images = len(self.images) if self.seed is not None else len(range(rank, len(self.images), ranks))
        return -(-n_images // self.batch_size)

    def size(self, number: int) -> int:
        """How many images a batch has, in all processes."""
        return min(self.batch_size, len(self.images) - number * self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        rank, ranks = _ranks()
        if self.seed is None:
            mine = torch.arange(len(self.images))[rank::ranks].split(self.batch_size)
        else:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch())
            order = torch.randperm(len(self.images), generator=generator)
            mine = tuple(batch[rank::ranks] for batch in order.split(self.batch_size))
        for index in mine:
            batch = self.images[index]
            yield batch.pixels.float() / 255, batch.labels, index


def _ranks() -> tuple[int, int]:
    """This process's number among those that work together, and how many they are."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


class DataModule(LightningDataModule):
    """The three splits as batches; training images are shuffled anew in each epoch."""

    def __init__(self, splits: Splits, batch_size: int, seed: int):
        super().__init__()
        self.splits, self.batch_size, self.seed = splits, batch_size, seed

    def train_dataloader(self) -> Batches:
        """Shuffled by (seed, epoch)."""
        return Batches(self.splits.train, self.batch_size, self.seed, self._epoch)

    def val_dataloader(self) -> Batches:
        """In order."""
        return Batches(self.splits.validation, self.batch_size)

    def test_dataloader(self) -> Batches:
        """In order."""
        return Batches(self.splits.test, self.batch_size)

    def _epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer else 0
