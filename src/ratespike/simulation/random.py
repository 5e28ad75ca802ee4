"""Random numbers that depend on what they are for and on nothing else: Philox4x32-10, a counter-based generator.

J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011. A number is a
pure function of (seed, image, layer, neuron, purpose), so that it is the same in every batch, order, engine and device.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

START = 0  # the purpose of a draw: the start of a simulation; a step has its number, from 1

_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_KEY_STEPS = 0x9E3779B9, 0xBB67AE85
_LOW = 0xFFFFFFFF
_ROUNDS = 10


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> list[Tensor]:
    """Four 32-bit words for each counter of four 32-bit words, all kept in int64 tensors that broadcast."""
    a, b, c, d = counter
    for round_number in range(_ROUNDS):
        key_a, key_b = ((k + round_number * step) & _LOW for k, step in zip(key, _KEY_STEPS, strict=True))
        first, second = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]  # wraps around: the 64 bits are right, their sign is not
        a, b, c, d = ((second >> 32) & _LOW) ^ b ^ key_a, second & _LOW, ((first >> 32) & _LOW) ^ d ^ key_b, first & _LOW
    return [a, b, c, d]


def uniform(
    seed: int, image_index: Int[Tensor, " batch"], layer: int, n_neurons: int, purpose: int = START
) -> Float[Tensor, "batch neurons"]:
    """Uniform numbers in [0, 1), multiples of 2**-24, float32.

    Args:
        seed: the simulation's seed, up to 64 bits.
        image_index: which image each row belongs to.
        layer: the number of the neuron layer in the network, from 0.
        n_neurons: in each image; neurons are numbered with the channel fastest (height, width, channel).
        purpose: what the number is for; the same purpose gives the same numbers.
    """
    blocks = torch.arange((n_neurons + 3) // 4, device=image_index.device)
    images = image_index.reshape(-1, 1).long() & _LOW
    constants = [torch.tensor(value, device=image_index.device) for value in (layer, purpose)]
    words = philox((blocks, images, constants[0], constants[1]), (seed & _LOW, (seed >> 32) & _LOW))
    numbers = torch.stack(words, dim=-1).flatten(1)[:, :n_neurons]
    return (numbers >> 8).float() * 2.0**-24


def uniform_like(
    current: Float[Tensor, " batch *shape"], seed: int, image_index: Int[Tensor, " batch"], layer: int, purpose: int
) -> Float[Tensor, " batch *shape"]:
    """The numbers of `uniform` in the shape, dtype and order of memory of a layer's current, which has channels first."""
    numbers = uniform(seed, image_index, layer, current.shape[1:].numel(), purpose).to(current.dtype)
    if current.dim() < 3:
        return numbers.reshape(current.shape)
    batch, channels, *place = current.shape
    return numbers.reshape(batch, *place, channels).movedim(-1, 1)
