"""Rates against spikes on the same images: what one checkpoint and one simulation tell."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from ratespike.metrics.over_time import AccuracyAtEveryStep, MeanAtEveryStep
from ratespike.simulation import Simulation


@dataclass(frozen=True)
class Results:
    """The comparison over all images; fractions, and arrays over the steps 1 ... n_steps.

    Attributes:
        rate_accuracy: of the rate mode.
        spiking_accuracy: after each step.
        agreement: fraction of images whose rate and spiking predictions agree, after each step.
        spikes_per_neuron: by neuron layer, mean number of spikes a neuron fires in each step.
        synaptic_operations: per image, in each step.
        confusion: images by true class (rows) and by class predicted from spikes at the last step.
        dt: the step, seconds.
    """

    rate_accuracy: float
    spiking_accuracy: Float[Tensor, " time"]
    agreement: Float[Tensor, " time"]
    spikes_per_neuron: dict[str, Float[Tensor, " time"]]
    synaptic_operations: Float[Tensor, " time"]
    confusion: Int[Tensor, "classes classes"]
    dt: float

    @property
    def n_steps(self) -> int:
        """How many steps were simulated."""
        return len(self.spiking_accuracy)

    def firing_rate_hz(self) -> dict[str, float]:
        """By neuron layer, spikes per neuron and second over the whole simulation."""
        return {name: float(spikes.mean()) / self.dt for name, spikes in self.spikes_per_neuron.items()}

    def final(self) -> dict[str, float]:
        """The final metrics by the names that MLflow shows, without the `test/` before them."""
        spiking = float(self.spiking_accuracy[-1])
        return {
            "rate_accuracy": self.rate_accuracy,
            "spiking_accuracy": spiking,
            "accuracy_gap": self.rate_accuracy - spiking,
            "agreement": float(self.agreement[-1]),
            "synaptic_operations": float(self.synaptic_operations.sum()),
            **{f"firing_rate_hz/{name}": rate for name, rate in self.firing_rate_hz().items()},
        }


class Comparison(nn.Module):
    """Accumulates `Results` batch by batch, over any number of processes.

    Args:
        n_steps: length of the simulations.
        dt: the step, seconds.
        classes: number of classes.
        neurons: by neuron layer, how many neurons it has.
    """

    def __init__(self, n_steps: int, dt: float, classes: int, neurons: dict[str, int]):
        super().__init__()
        self.dt, self.neurons = dt, neurons
        self.rate_accuracy = MulticlassAccuracy(classes, average="micro")
        self.spiking_accuracy = AccuracyAtEveryStep(n_steps)
        self.agreement = AccuracyAtEveryStep(n_steps)
        self.spikes = nn.ModuleList(MeanAtEveryStep(n_steps) for _ in neurons)  # a layer's name may hold a dot
        self.operations = MeanAtEveryStep(n_steps)
        self.confusion = MulticlassConfusionMatrix(classes)

    def update(self, rates: Float[Tensor, "batch classes"], spikes: Simulation, labels: Int[Tensor, " batch"]) -> None:
        """Add a batch: the rate mode's outputs, the simulation of the same images, their labels."""
        predictions = spikes.predictions
        self.rate_accuracy.update(rates, labels)
        self.spiking_accuracy.update(predictions, labels)
        self.agreement.update(predictions, rates.argmax(dim=-1))
        self.operations.update(spikes.synaptic_operations)
        self.confusion.update(predictions[-1], labels)
        for metric, counts in zip(self.spikes, spikes.spike_counts.values(), strict=True):
            metric.update(counts)  # type: ignore[operator]

    def reset(self) -> None:
        """Forget all batches."""
        for metric in self.modules():
            if isinstance(metric, Metric):
                metric.reset()

    def compute(self) -> Results:
        """The results of all batches so far."""
        return Results(
            rate_accuracy=float(self.rate_accuracy.compute()),
            spiking_accuracy=self.spiking_accuracy.compute().cpu(),
            agreement=self.agreement.compute().cpu(),
            spikes_per_neuron={
                name: metric.compute().cpu() / size  # type: ignore[operator]
                for (name, size), metric in zip(self.neurons.items(), self.spikes, strict=True)
            },
            synaptic_operations=self.operations.compute().cpu(),
            confusion=self.confusion.compute().cpu(),
            dt=self.dt,
        )
