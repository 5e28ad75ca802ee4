"""Cutting a batch: every image once, in whole groups, within the budget of memory."""

import pytest
import torch

from ratespike.simulation.slices import slices, steps_at_once


@pytest.mark.parametrize("batch", [0, 1, 8, 16, 37])
@pytest.mark.parametrize("largest_layer", [1, 200_000, 10_000_000])
def test_every_image_comes_once_and_slices_are_whole_groups(batch: int, largest_layer: int) -> None:
    images = torch.rand(batch, 3)
    index = torch.arange(batch) + 100
    parts = list(slices(images[None], index, largest_layer))
    assert torch.equal(torch.cat([part.shown[0, : part.n_images] for part in parts]), images)
    assert torch.equal(torch.cat([index[part.rows] for part in parts]), index)
    assert torch.equal(torch.cat([part.image_index[: part.n_images] for part in parts]), index)
    for part in parts:
        assert part.shown.shape[1] == len(part.image_index)
        assert part.shown.shape[1] % 8 == 0, "BLAS sums in another order"
        assert not part.shown[0, part.n_images :].any(), "what is filled up is zero"


def test_a_larger_layer_makes_smaller_slices_and_fewer_steps() -> None:
    images = torch.zeros(64, 3)
    index = torch.arange(64)
    small = next(slices(images[None], index, largest_layer=1000)).shown
    large = next(slices(images[None], index, largest_layer=200_000)).shown
    assert (small.shape[1], large.shape[1]) == (16, 8)
    assert steps_at_once(small, 1000) == 2**24 // (16 * 8 * 1000)
    assert steps_at_once(large, 10_000_000) == 1
