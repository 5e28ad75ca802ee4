"""Rates against spikes on the same images: how one trained network answers in both modes, after each step."""

import torch
import torchmetrics
from jaxtyping import Float, Int
from torch import Tensor, nn

from ratespike.metrics import Metric, names
from ratespike.metrics.exits import ExitCurve, exit_curve
from ratespike.metrics.over_time import (
    AccuracyAtEveryStep,
    ConfusionAtEveryStep,
    MeanAtEveryStep,
    PredictionsAtEveryStep,
    ValuesOfImages,
)
from ratespike.metrics.results import Results
from ratespike.simulation import Simulation
from ratespike.simulation.cost import NetworkCost
from ratespike.simulation.early_exit import CRITERIA, ExitScores


class RateVsSpike(nn.Module):
    """Accumulates `Results` batch by batch, over any number of processes.

    Args:
        n_steps: length of the simulations.
        dt: the step, seconds.
        classes: number of classes.
        neurons: by neuron layer, how many neurons it has.
        report_first: report the accuracies of this many first images too.

    Example:
        >>> from ratespike import simulate
        >>> from ratespike.neurons import LIF
        >>> network, images = nn.Sequential(LIF()), torch.eye(3)
        >>> spikes = simulate(network, images, n_steps=20, start="half")
        >>> measured = RateVsSpike(n_steps=20, dt=0.001, classes=3, neurons=spikes.neurons)
        >>> measured.update(network(images), spikes, labels=torch.tensor([0, 1, 1]), image_index=torch.arange(3))
        >>> results = measured.compute()
        >>> round(results.rate_accuracy, 3), round(names.final(results)["spiking_accuracy"], 3), results.n_images
        (0.667, 0.667, 3)
    """

    def __init__(self, n_steps: int, dt: float, classes: int, neurons: dict[str, int], report_first: int | None = None):
        super().__init__()
        self.n_steps = n_steps
        self.dt = dt
        self.neurons = neurons
        self.first = report_first or 0
        self.rate_accuracy = AccuracyAtEveryStep(1)
        self.first_rate_accuracy = AccuracyAtEveryStep(1)
        self.spiking_accuracy = AccuracyAtEveryStep(n_steps)
        self.first_spiking_accuracy = AccuracyAtEveryStep(n_steps)
        self.agreement = AccuracyAtEveryStep(n_steps)
        self.spikes = nn.ModuleList(MeanAtEveryStep(n_steps) for _ in neurons)  # a list: a layer's name may hold a dot
        self.operations = MeanAtEveryStep(n_steps)
        self.running = MeanAtEveryStep(n_steps)
        self.confusion = ConfusionAtEveryStep(n_steps, classes)
        self.rate_confusion = ConfusionAtEveryStep(1, classes)
        self.rate_predictions = PredictionsAtEveryStep()
        self.predictions = PredictionsAtEveryStep()
        self.labels = PredictionsAtEveryStep()
        self.exits = ValuesOfImages()
        self.classes = classes
        self.cost: NetworkCost | None = None
        self.image_means = nn.ModuleList(MeanAtEveryStep(n_steps) for _ in self._metrics_of_each_image())

    def update(
        self,
        rates: Float[Tensor, "batch classes"],
        spikes: Simulation,
        labels: Int[Tensor, " batch"],
        image_index: Int[Tensor, " batch"],
    ) -> None:
        """Add a batch.

        Args:
            rates: the rate mode's outputs.
            spikes: the simulation of the same images.
            labels: their classes.
            image_index: their numbers in the data set, of which the lowest are its first images.
        """
        rate_predictions = rates.argmax(dim=-1).unsqueeze(0)  # (1, batch)
        predictions = spikes.predictions  # (time, batch)
        self.rate_accuracy.update(rate_predictions, labels)
        self.spiking_accuracy.update(predictions, labels)
        self.agreement.update(predictions, rate_predictions[0])
        if self.first:
            is_first = image_index < self.first
            self.first_rate_accuracy.update(rate_predictions[:, is_first], labels[is_first])
            self.first_spiking_accuracy.update(predictions[:, is_first], labels[is_first])
        self.operations.update(spikes.synaptic_operations)
        self.cost = spikes.cost
        self.running.update(torch.arange(spikes.n_steps, device=labels.device).unsqueeze(1) < spikes.steps)
        self.confusion.update(predictions, labels)
        self.rate_confusion.update(rate_predictions, labels)
        self.rate_predictions.update(rate_predictions, image_index)
        self.predictions.update(predictions, image_index)
        self.labels.update(labels.unsqueeze(0), image_index)
        whole = spikes if spikes.stopped_after is None else spikes.first(0)  # no image, of simulations with an early exit
        n_whole = whole.outputs.shape[1]
        scores = [ExitScores(by).extend(whole.outputs) for by in CRITERIA] if self.classes > 1 else []
        self.exits.update(whole.predictions == labels[:n_whole], whole.synaptic_operations, *scores)
        for mean, counts in zip(self.spikes, spikes.spike_counts.values(), strict=True):
            mean.update(counts)  # type: ignore[operator]
        for mean, metric in zip(self.image_means, self._metrics_of_each_image(), strict=True):
            mean.update(metric.of_each_image(rates, spikes, labels))  # type: ignore[misc, operator]

    def reset(self) -> None:
        """Forget all batches."""
        for metric in self.modules():
            if isinstance(metric, torchmetrics.Metric):
                metric.reset()

    def compute(self) -> Results:
        """The results of all batches so far."""
        first_rate_accuracy = 0.0
        first_spiking_accuracy = torch.zeros(0)
        if self.first:
            first_rate_accuracy = float(_values(self.first_rate_accuracy)[0])
            first_spiking_accuracy = _values(self.first_spiking_accuracy)
        spikes_per_neuron = {}
        for (layer, n_neurons), mean in zip(self.neurons.items(), self.spikes, strict=True):
            spikes_per_neuron[layer] = _values(mean) / n_neurons
        image_means = {}
        for metric, mean in zip(self._metrics_of_each_image(), self.image_means, strict=True):
            image_means[metric.name] = _values(mean)
        return Results(
            rate_accuracy=float(_values(self.rate_accuracy)[0]),
            spiking_accuracy=_values(self.spiking_accuracy),
            agreement=_values(self.agreement),
            spikes_per_neuron=spikes_per_neuron,
            synaptic_operations=_values(self.operations),
            confusion=self.confusion.compute().cpu(),
            rate_confusion=self.rate_confusion.compute()[0].cpu(),
            running=_values(self.running),
            dt=self.dt,
            first=self.first,
            first_rate_accuracy=first_rate_accuracy,
            first_spiking_accuracy=first_spiking_accuracy,
            image_means=image_means,
            exits=self._exit_curves(),
            labels=_predictions(self.labels, 1)[0],
            rate_predictions=_predictions(self.rate_predictions, 1)[0],
            predictions=_predictions(self.predictions, self.n_steps),
            cost=self.cost,
        )

    def _exit_curves(self) -> dict[str, ExitCurve]:
        """By criterion, what an early exit would give; nothing if the simulations had one, or if there is one class."""
        right, operations, *scores = self.exits.compute().cpu()
        if self.classes == 1 or not right.shape[1]:
            return {}
        return {by: exit_curve(own, right, operations) for by, own in zip(CRITERIA, scores, strict=True)}

    def _metrics_of_each_image(self) -> list[Metric]:
        """The metrics that need a mean over images of their own; asked for anew, as a pickled module cannot hold functions."""
        return [metric for metric in names.metrics() if metric.of_each_image is not None and metric.suits(self.classes)]


def _values(metric: nn.Module) -> Float[Tensor, " time"]:
    """What a metric has accumulated over all processes; torchmetrics makes a scalar of one value."""
    assert isinstance(metric, torchmetrics.Metric)
    values: Tensor = metric.compute()
    return values.cpu().reshape(-1)


def _predictions(metric: PredictionsAtEveryStep, n_steps: int) -> Int[Tensor, "time images"]:
    """The predictions of all processes; torchmetrics makes a scalar of one value."""
    values: Tensor = metric.compute()
    return values.cpu().reshape(n_steps, -1)
