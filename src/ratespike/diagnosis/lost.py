"""Images that are lost on the way from rates to spikes."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class LostImage:
    """An image whose class is right on rates and wrong on spikes.

    Attributes:
        number: of the image in its set.
        label: its class.
        on_spikes: the class that spikes say.
        rate_margin: by how much the right output leads the next one on rates, in units of the outputs' standard deviation.
        spike_margin: the same on spikes, below 0.
    """

    number: int
    label: int
    on_spikes: int
    rate_margin: float
    spike_margin: float


def lost_images(
    rates: Float[Tensor, "images classes"],
    spikes: Float[Tensor, "images classes"],
    labels: Int[Tensor, " images"],
    numbers: Int[Tensor, " images"],
) -> list[LostImage]:
    """The images that rates have right and spikes wrong, the surest on rates first.

    Args:
        rates: the outputs on rates.
        spikes: those after the last step.
        labels: the right classes.
        numbers: of the images in their set.

    Example:
        >>> import torch
        >>> rates, spikes = torch.tensor([[2.0, 1.0], [1.0, 2.0]]), torch.tensor([[1.0, 3.0], [1.0, 2.0]])
        >>> [lost.number for lost in lost_images(rates, spikes, torch.tensor([0, 1]), torch.tensor([7, 8]))]
        [7]
    """
    on_spikes = spikes.argmax(1)
    of_rates, of_spikes = _margins(rates, labels), _margins(spikes, labels)
    lost = []
    for row in ((rates.argmax(1) == labels) & (on_spikes != labels)).nonzero()[:, 0].tolist():
        margins = (float(of_rates[row]), float(of_spikes[row]))
        lost.append(LostImage(int(numbers[row]), int(labels[row]), int(on_spikes[row]), *margins))
    return sorted(lost, key=lambda image: -image.rate_margin)


def _margins(outputs: Tensor, labels: Tensor) -> Tensor:
    """By how much the output of the right class leads the largest other one, in standard deviations of all outputs."""
    own = outputs.gather(1, labels[:, None])[:, 0]
    others = outputs.scatter(1, labels[:, None], float("-inf")).amax(1)
    return (own - others) / outputs.std(correction=0).clamp(min=1e-12)
