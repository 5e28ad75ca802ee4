import torch

from ratespike.data import Images
from ratespike.pipeline.datamodule import Batches

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
