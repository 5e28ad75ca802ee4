"""Top-5 accuracy, of data with many classes: how often the right class is among the five with the largest outputs."""

from typing import TYPE_CHECKING

from ratespike.metrics.metric import PERCENT, Metric

if TYPE_CHECKING:
    from torch import Tensor

    from ratespike.metrics import Results
    from ratespike.simulation import Simulation

_LEAST_CLASSES = 11  # of ten classes, five are half


def _is_in_top5(outputs: "Tensor", labels: "Tensor") -> "Tensor":
    """Whether each image's label is among the five classes with the largest outputs, of equal ones the first, as in `argmax`.

    Args:
        outputs: shape (..., batch, classes); a label whose output is NaN is not among them.
        labels: shape (batch,).

    Returns:
        Shape (..., batch).

    Example:
        >>> import torch
        >>> outputs = torch.tensor([[7.0, 6, 5, 4, 4, 4, 1]])
        >>> [bool(_is_in_top5(outputs, torch.tensor([label]))) for label in range(7)]
        [True, True, True, True, True, False, False]
    """
    import torch

    classes = outputs.shape[-1]
    label = labels.unsqueeze(-1)  # (batch, 1)
    own = outputs.take_along_dim(label.expand(*outputs.shape[:-1], 1), dim=-1)
    is_later = torch.arange(classes, device=labels.device) > label  # (batch, classes)
    behind = (outputs < own) | ((outputs == own) & is_later)
    return behind.sum(dim=-1) >= classes - 5


def _by_rates(rates: "Tensor", spikes: "Simulation", labels: "Tensor") -> "Tensor":
    """The same after each step, shape (time, batch)."""
    return _is_in_top5(rates, labels).expand(spikes.n_steps, -1)


def _by_spikes(rates: "Tensor", spikes: "Simulation", labels: "Tensor") -> "Tensor":
    """After each step, shape (time, batch)."""
    return _is_in_top5(spikes.outputs, labels)


def _last(results: "Results", name: str) -> float | None:
    """The mean over images after the last step; None in results that were kept before it was measured."""
    return float(results.image_means[name][-1]) if name in results.image_means else None


RATE_TOP5_ACCURACY = Metric(
    name="rate_top5_accuracy",
    label="top-5 accuracy, rates",
    column="rates, top 5",
    unit=PERCENT,
    more_is_better=True,
    compute=lambda results: _last(results, "rate_top5_accuracy"),
    least_classes=_LEAST_CLASSES,
    of_each_image=_by_rates,
)
SPIKING_TOP5_ACCURACY = Metric(
    name="spiking_top5_accuracy",
    label="top-5 accuracy, spikes",
    column="spikes, top 5",
    unit=PERCENT,
    more_is_better=True,
    compute=lambda results: _last(results, "spiking_top5_accuracy"),
    least_classes=_LEAST_CLASSES,
    of_each_image=_by_spikes,
)
