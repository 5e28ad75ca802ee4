"""The random numbers of a simulation: each is a function of seed, image, layer, neuron and purpose (see `ratespike.random`)."""

from jaxtyping import Float, Int
from torch import Tensor

from ratespike.random import uniform

START = 0  # the purpose of a draw: the start of a simulation; a step has its number, from 1


def uniform_like(
    current: Float[Tensor, " batch *shape"], seed: int, image_index: Int[Tensor, " batch"], layer: int, purpose: int
) -> Float[Tensor, " batch *shape"]:
    """A uniform number in [0, 1) for each neuron, in the shape, dtype and order of memory of a layer's current.

    An image's neurons are numbered with the channel fastest (height, width, channel).

    Args:
        current: shape (batch, features) or (batch, channels, height, width); its values do not matter.
        seed: the simulation's seed.
        image_index: which image each row belongs to.
        layer: the number of the neuron layer in the network, from 0.
        purpose: `START`, or the number of the step.
    """
    numbers = uniform(seed, image_index, current.shape[1:].numel(), (layer, purpose)).to(current.dtype)
    if current.dim() < 3:
        return numbers.reshape(current.shape)
    batch, channels, *place = current.shape
    return numbers.reshape(batch, *place, channels).movedim(-1, 1)
