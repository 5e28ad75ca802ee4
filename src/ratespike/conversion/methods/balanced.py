"""Balancing: a high percentile of a layer's activations becomes the highest useful rate."""

import copy
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ratespike.conversion.convert import BalancedNeuron, Converted
from ratespike.conversion.methods.base import Conversion
from ratespike.conversion.row import neuron_layers, signals_of_neurons
from ratespike.neurons import Neuron
from ratespike.neurons.base import TunedNeuron
from ratespike.parameters import ParameterError, parameter

_INPUTS = (0.01, 0.1, 0.5, 1.0, 2.0)  # at which a rate is tried for being proportional


@dataclass(frozen=True, kw_only=True)
class Balanced(Conversion):
    """Scales the weights so that a high percentile of the activations of a layer, or of a channel, is at `max_rate`.

    The weights in front of the neurons are divided by a scale, and those behind them multiplied by it. Where the rate is
    proportional to a positive input, as that of rectified linear neurons is, the network computes on rates what it did before;
    other neurons are refused. A rate above `max_rate` may be more than a spike a step, and is cut off; one far below it takes
    many steps to be told apart from others.

    A network that `convert` has made keeps its weights: the scales that stand around its neurons are set anew, one a layer.

    Source: Diehl et al. 2015, "Fast-classifying, high-accuracy spiking deep networks through weight and threshold balancing",
    doi:10.1109/IJCNN.2015.7280696, with the largest activation (`percentile=100`); Rueckauer et al. 2017,
    doi:10.3389/fnins.2017.00682, section 2.2.2, with a percentile.

    Attributes:
        percentile: of the activations, in percent.
        per: whether a `layer` has one scale, or each `channel` its own.
        images: how many training images are looked at.

    Raises:
        ParameterError: a network that is not a row of layers with weights in front of and behind each layer of neurons; neurons
            whose rate is not proportional to a positive input.

    Example:
        >>> from ratespike.neurons import IntegrateAndFire
        >>> network = nn.Sequential(nn.Linear(1, 1), IntegrateAndFire(max_rate=1000), nn.Linear(1, 1))
        >>> images = torch.full((5, 1), 4 / network[0].weight.item())
        >>> balanced = Balanced(percentile=100).converted(network, images)
        >>> bool(torch.allclose(balanced(images), network(images))), bool((balanced[:2](images) - 1).abs().max() < 1e-6)
        (True, True)
    """

    percentile: float = parameter(99.0, above=0, at_most=100)
    per: str = parameter("channel", choices=("layer", "channel"))
    images: int = parameter(500, at_least=1)

    @property
    def n_images(self) -> int:
        return self.images

    def check(self, network: nn.Module) -> None:
        if isinstance(network, Converted):
            for name, balanced in network.neurons.items():
                assert isinstance(balanced, BalancedNeuron)
                _check_proportional(name, balanced.neuron)
            return
        for layer in neuron_layers(network):
            _check_proportional(layer.name, layer.neuron)

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
        if not len(images):
            raise ParameterError("images: there are none; give some training images")
        balanced = copy.deepcopy(network).eval()
        self.check(balanced)
        if isinstance(balanced, Converted):
            self._set_scales(balanced, images[: self.images])
            return balanced
        signals = signals_of_neurons(balanced, images[: self.images])
        for layer in neuron_layers(balanced):
            _, activations = signals[layer.name]
            assert isinstance(layer.neuron, TunedNeuron)
            layer.rescale(self._scales(activations) / (layer.neuron.scale * layer.neuron.max_rate))
        return balanced

    def _set_scales(self, network: Converted, images: Tensor) -> None:
        """Set the scales around the neurons of a converted network, which then computes on rates what it did before."""
        activations: dict[nn.Module, Tensor] = {}

        def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            activations[module] = output

        hooks = [balanced.register_forward_hook(keep) for balanced in network.neurons.values()]
        network(images)
        for hook in hooks:
            hook.remove()
        one_a_layer = replace(self, per="layer")
        for balanced, values in activations.items():
            assert isinstance(balanced, BalancedNeuron) and isinstance(balanced.neuron, TunedNeuron)
            scale = one_a_layer._scales(values.flatten(1).unsqueeze(1))[0]
            larger = scale / (balanced.neuron.scale * balanced.neuron.max_rate) / balanced.out_scale
            balanced.in_scale /= larger
            balanced.out_scale *= larger

    def _scales(self, activations: Float[Tensor, "batch channels ..."]) -> Float[Tensor, " channels"]:
        """The percentile of each channel's activations, or of the layer's; if that is 0 the largest, if that is too 1."""
        of_channels = activations.movedim(1, 0).flatten(1)  # (channels, images and places)
        rows = of_channels if self.per == "channel" else of_channels.reshape(1, -1)
        place = max(1, round(self.percentile / 100 * rows.shape[1]))
        scales = rows.kthvalue(place, dim=1).values
        scales = torch.where(scales > 0, scales, rows.amax(1))
        return torch.where(scales > 0, scales, 1).expand(len(of_channels))


def _check_proportional(name: str, neuron: Neuron) -> None:
    """Raise `ParameterError` for neurons whose rate is not proportional to a positive input."""
    inputs = torch.tensor(_INPUTS, dtype=torch.float64)
    rates = neuron.in_rate_mode(inputs)
    if not isinstance(neuron, TunedNeuron) or not torch.allclose(rates, rates[-1] * inputs / inputs[-1]):
        kind = type(neuron).__name__
        raise ParameterError(
            f"{name}: the rate of this {kind} is not proportional to a positive input: scaled weights would change "
            "what the network computes; try conversion=calibrated"
        )
