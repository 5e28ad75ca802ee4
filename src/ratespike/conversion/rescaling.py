"""Weights of a network with one kind of neuron, made ready for another kind: the rates stay as near as the neurons allow."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ratespike.conversion.row import neuron_layers, signals_of_neurons
from ratespike.neurons import Neuron

_SCALES = torch.logspace(-2, 0.3, 70)  # that are tried, of the largest activation


@torch.no_grad()
def rescale(network: nn.Sequential, trained: nn.Sequential, images: Float[Tensor, "batch ..."]) -> dict[str, Tensor]:
    """Divide the inputs of each channel of neurons by a scale, and multiply what the next layer gets by it.

    The scale is the one at which the new neuron's activation, times the scale, comes nearest to that of the trained network, by
    least squares over images and places. Of neurons whose rate is proportional to a positive input, such as rectified linear
    ones, the function stays what it is.

    Args:
        network: has the trained weights, and other neurons; it is changed.
        trained: the network as it was trained.
        images: of the training, on which the activations are looked at.

    Returns:
        By neuron layer the scales, shape (channels,).

    Raises:
        ParameterError: a network that is not a row of layers with weights in front of and behind each layer of neurons.
    """
    signals = signals_of_neurons(trained, images)
    scales = {}
    for layer in neuron_layers(network):
        inputs, activations = signals[layer.name]
        scales[layer.name] = _nearest_scales(layer.neuron, inputs, activations)
        layer.rescale(scales[layer.name])
    return scales


def _nearest_scales(neuron: Neuron, inputs: Tensor, activations: Tensor) -> Tensor:
    """For each channel the scale with the least squared error."""
    channels_first = (1, 0, *range(2, inputs.dim()))
    inputs = inputs.permute(channels_first).flatten(1)  # (channels, images and places)
    activations = activations.permute(channels_first).flatten(1)
    largest = activations.amax(1)
    best = largest.clone()
    least = torch.full_like(largest, float("inf"))
    for part in _SCALES.tolist():
        scale = part * largest
        given = neuron.in_rate_mode(inputs / scale[:, None]) * scale[:, None]
        error = (given - activations).square().mean(1)
        best = torch.where(error < least, scale, best)
        least = torch.minimum(error, least)
    return torch.where(largest > 0, best, 1)  # 1 of a channel that is never active
