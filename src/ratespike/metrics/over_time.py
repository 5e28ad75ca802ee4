"""Accumulators with a value for each time step.

Each is a torchmetrics `Metric`: it adds up batches, and over processes, and holds sums and counts, or values in the order of
the images, so that the result does not depend on how these were divided.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class MeanAtEveryStep(Metric):
    """Mean over images of a quantity that each image has at each step, such as spikes or synaptic operations.

    Args:
        n_steps: of the simulations.
        options: of `torchmetrics.Metric`.

    Example:
        >>> metric = MeanAtEveryStep(n_steps=2)
        >>> metric.update(torch.tensor([[1.0, 3.0], [0.0, 1.0]]))
        >>> metric.compute()
        tensor([2.0000, 0.5000], dtype=torch.float64)
    """

    full_state_update = False
    total: Tensor
    images: Tensor

    def __init__(self, n_steps: int, **options: Any):
        super().__init__(**options)
        self.add_state("total", torch.zeros(n_steps, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, values: Float[Tensor, "time batch"]) -> None:
        """Add a batch."""
        self.total += values.to(self.total.dtype).sum(dim=1)
        self.images += values.shape[1]

    def compute(self) -> Float[Tensor, " time"]:
        """The means over all images so far."""
        return self.total / self.images


class AccuracyAtEveryStep(MeanAtEveryStep):
    """Fraction of images whose prediction is right, at each step: the accuracy of a simulation that ends there.

    Args:
        n_steps: of the simulations.
        options: of `torchmetrics.Metric`.

    Shape:
        predictions (time, batch), labels (batch,).

    Example:
        >>> metric = AccuracyAtEveryStep(n_steps=2)
        >>> metric.update(torch.tensor([[7, 2], [7, 1]]), torch.tensor([7, 1]))
        >>> metric.compute()
        tensor([0.5000, 1.0000], dtype=torch.float64)
    """

    def update(self, predictions: Int[Tensor, "time batch"], labels: Int[Tensor, " batch"]) -> None:  # type: ignore[override]
        """Add a batch."""
        super().update(predictions == labels)


class ConfusionAtEveryStep(Metric):
    """How many images of each class were predicted as which, at each step.

    Args:
        n_steps: of the simulations.
        classes: number of classes.
        options: of `torchmetrics.Metric`.

    Shape:
        predictions (time, batch), labels (batch,); the counts (time, classes, classes), true classes in rows.

    Example:
        >>> metric = ConfusionAtEveryStep(n_steps=1, classes=2)
        >>> metric.update(torch.tensor([[1, 1, 0]]), torch.tensor([1, 0, 0]))
        >>> metric.compute()
        tensor([[[1, 1],
                 [0, 1]]])
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, n_steps: int, classes: int, **options: Any):
        super().__init__(**options)
        self.add_state("counts", torch.zeros(n_steps, classes, classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, predictions: Int[Tensor, "time batch"], labels: Int[Tensor, " batch"]) -> None:
        """Add a batch."""
        n_steps, classes, _ = self.counts.shape
        steps = torch.arange(n_steps, device=labels.device).unsqueeze(1)  # (time, 1)
        cells = steps * classes**2 + labels * classes + predictions  # (time, batch), places in the flattened counts
        self.counts += torch.bincount(cells.flatten(), minlength=self.counts.numel()).reshape(self.counts.shape)

    def compute(self) -> Int[Tensor, "time classes classes"]:
        """The counts over all images so far."""
        return self.counts


class ValuesOfImages(Metric):
    """Several quantities of each image at each step, in no particular order of the images.

    Args:
        options: of `torchmetrics.Metric`.

    Shape:
        each quantity (time, batch); the result (quantities, time, images).

    Example:
        >>> metric = ValuesOfImages()
        >>> for step in (1.0, 2.0):
        ...     metric.update(torch.tensor([[step]]), torch.tensor([[10 * step]]))
        >>> metric.compute().tolist()
        [[[1.0, 2.0]], [[10.0, 20.0]]]
    """

    full_state_update = False
    values: list[Tensor]

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.add_state("values", [], dist_reduce_fx="cat")

    def update(self, *quantities: Float[Tensor, "time batch"]) -> None:
        """Add a batch."""
        self.values.append(torch.stack([values.T.float() for values in quantities], dim=-1))  # (batch, time, quantities)

    def compute(self) -> Float[Tensor, "quantities time images"]:
        """Those of all images so far."""
        return dim_zero_cat(self.values).permute(2, 1, 0)


class PredictionsAtEveryStep(Metric):
    """The prediction of each image, at each step, in the order of the images' numbers.

    Args:
        options: of `torchmetrics.Metric`.

    Shape:
        predictions (time, batch), numbers of the images (batch,); the result (time, images).

    Example:
        >>> metric = PredictionsAtEveryStep()
        >>> metric.update(torch.tensor([[7, 2], [7, 1]]), torch.tensor([1, 0]))
        >>> metric.compute()
        tensor([[2, 7],
                [1, 7]], dtype=torch.int16)
    """

    full_state_update = False
    predictions: list[Tensor]
    numbers: list[Tensor]

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.add_state("predictions", [], dist_reduce_fx="cat")
        self.add_state("numbers", [], dist_reduce_fx="cat")

    def update(self, predictions: Int[Tensor, "time batch"], numbers: Int[Tensor, " batch"]) -> None:
        """Add a batch."""
        self.predictions.append(predictions.T.int())  # Gloo gathers no integers of 16 bits
        self.numbers.append(numbers)

    def compute(self) -> Int[Tensor, "time images"]:
        """Those of all images so far."""
        order = dim_zero_cat(self.numbers).argsort()
        return dim_zero_cat(self.predictions)[order].T.to(torch.int16)
