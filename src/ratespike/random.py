"""Random numbers that depend on what they are for and on nothing else: Philox4x32-10, a counter-based generator.

J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011. A number is a
pure function of (seed, image, purpose, its place among the image's numbers), so that it is the same in every batch, order,
process and device.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF  # the lower 32 bits
_ROUNDS = 10


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> list[Tensor]:
    """Four random 32-bit words for each counter.

    Args:
        counter: four 32-bit words, in int64 tensors that broadcast.
        key: two 32-bit words.

    Returns:
        Four int64 tensors of the broadcast shape, each value from 0 to 2**32 - 1.

    Example:
        >>> zero = torch.tensor(0)
        >>> [f"{int(word):08x}" for word in philox((zero, zero, zero, zero), (0, 0))]  # as Random123's known answers
        ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    a, b, c, d = counter
    key_a, key_b = key
    for _ in range(_ROUNDS):
        product_a = a * _MULTIPLIERS[0]  # wraps around: the 64 bits are right, their sign is not
        product_c = c * _MULTIPLIERS[1]
        a = _high_word(product_c) ^ b ^ key_a
        b = product_c & _LOW
        c = _high_word(product_a) ^ d ^ key_b
        d = product_a & _LOW
        key_a = (key_a + _KEY_STEPS[0]) & _LOW
        key_b = (key_b + _KEY_STEPS[1]) & _LOW
    return [a, b, c, d]


def _high_word(product: Tensor) -> Tensor:
    """The upper 32 of 64 bits."""
    return (product >> 32) & _LOW


def uniform(
    seed: int, image_index: Int[Tensor, " batch"], n_numbers: int, purpose: tuple[int, int]
) -> Float[Tensor, "batch numbers"]:
    """Uniform numbers in [0, 1), multiples of 2**-24, float32.

    Args:
        seed: up to 64 bits.
        image_index: which image each row belongs to; the lower 32 bits count.
        n_numbers: for each image; the first ones are the same however many there are.
        purpose: two 32-bit words that say what the numbers are for; the same purpose gives the same numbers.

    Example:
        >>> uniform(seed=0, image_index=torch.tensor([5]), n_numbers=3, purpose=(0, 0))
        tensor([[0.4091, 0.3238, 0.3134]])
    """
    device = image_index.device
    blocks = torch.arange((n_numbers + 3) // 4, device=device)  # one call makes four numbers
    images = image_index.reshape(-1, 1).long() & _LOW
    first, second = purpose
    counter = (blocks, images, torch.tensor(first, device=device), torch.tensor(second, device=device))
    key = (seed & _LOW, (seed >> 32) & _LOW)
    words = torch.stack(philox(counter, key), dim=-1).flatten(1)[:, :n_numbers]  # (batch, numbers)
    return (words >> 8).float() * 2.0**-24  # 24 bits are what a float32 holds
