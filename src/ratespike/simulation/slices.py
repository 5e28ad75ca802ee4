"""How many images and time steps are computed at once: as many as fit a budget of memory.

On a CPU the budget is about what its cache holds; a GPU needs more to be busy. How a batch is cut must not change one spike of
any image: BLAS sums in another order for odd batch sizes, so that slices are filled up with zeros to whole groups of images.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

_GROUP = 8  # images; a slice holds whole groups


class Slice(NamedTuple):
    """Some images of a batch, filled up with images of zeros.

    Attributes:
        shown: the images and behind them the zeros, in each time step.
        image_index: which image each row is; 0 for the zeros.
        rows: which images of the batch they are.
    """

    shown: Float[Tensor, "time rows *shape"]
    image_index: Int[Tensor, " rows"]
    rows: slice

    @property
    def n_images(self) -> int:
        """How many of the rows are images."""
        return int(self.rows.stop - self.rows.start)


class _Budget(NamedTuple):
    """The most that is computed at once.

    Attributes:
        n_bytes: for currents and spikes of the largest layer. With a random start's integers and what a step makes on the
            way, the peak is several times as high.
        images: the most images, whatever their size.
    """

    n_bytes: int
    images: int


_CPU = _Budget(n_bytes=16 * 2**20, images=16)
_GPU = _Budget(n_bytes=2**28, images=512)


def slices(
    shown: Float[Tensor, "time batch *shape"], image_index: Int[Tensor, " batch"], largest_layer: int
) -> Iterator[Slice]:
    """Cut a batch so that a layer of `largest_layer` neurons keeps to the budget in one step.

    Args:
        shown: the batch in each time step.
        image_index: which image each row is.
        largest_layer: how many neurons the largest layer has.

    Example:
        >>> for part in slices(torch.ones(1, 19, 1), torch.arange(19), largest_layer=100):
        ...     print(part.shown.shape, part.n_images)
        torch.Size([1, 16, 1]) 16
        torch.Size([1, 8, 1]) 3
    """
    budget = _budget(shown.device)
    groups = budget.n_bytes // _bytes_per_image(shown.dtype, largest_layer) // _GROUP
    size = min(max(1, groups) * _GROUP, budget.images)
    first = 0
    for part, index in zip(shown.split(size, dim=1), image_index.split(size), strict=True):
        missing = -len(index) % _GROUP
        filled = torch.cat([part, part.new_zeros(len(part), missing, *part.shape[2:])], dim=1)
        yield Slice(filled, torch.cat([index, index.new_zeros(missing)]), slice(first, first + len(index)))
        first += len(index)


def steps_at_once(shown: Float[Tensor, "time rows *shape"], largest_layer: int) -> int:
    """How many time steps of these images keep to the budget, at least one.

    Args:
        shown: of one slice.
        largest_layer: how many neurons the largest layer has.

    Example:
        >>> steps_at_once(torch.ones(1, 16, 1), largest_layer=2**14)  # 8 bytes for each neuron: 2 MiB a step
        8
    """
    bytes_per_step = max(1, shown.shape[1]) * _bytes_per_image(shown.dtype, largest_layer)
    return max(1, _budget(shown.device).n_bytes // bytes_per_step)


def _budget(device: torch.device) -> _Budget:
    return _CPU if device.type == "cpu" else _GPU


def _bytes_per_image(dtype: torch.dtype, largest_layer: int) -> int:
    """What the currents and the spikes of the largest layer take in one step, in bytes."""
    return max(1, 2 * largest_layer * dtype.itemsize)
