"""Weights of a network with one kind of neuron, made ready for another kind: the rates stay as near as the neurons allow."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ratespike.neurons import Neuron
from ratespike.parameters import ParameterError
from ratespike.stateful import Stateful, replaced

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
    signals = _signals(trained, images)
    scales = {}
    for before, name, neuron, after in _neighbours(network):
        inputs, activations = signals[name]
        scales[name] = _nearest_scales(neuron, inputs, activations)
        of_weight = scales[name].to(before.weight)
        before.weight.div_(of_weight.view(-1, *(1,) * (before.weight.dim() - 1)))
        if before.bias is not None:
            before.bias.div_(of_weight)
        _multiply_inputs(after, of_weight)
    return scales


def check_can_be_rescaled(network: nn.Sequential) -> None:
    """Raise `ParameterError` if a network is not a row of layers with weights in front of and behind each layer of neurons."""
    for _ in _neighbours(network):
        pass


def _signals(network: nn.Sequential, images: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """The inputs and the activations of each layer of neurons."""
    names = {module: name for name, module in network.named_modules() if isinstance(module, Neuron)}
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def call(module: Stateful, signal: Tensor) -> Tensor:
        activation = module.in_rate_mode(signal)
        if isinstance(module, Neuron):
            found[names[module]] = (signal, activation)
        return activation

    with replaced(call):
        network(images)
    return found


def _neighbours(network: nn.Sequential) -> Iterator[tuple[nn.Conv2d | nn.Linear, str, Neuron, nn.Conv2d | nn.Linear]]:
    """Each layer of neurons with its name and the weights in front of it and behind it."""
    row = []
    for name, module in _layers(network):
        if isinstance(module, nn.Conv2d | nn.Linear | Neuron):
            row.append((name, module))
        elif list(module.parameters()):
            raise ParameterError(f"{name}: its weights cannot be rescaled for other neurons; only those of Conv and Dense can")
    for number, (name, module) in enumerate(row):
        if not isinstance(module, Neuron):
            continue
        before = row[number - 1][1] if number else None
        after = row[number + 1][1] if number + 1 < len(row) else None
        if not isinstance(before, nn.Conv2d | nn.Linear) or not isinstance(after, nn.Conv2d | nn.Linear):
            raise ParameterError(f"{name}: has no weights directly in front of it and behind it that could be rescaled")
        yield before, name, module, after


def _layers(network: nn.Sequential, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """What a network is a row of, also within rows in it."""
    for name, module in network.named_children():
        if isinstance(module, nn.Sequential):
            yield from _layers(module, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", module


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


def _multiply_inputs(layer: nn.Conv2d | nn.Linear, scales: Tensor) -> None:
    """Multiply the weights of a layer by the scales of the channels that they take; of Dense layers several places each."""
    weight = layer.weight
    if isinstance(layer, nn.Linear):
        weight.mul_(scales.repeat_interleave(weight.shape[1] // len(scales)))
        return
    of_group = scales.view(layer.groups, 1, -1).expand(-1, len(weight) // layer.groups, -1).reshape(len(weight), -1)
    weight.mul_(of_group[:, :, None, None])
