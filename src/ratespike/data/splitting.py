"""Which images are set aside: drawn from all of them, or the same share of each class."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def split_off(
    labels: Int[Tensor, " images"], count: int, seed: int | None, stratify: bool
) -> tuple[Int[Tensor, " kept"], Int[Tensor, " held_out"]]:
    """Draw images that are set aside.

    Args:
        labels: class numbers.
        count: how many images are set aside.
        seed: of the draw; None takes the last images, of each class if `stratify`.
        stratify: whether each class has its share of them, as nearly as whole numbers go; a class never loses its last image.

    Returns:
        Which images stay and which are set aside, both in a random order, or in that of `labels` without a seed.

    Example:
        >>> labels = torch.tensor([0, 0, 0, 0, 1, 1])
        >>> split_off(labels, 3, seed=None, stratify=True)
        (tensor([0, 1, 4], dtype=torch.int32), tensor([2, 3, 5], dtype=torch.int32))
    """
    # 32 bits: half the memory where there are 100 million images; the numbers drawn are those of 64 bits
    order = torch.arange(len(labels), dtype=torch.int32)
    if seed is not None:
        order = torch.randperm(len(labels), dtype=torch.int32, generator=torch.Generator().manual_seed(seed))
    if not stratify:
        return order[:-count], order[-count:]
    is_held_out = _last_of_each_class(labels[order], count)
    return order[~is_held_out], order[is_held_out]


def _last_of_each_class(labels: Int[Tensor, " images"], count: int) -> Bool[Tensor, " images"]:
    """Where the last images of each class are, together `count` unless that would take the last of a class."""
    is_last = torch.zeros(len(labels), dtype=torch.bool)
    sizes = torch.bincount(labels)
    shares = _shares(sizes, count).tolist()
    for number, share in enumerate(shares):
        if share:
            places = (labels == number).nonzero().squeeze(1)
            is_last[places[-share:]] = True
    return is_last


def _shares(sizes: Int[Tensor, " classes"], count: int) -> Int[Tensor, " classes"]:
    """`count` divided among classes in proportion to their sizes, by the largest remainders.

    Example:
        >>> _shares(torch.tensor([6, 3, 1]), 5)
        tensor([3, 2, 0])
    """
    exact = sizes.double() * count / sizes.sum()
    shares = exact.floor().long()
    room = (sizes - 1).clamp(min=0)
    shares = shares.minimum(room)
    by_remainder = (exact - shares).argsort(descending=True, stable=True)
    by_remainder = by_remainder[shares[by_remainder] < room[by_remainder]]
    missing = count - int(shares.sum())
    shares[by_remainder[:missing]] += 1
    return shares
