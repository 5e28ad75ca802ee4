import pytest
import torch
from torch import Tensor

from ratespike.data import Augmentation, Images, Splits
from ratespike.pipeline import datamodule
from ratespike.pipeline.datamodule import Batches, DataModule

IMAGES = Images(torch.arange(23, dtype=torch.uint8).reshape(23, 1, 1, 1), torch.arange(23))


def order(seed: int | None, epoch: int) -> list[int]:
    return [int(label) for _, labels, _ in Batches(IMAGES, 5, seed, lambda: epoch) for label in labels]


def test_each_image_comes_once_with_its_number() -> None:
    batches = list(Batches(IMAGES, 5, seed=1))
    assert [len(labels) for _, labels, _ in batches] == [5, 5, 5, 5, 3]
    assert len(Batches(IMAGES, 5)) == 5
    for pixels, labels, index in batches:
        assert torch.equal(labels, index)
        assert torch.equal(pixels.flatten(), labels / 255)
    assert sorted(order(1, 0)) == list(range(23))


def test_order_depends_on_seed_and_epoch_alone() -> None:
    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4
    assert order(None, 3) == list(range(23))


PICTURES = Images(torch.randint(256, (23, 3, 9, 11), dtype=torch.uint8), torch.arange(23))
AUGMENTATION = Augmentation(shift=0.1, rotation=20, elastic=1, flip=0.5, cut_out=0.3, brightness=0.3)


def by_number(batches: Batches) -> Tensor:
    """The images that a network sees, in the order of the split."""
    seen = list(batches)
    images = torch.cat([images for images, _, _ in seen])
    return images[torch.cat([index for _, _, index in seen]).argsort()]


def seen(monkeypatch: pytest.MonkeyPatch, batch_size: int, ranks: int, epoch: int = 4) -> Tensor:
    """The images of an epoch that several processes see together."""
    images = torch.zeros(23, 3, 9, 11)
    for rank in range(ranks):
        monkeypatch.setattr(datamodule, "_rank_and_ranks", lambda rank=rank: (rank, ranks))
        for own, _, index in Batches(PICTURES, batch_size, 1, lambda: epoch, AUGMENTATION):
            images[index] = own
    return images


@pytest.mark.parametrize(("batch_size", "ranks"), [(5, 1), (23, 1), (1, 1), (5, 2), (7, 3), (2, 4)])
def test_an_image_looks_the_same_for_any_batch_size_and_number_of_processes(
    batch_size: int, ranks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = AUGMENTATION(PICTURES.as_inputs(), torch.arange(23), seed=1, epoch=4)
    torch.testing.assert_close(seen(monkeypatch, batch_size, ranks), expected, rtol=0, atol=1e-5)


def test_each_epoch_augments_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    first = seen(monkeypatch, 5, 1, epoch=0)
    assert torch.equal(seen(monkeypatch, 5, 1, epoch=0), first)
    assert ((seen(monkeypatch, 5, 1, epoch=1) - first).abs().amax((1, 2, 3)) > 0.01).all()


def test_only_training_images_are_augmented() -> None:
    module = DataModule(Splits(PICTURES, PICTURES, PICTURES, ()), 5, 1, AUGMENTATION)
    assert not torch.equal(by_number(module.train_dataloader()), PICTURES.as_inputs())
    for batches in (module.val_dataloader(), module.test_dataloader()):
        assert torch.equal(by_number(batches), PICTURES.as_inputs())
    plain = DataModule(Splits(PICTURES, PICTURES, PICTURES, ()), 5, 1)
    assert torch.equal(by_number(plain.train_dataloader()), PICTURES.as_inputs())
