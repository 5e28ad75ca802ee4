"""Rates against spikes on the same images: what one checkpoint and one simulation tell."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassConfusionMatrix

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
        mean_steps: how many steps an image was simulated for.
        dt: the step, seconds.
        first_images: accuracies of the first images alone, by the name that tells how many; empty if not asked for.
    """

    rate_accuracy: float
    spiking_accuracy: Float[Tensor, " time"]
    agreement: Float[Tensor, " time"]
    spikes_per_neuron: dict[str, Float[Tensor, " time"]]
    synaptic_operations: Float[Tensor, " time"]
    confusion: Int[Tensor, "classes classes"]
    mean_steps: float
    dt: float
    first_images: dict[str, float]

    @property
    def n_steps(self) -> int:
        """How many steps were simulated."""
        return len(self.spiking_accuracy)

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
            **self.first_images,
        }


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
        self.dt, self.neurons, self.report_first = dt, neurons, report_first
        self.rate_accuracy, self.first_rate_accuracy = AccuracyAtEveryStep(1), AccuracyAtEveryStep(1)
        self.spiking_accuracy, self.first_spiking_accuracy = AccuracyAtEveryStep(n_steps), AccuracyAtEveryStep(n_steps)
        self.agreement = AccuracyAtEveryStep(n_steps)
        self.spikes = nn.ModuleList(MeanAtEveryStep(n_steps) for _ in neurons)  # a layer's name may hold a dot
        self.operations = MeanAtEveryStep(n_steps)
        self.steps = MeanAtEveryStep(1)
        self.confusion = MulticlassConfusionMatrix(classes)

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
        if self.report_first is not None:
            first = image_index < self.report_first
            self.first_rate_accuracy.update(rate_predictions[:, first], labels[first])
            self.first_spiking_accuracy.update(predictions[:, first], labels[first])
        self.operations.update(spikes.synaptic_operations)
        self.steps.update(spikes.steps.unsqueeze(0))
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
        first_images = {}
        if self.report_first is not None:
            for mode, metric in (("rate", self.first_rate_accuracy), ("spiking", self.first_spiking_accuracy)):
                first_images[f"first_{self.report_first}_images/{mode}_accuracy"] = float(_values(metric)[-1])
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
            mean_steps=float(_values(self.steps)[0]),
            dt=self.dt,
            first_images=first_images,
        )


def _values(metric: Metric) -> Float[Tensor, " time"]:
    values: Tensor = metric.compute()
    return values.cpu().reshape(-1)  # torchmetrics makes a scalar of one value
