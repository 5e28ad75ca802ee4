"""What a test measured of rates against spikes, as plain numbers and arrays over the steps.

Everything that is logged, printed or drawn of a test follows from it (see `names.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ratespike.metrics.exits import ExitCurve
from ratespike.simulation.cost import NetworkCost

_WITHOUT_STEPS = ("rate_confusion", "labels", "rate_predictions")


@dataclass(frozen=True)
class Results:
    """What a test measured, over all its images: fractions, and arrays over the steps 1 ... n_steps.

    Attributes:
        rate_accuracy: of the rate mode.
        spiking_accuracy: after each step.
        agreement: fraction of images whose rate and spiking predictions agree, after each step.
        spikes_per_neuron: by neuron layer, mean number of spikes a neuron fires in each step.
        synaptic_operations: per image, in each step.
        confusion: images by true class (rows) and by class predicted from spikes, after each step.
        rate_confusion: images by true class (rows) and by class predicted from rates; zeros if that was not measured.
        running: fraction of images that are still simulated in each step.
        dt: the step, seconds.
        first: of how many first images the accuracies are reported too; 0 for none.
        first_rate_accuracy: of the first images alone.
        first_spiking_accuracy: of the first images alone, after each step.
        image_means: by metric that defines `of_each_image`, the mean over images in or after each step.
        exits: by criterion, what an early exit would give; nothing of simulations with one, and in results of earlier versions.
        exit_threshold: of the early exit that was simulated, if it was fitted on the validation images.
        labels: of each image; like the next two, of no image in results of earlier versions.
        rate_predictions: of each image from rates.
        predictions: of each image from spikes, after each step.
        cost: of the network whatever its spikes are; None in results of earlier versions.

    Example:
        >>> from ratespike import simulate
        >>> from ratespike.metrics import RateVsSpike
        >>> from ratespike.neurons import LIF
        >>> network, images = torch.nn.Sequential(LIF()), torch.eye(2)[[0, 1, 1]]
        >>> spikes = simulate(network, images, n_steps=20)
        >>> measured = RateVsSpike(n_steps=20, dt=0.001, classes=2, neurons=spikes.neurons)
        >>> measured.update(network(images), spikes, labels=torch.tensor([0, 1, 0]), image_index=torch.arange(3))
        >>> results = measured.compute()
        >>> results.class_images, results.rate_class_accuracy
        (tensor([2, 1]), tensor([0.5000, 1.0000], dtype=torch.float64))
    """

    rate_accuracy: float
    spiking_accuracy: Float[Tensor, " time"]
    agreement: Float[Tensor, " time"]
    spikes_per_neuron: dict[str, Float[Tensor, " time"]]
    synaptic_operations: Float[Tensor, " time"]
    confusion: Int[Tensor, "time classes classes"]
    rate_confusion: Int[Tensor, "classes classes"]
    running: Float[Tensor, " time"]
    dt: float
    first: int
    first_rate_accuracy: float
    first_spiking_accuracy: Float[Tensor, " time"]
    image_means: dict[str, Float[Tensor, " time"]] = field(default_factory=dict)
    exits: dict[str, ExitCurve] = field(default_factory=dict)
    exit_threshold: float | None = None
    labels: Int[Tensor, " images"] = field(default_factory=lambda: torch.zeros(0, dtype=torch.int16))
    rate_predictions: Int[Tensor, " images"] = field(default_factory=lambda: torch.zeros(0, dtype=torch.int16))
    predictions: Int[Tensor, "time images"] = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.int16))
    cost: NetworkCost | None = None

    @property
    def n_steps(self) -> int:
        """How many steps were simulated."""
        return len(self.spiking_accuracy)

    @property
    def n_images(self) -> int:
        """How many images were tested."""
        return int(self.confusion[-1].sum())

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return self.confusion.shape[-1]

    @property
    def class_images(self) -> Int[Tensor, " classes"]:
        """How many images of each class were tested."""
        return self.confusion[-1].sum(dim=1)

    @property
    def rate_class_accuracy(self) -> Float[Tensor, " classes"]:
        """Fraction of each class's images that are predicted right from rates; NaN for a class without images."""
        return _class_accuracy(self.rate_confusion)

    @property
    def spiking_class_accuracy(self) -> Float[Tensor, " classes"]:
        """The same from spikes, after the last step."""
        return _class_accuracy(self.confusion[-1])

    @property
    def mean_steps(self) -> float:
        """For how many steps an image was simulated, the mean."""
        return float(self.running.sum())

    def firing_rate_hz(self) -> dict[str, float]:
        """By neuron layer, spikes per neuron and second, over the steps that images were simulated for."""
        seconds = self.mean_steps * self.dt
        return {layer: float(spikes.sum()) / seconds for layer, spikes in self.spikes_per_neuron.items()}

    def until(self, n_steps: int) -> "Results":
        """The results of a simulation of only the first `n_steps` steps."""
        shorter: dict[str, Any] = {}
        for name, value in vars(self).items():
            if isinstance(value, Tensor) and name not in _WITHOUT_STEPS:
                shorter[name] = value[:n_steps]
            elif name == "exits":
                shorter[name] = {by: curve.until(n_steps) for by, curve in value.items()}
            elif isinstance(value, dict):
                shorter[name] = {key: values[:n_steps] for key, values in value.items()}
        return replace(self, **shorter)

    def arrays(self) -> dict[str, np.ndarray]:
        """The same as arrays by name, for a file; entries of a dictionary as `<attribute>/<key>`."""
        arrays = {}
        for name, value in vars(self).items():
            if name == "exits":
                for by, curve in value.items():
                    arrays.update({f"{name}/{by}/{key}": values.numpy() for key, values in vars(curve).items()})
            elif isinstance(value, NetworkCost):
                arrays.update(_cost_arrays(name, value))
            elif isinstance(value, dict):
                for key, values in value.items():
                    arrays[f"{name}/{key}"] = values.numpy()
            elif value is not None:
                arrays[name] = np.asarray(value)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Results":
        """The results of which `arrays` were made; other arrays among them are ignored."""
        known = {item.name for item in fields(cls)}
        values: dict[str, Any] = {"spikes_per_neuron": {}}  # a network may have no neuron layer
        cost: dict[str, Any] = {}
        for name, array in arrays.items():
            attribute, _, key = name.partition("/")
            if attribute == "cost":
                cost[key] = tuple(array.tolist()) if array.ndim else array.item()
                continue
            value = torch.from_numpy(array) if array.ndim else array.item()
            if attribute in known and key:
                values.setdefault(attribute, {})[key] = value
            elif attribute in known:
                values[attribute] = value
        if "exits" in values:
            values["exits"] = _exit_curves(values["exits"])
        if cost:
            values["cost"] = NetworkCost(**cost)
        if "rate_confusion" not in values:  # kept by an earlier version
            values["rate_confusion"] = torch.zeros_like(values["confusion"][-1])
        return cls(**values)


def _cost_arrays(name: str, cost: NetworkCost) -> dict[str, np.ndarray]:
    """A network's cost as arrays: numbers, and the names of layers."""
    arrays = {}
    for key, value in vars(cost).items():
        arrays[f"{name}/{key}"] = np.asarray(value, dtype=str if isinstance(value, tuple) else None)
    return arrays


def _exit_curves(values: Mapping[str, Tensor]) -> dict[str, ExitCurve]:
    """The curves by criterion, of which `values` holds the parts as `<criterion>/<attribute>`."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, part in values.items():
        by, _, attribute = name.partition("/")
        parts.setdefault(by, {})[attribute] = part
    return {by: ExitCurve(**own) for by, own in parts.items()}


def _class_accuracy(confusion: Int[Tensor, "classes classes"]) -> Float[Tensor, " classes"]:
    """Fraction of each class's images that are predicted right, known as its recall; NaN for a class without images."""
    return confusion.diagonal().double() / confusion.sum(dim=1)
