"""Random numbers that depend on what they are for and on nothing else: Philox4x32-10, a counter-based generator.

J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011. A number is a
pure function of (seed, image, layer, neuron, purpose), so that it is the same in every batch, order, engine and device.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

START = 0  # the purpose of a draw: the start of a simulation; a step has its number, from 1

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
    seed: int, image_index: Int[Tensor, " batch"], layer: int, n_neurons: int, purpose: int = START
) -> Float[Tensor, "batch neurons"]:
    """Uniform numbers in [0, 1), multiples of 2**-24, float32.

    Args:
        seed: the simulation's seed, up to 64 bits.
        image_index: which image each row belongs to; the lower 32 bits count.
        layer: the number of the neuron layer in the network, from 0.
        n_neurons: in each image; neurons are numbered with the channel fastest (height, width, channel).
        purpose: what the number is for; the same purpose gives the same numbers.

    Example:
        >>> uniform(seed=0, image_index=torch.tensor([5]), layer=0, n_neurons=3)
        tensor([[0.4091, 0.3238, 0.3134]])
    """
    device = image_index.device
    blocks = torch.arange((n_neurons + 3) // 4, device=device)  # one call makes the numbers of four neurons
    images = image_index.reshape(-1, 1).long() & _LOW
    counter = (blocks, images, torch.tensor(layer, device=device), torch.tensor(purpose, device=device))
    key = (seed & _LOW, (seed >> 32) & _LOW)
    words = torch.stack(philox(counter, key), dim=-1).flatten(1)[:, :n_neurons]  # (batch, neurons)
    return (words >> 8).float() * 2.0**-24  # 24 bits are what a float32 holds


def uniform_like(
    current: Float[Tensor, " batch *shape"], seed: int, image_index: Int[Tensor, " batch"], layer: int, purpose: int
) -> Float[Tensor, " batch *shape"]:
    """The numbers of `uniform` in the shape, dtype and order of memory of a layer's current, which has channels first.

    Args:
        current: shape (batch, features) or (batch, channels, height, width); its values do not matter.
        seed: the simulation's seed.
        image_index: which image each row belongs to.
        layer: the number of the neuron layer in the network, from 0.
        purpose: `START`, or the number of the step.
    """
    numbers = uniform(seed, image_index, layer, current.shape[1:].numel(), purpose).to(current.dtype)
    if current.dim() < 3:
        return numbers.reshape(current.shape)
    batch, channels, *place = current.shape
    return numbers.reshape(batch, *place, channels).movedim(-1, 1)
