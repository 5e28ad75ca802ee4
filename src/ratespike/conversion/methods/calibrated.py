"""Calibration: biases take in what spikes miss of rates in a few steps."""

import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ratespike.conversion.methods.base import Conversion
from ratespike.conversion.row import NeuronLayer, Weights, last_weights, neuron_layers, signals_of_neurons
from ratespike.parameters import ParameterError, parameter
from ratespike.simulation import simulate
from ratespike.simulation.mean_spikes import mean_spikes

_AT_ONCE = 50  # images: bounds the memory that their spikes take


@dataclass(frozen=True, kw_only=True)
class Calibrated(Conversion):
    """Shifts the bias of each channel by what its spikes miss of its rates, layer by layer.

    On training images the activation of each channel on rates is compared with the mean of the pulses that it sends in
    `n_steps` steps. The bias in front of the neurons grows by the mean difference over images and places. The next layer is
    compared when those in front of it have been shifted; at last the mean output is.

    Source: Li et al. 2021, "A free lunch from ANN: towards efficient, accurate spiking neural networks calibration",
    arXiv:2106.06984, the light pipeline's correction of biases. That of start voltages is left out: to a
    neuron without leak a bias brings the same charge in the window.

    Attributes:
        n_steps: after how many steps the spikes are to be like the rates.
        images: how many training images are looked at.

    Raises:
        ParameterError: a network that is not a row of layers with weights in front of and behind each layer of neurons, those
            behind the last one being the network's last.

    Example:
        >>> from ratespike.neurons import IntegrateAndFire
        >>> network = nn.Sequential(nn.Linear(1, 1), IntegrateAndFire(max_rate=1000), nn.Linear(1, 1))
        >>> with torch.no_grad():
        ...     for values in network.parameters():
        ...         _ = values.fill_(0.25)  # an activation of 0.5 at an input of 1
        >>> spiking = Calibrated(n_steps=1).converted(network, torch.ones(5, 1), start="zero")
        >>> spiking[0].bias.item(), spiking[2].bias.item()
        (0.75, 0.125)
    """

    n_steps: int = parameter(8, at_least=1, at_most=1000)
    images: int = parameter(500, at_least=1)

    @property
    def n_images(self) -> int:
        return self.images

    def check(self, network: nn.Module) -> None:
        layers = neuron_layers(network)
        if not layers:
            raise ParameterError("network: has no neurons to calibrate; try conversion=none")
        if layers[-1].after is not last_weights(network):
            raise ParameterError(
                f"{layers[-1].name}: has more than one layer of weights behind it; Calibrated needs a single one behind the "
                "last neurons, whose outputs it compares"
            )

    @torch.no_grad()
    def converted(
        self,
        network: nn.Module,
        images: Float[Tensor, "batch ..."],
        dt: float = 0.001,
        *,
        start: str = "uniform",
        seed: int = 0,
    ) -> nn.Module:
        parts = images[: self.images].split(_AT_ONCE)
        if not len(images):
            raise ParameterError("images: there are none; give some training images")
        trained = copy.deepcopy(network).eval()
        calibrated = copy.deepcopy(trained)
        self.check(calibrated)
        layers = neuron_layers(calibrated)
        for layer in layers:
            missing = _Mean(layer.before)
            for number, part in enumerate(parts):
                _, rates = signals_of_neurons(trained, part)[layer.name]
                (spikes,) = mean_spikes(calibrated, part, self.n_steps, dt, [layer.name], start=start, seed=seed + number)
                missing.add(rates - spikes * (layer.neuron.scale / dt))
            _shift(layer.before, missing.value() / _slope(layer))
        output = layers[-1].after
        missing = _Mean(output)
        for number, part in enumerate(parts):
            result = simulate(calibrated, part, self.n_steps, dt, start=start, seed=seed + number, readout="mean")
            missing.add(trained(part) - result.outputs[-1])
        _shift(output, missing.value())
        return calibrated


class _Mean:
    """The mean of each channel that a layer makes, over images and places.

    Args:
        layer: has as many channels as it has rows of weights.
    """

    def __init__(self, layer: Weights) -> None:
        self._sum = torch.zeros(len(layer.weight), dtype=torch.float64, device=layer.weight.device)
        self._n_values = 0

    def add(self, values: Float[Tensor, "batch ..."]) -> None:
        """Take in the values of some more images, which may have been flattened."""
        of_channels = values.flatten(1).unflatten(1, (len(self._sum), -1))  # (batch, channels, places)
        self._sum += of_channels.double().sum((0, 2))
        self._n_values += len(values) * of_channels.shape[2]

    def value(self) -> Float[Tensor, " channels"]:
        """The mean of all values so far."""
        return self._sum / self._n_values


def _slope(layer: NeuronLayer) -> float:
    """How much the neurons' activation grows with their input, from an input of 0 to one of 1."""
    silent, active = layer.neuron.in_rate_mode(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
    return active - silent if active > silent else 1.0


def _shift(layer: Weights, shift: Float[Tensor, " channels"]) -> None:
    """Add to the biases of a layer, which may have had none."""
    shift = shift.to(layer.weight)
    layer.bias = nn.Parameter(shift if layer.bias is None else layer.bias + shift)
