"""Rates against spikes on the same images: what one checkpoint and one simulation tell."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torchmetrics import Metric

from ratespike.metrics.over_time import AccuracyAtEveryStep, ConfusionAtEveryStep, MeanAtEveryStep
from ratespike.simulation import Simulation

STEPS_SHOWN = (1, 2, 5, 10, 20, 30, 60, 120, 300)  # at which people look at accuracies
_SPIKES = "spikes_per_neuron/"


@dataclass(frozen=True)
class Results:
    """The comparison over all images; fractions, and arrays over the steps 1 ... n_steps.

    Attributes:
        rate_accuracy: of the rate mode.
        spiking_accuracy: after each step.
        agreement: fraction of images whose rate and spiking predictions agree, after each step.
        spikes_per_neuron: by neuron layer, mean number of spikes a neuron fires in each step.
        synaptic_operations: per image, in each step.
        confusion: images by true class (rows) and by class predicted from spikes, after each step.
        running: fraction of images that are still simulated in each step.
        dt: the step, seconds.
        first: how many first images are told apart; 0 for none.
        first_rate_accuracy: of the first images alone.
        first_spiking_accuracy: of the first images alone, after each step.
    """

    rate_accuracy: float
    spiking_accuracy: Float[Tensor, " time"]
    agreement: Float[Tensor, " time"]
    spikes_per_neuron: dict[str, Float[Tensor, " time"]]
    synaptic_operations: Float[Tensor, " time"]
    confusion: Int[Tensor, "time classes classes"]
    running: Float[Tensor, " time"]
    dt: float
    first: int
    first_rate_accuracy: float
    first_spiking_accuracy: Float[Tensor, " time"]

    @property
    def n_steps(self) -> int:
        """How many steps were simulated."""
        return len(self.spiking_accuracy)

    @property
    def n_images(self) -> int:
        """How many images were looked at."""
        return int(self.confusion[-1].sum())

    @property
    def mean_steps(self) -> float:
        """How many steps an image was simulated for."""
        return float(self.running.sum())

    def firing_rate_hz(self) -> dict[str, float]:
        """By neuron layer, spikes per neuron and second, over the steps that images were simulated for."""
        return {name: float(spikes.sum()) / (self.mean_steps * self.dt) for name, spikes in self.spikes_per_neuron.items()}

    def final(self) -> dict[str, float]:
        """The final metrics by the names that MLflow shows, without the `test/` before them."""
        spiking = float(self.spiking_accuracy[-1])
        return {
            "rate_accuracy": self.rate_accuracy,
            "spiking_accuracy": spiking,
            "accuracy_gap": self.rate_accuracy - spiking,
            "agreement": float(self.agreement[-1]),
            "mean_steps": self.mean_steps,
            "synaptic_operations": float(self.synaptic_operations.sum()),
            **{f"firing_rate_hz/{name}": rate for name, rate in self.firing_rate_hz().items()},
            **self.of_first_images(),
        }

    def of_first_images(self) -> dict[str, float]:
        """The accuracies of the first images alone, by names that tell how many; empty if none are told apart."""
        if not self.first:
            return {}
        accuracies = {"rate": self.first_rate_accuracy, "spiking": float(self.first_spiking_accuracy[-1])}
        return {f"first_{self.first}_images/{mode}_accuracy": accuracy for mode, accuracy in accuracies.items()}

    def until(self, n_steps: int) -> "Results":
        """What a simulation of only the first `n_steps` steps tells."""
        over_time = {name: value[:n_steps] for name, value in vars(self).items() if isinstance(value, Tensor)}
        spikes = {name: values[:n_steps] for name, values in self.spikes_per_neuron.items()}
        return replace(self, **over_time, spikes_per_neuron=spikes)  # type: ignore[arg-type]

    def arrays(self) -> dict[str, np.ndarray]:
        """The same as arrays by name, for a file."""
        values = {name: np.asarray(value) for name, value in vars(self).items() if name != "spikes_per_neuron"}
        return values | {f"{_SPIKES}{name}": spikes.numpy() for name, spikes in self.spikes_per_neuron.items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "Results":
        """The results that `arrays` told."""
        spikes = {name.removeprefix(_SPIKES): _value(value) for name, value in arrays.items() if name.startswith(_SPIKES)}
        known = {item.name: _value(arrays[item.name]) for item in fields(cls) if item.name in arrays}
        return cls(**known, spikes_per_neuron=spikes)


def _value(array: np.ndarray) -> Any:
    return torch.from_numpy(array) if array.ndim else array.item()


class Comparison(nn.Module):
    """Accumulates `Results` batch by batch, over any number of processes.

    Args:
        n_steps: length of the simulations.
        dt: the step, seconds.
        classes: number of classes.
        neurons: by neuron layer, how many neurons it has.
        report_first: tell the accuracies of this many first images too.
    """

    def __init__(self, n_steps: int, dt: float, classes: int, neurons: dict[str, int], report_first: int | None = None):
        super().__init__()
        self.dt, self.neurons, self.first = dt, neurons, report_first or 0
        self.rate_accuracy, self.first_rate_accuracy = AccuracyAtEveryStep(1), AccuracyAtEveryStep(1)
        self.spiking_accuracy, self.first_spiking_accuracy = AccuracyAtEveryStep(n_steps), AccuracyAtEveryStep(n_steps)
        self.agreement = AccuracyAtEveryStep(n_steps)
        self.spikes = nn.ModuleList(MeanAtEveryStep(n_steps) for _ in neurons)  # a layer's name may hold a dot
        self.operations = MeanAtEveryStep(n_steps)
        self.running = MeanAtEveryStep(n_steps)
        self.confusion = ConfusionAtEveryStep(n_steps, classes)

    def update(
        self,
        rates: Float[Tensor, "batch classes"],
        spikes: Simulation,
        labels: Int[Tensor, " batch"],
        image_index: Int[Tensor, " batch"],
    ) -> None:
        """Add a batch: the rate mode's outputs, the simulation of the same images, their labels and numbers in the set."""
        rate_predictions, predictions = rates.argmax(dim=-1).unsqueeze(0), spikes.predictions
        self.rate_accuracy.update(rate_predictions, labels)
        self.spiking_accuracy.update(predictions, labels)
        self.agreement.update(predictions, rate_predictions[0])
        if self.first:
            first = image_index < self.first
            self.first_rate_accuracy.update(rate_predictions[:, first], labels[first])
            self.first_spiking_accuracy.update(predictions[:, first], labels[first])
        self.operations.update(spikes.synaptic_operations)
        self.running.update(torch.arange(spikes.n_steps, device=labels.device).unsqueeze(1) < spikes.steps)
        self.confusion.update(predictions, labels)
        for metric, counts in zip(self.spikes, spikes.spike_counts.values(), strict=True):
            metric.update(counts)  # type: ignore[operator]

    def reset(self) -> None:
        """Forget all batches."""
        for metric in self.modules():
            if isinstance(metric, Metric):
                metric.reset()

    def compute(self) -> Results:
        """The results of all batches so far."""
        told_apart = self.first > 0
        return Results(
            rate_accuracy=float(_values(self.rate_accuracy)[0]),
            spiking_accuracy=_values(self.spiking_accuracy),
            agreement=_values(self.agreement),
            spikes_per_neuron={
                name: _values(metric) / size  # type: ignore[arg-type]
                for (name, size), metric in zip(self.neurons.items(), self.spikes, strict=True)
            },
            synaptic_operations=_values(self.operations),
            confusion=self.confusion.compute().cpu(),
            running=_values(self.running),
            dt=self.dt,
            first=self.first,
            first_rate_accuracy=float(_values(self.first_rate_accuracy)[0]) if told_apart else 0.0,
            first_spiking_accuracy=_values(self.first_spiking_accuracy) if told_apart else torch.zeros(0),
        )


def _values(metric: Metric) -> Float[Tensor, " time"]:
    values: Tensor = metric.compute()
    return values.cpu().reshape(-1)  # torchmetrics makes a scalar of one value
