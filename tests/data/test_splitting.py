import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ratespike.data.splitting import split_off


@given(st.lists(st.integers(2, 40), min_size=1, max_size=6), st.floats(0.05, 0.5), st.one_of(st.none(), st.integers(0, 9)))
def test_each_class_has_its_share(sizes: list[int], fraction: float, seed: int | None) -> None:
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    count = max(1, round(fraction * len(labels)))
    kept, held_out = split_off(labels, count, seed, stratify=True)
    assert sorted([*kept.tolist(), *held_out.tolist()]) == list(range(len(labels)))
    held = labels[held_out].bincount(minlength=len(sizes))
    for size, own in zip(sizes, held.tolist(), strict=True):
        assert abs(own - size * count / len(labels)) < 1 or own == size - 1
    assert len(held_out) <= count
    assert labels[kept].bincount(minlength=len(sizes)).min() >= 1, "no class is without training images"


@pytest.mark.parametrize("seed", [0, 7])
def test_without_shares_the_draw_is_a_permutation_of_64_bit_numbers(seed: int) -> None:
    """The splits of earlier versions stay."""
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(seed))
    kept, held_out = split_off(torch.zeros(1000), 100, seed, stratify=False)
    assert torch.equal(kept.long(), order[:900])
    assert torch.equal(held_out.long(), order[900:])
