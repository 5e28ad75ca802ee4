"""Batches cut from tensors in memory."""

from collections.abc import Callable, Iterator

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor

from ratespike.data import Images, Splits

Batch = tuple[Tensor, Tensor, Tensor]  # images in [0, 1], labels, which image of the set each is


class Batches:
    """The batches of one epoch; with `seed`, in an order that depends on seed and epoch alone."""

    def __init__(self, images: Images, batch_size: int, seed: int | None = None, epoch: Callable[[], int] = lambda: 0):
        self.images, self.batch_size, self.seed, self.epoch = images, batch_size, seed, epoch

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        order = torch.arange(len(self.images))
        if self.seed is not None:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch())
            order = torch.randperm(len(self.images), generator=generator)
        for index in order.split(self.batch_size):
            batch = self.images[index]
            yield batch.pixels.float() / 255, batch.labels, index


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
