"""A network as a row of layers: each layer of neurons with the weights in front of it and behind it, which methods change."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeGuard

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ratespike.neurons import Neuron
from ratespike.parameters import ParameterError
from ratespike.stateful import Stateful, replaced
from ratespike.synapses import Synapse

# They keep channels apart, and of inputs that are scaled by a positive number the outputs are scaled alike.
_KEEP_SCALES = (nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Dropout, nn.Dropout2d, nn.Identity)


Weights = nn.Conv2d | nn.Linear | nn.BatchNorm2d | nn.BatchNorm1d  # a row for each channel that the layer gives


@dataclass(frozen=True)
class NeuronLayer:
    """A layer of neurons and its neighbours in the row.

    Attributes:
        name: of the neurons.
        neuron: what they are.
        before: the weights in front of them, those of a batch normalisation if there is one.
        after: the weights behind them.
    """

    name: str
    neuron: Neuron
    before: Weights
    after: nn.Conv2d | nn.Linear

    @torch.no_grad()
    def rescale(self, scales: Float[Tensor, " channels"]) -> None:
        """Divide the inputs of each channel of neurons by a scale, and multiply what the next layer gets by it."""
        scales = scales.to(self.before.weight)
        self.before.weight.div_(scales.view(-1, *(1,) * (self.before.weight.dim() - 1)))
        if self.before.bias is not None:
            self.before.bias.div_(scales)
        _multiply_inputs(self.after, scales)


def neuron_layers(network: nn.Module) -> list[NeuronLayer]:
    """Each layer of neurons, with the weights in front of it and behind it.

    Raises:
        ParameterError: a network that is not a row of layers, or has no weights in front of and behind a layer of neurons, or
            has layers behind its first weights that mix channels or are not positively homogeneous.

    Example:
        >>> from ratespike.neurons import IntegrateAndFire
        >>> network = nn.Sequential(nn.Linear(4, 8), IntegrateAndFire(), nn.Linear(8, 3))
        >>> [(layer.name, layer.after.out_features) for layer in neuron_layers(network)]
        [('1', 3)]
    """
    row = _row(network)
    found = []
    for number, (name, module) in enumerate(row):
        if not isinstance(module, Neuron):
            continue
        before = row[number - 1][1] if number else None
        after = row[number + 1][1] if number + 1 < len(row) else None
        if not isinstance(before, Weights) or not isinstance(after, nn.Conv2d | nn.Linear):
            raise ParameterError(f"{name}: has no weights directly in front of it and behind it that could be changed")
        found.append(NeuronLayer(name, module, before, after))
    return found


def last_weights(network: nn.Module) -> Weights | None:
    """The weights nearest to the output; None of a network without; raises `ParameterError` as `neuron_layers` does."""
    weights = [module for _, module in _row(network) if not isinstance(module, Neuron)]
    return weights[-1] if weights else None


def signals_of_neurons(network: nn.Module, images: Float[Tensor, "batch ..."]) -> dict[str, tuple[Tensor, Tensor]]:
    """By layer of neurons the inputs and the activations on rates, shape (batch, channels, ...)."""
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


def _row(network: nn.Module) -> list[tuple[str, Weights | Neuron]]:
    """The weights and the neurons of a network by name, in order; raises `ParameterError` for what may not be between them."""
    if not isinstance(network, nn.Sequential):
        kind = type(network).__name__
        raise ParameterError(f"network: is a {kind}; its weights can only be changed in a row of layers, a torch.nn.Sequential")
    row: list[tuple[str, Weights | Neuron]] = []
    for name, module in _layers(network):
        if isinstance(module, Neuron) or _has_rows(module):
            row.append((name, module))
        elif list(module.parameters()):
            raise ParameterError(f"{name}: its weights cannot be changed; only those of Conv, Dense and BatchNorm can")
        elif row and not _keeps_scales(module):  # what is in front of the first weights stays as it is
            raise ParameterError(
                f"{name}: weights cannot be changed around a {type(module).__name__}; only around pooling, Flatten(), Dropout, "
                "Identity and filters"
            )
    return row


def _has_rows(module: nn.Module) -> TypeGuard[Weights]:
    """Whether it has weights for each channel that it gives; those of a batch normalisation may be left out."""
    return isinstance(module, Weights) and module.weight is not None


def _keeps_scales(module: nn.Module) -> bool:
    if isinstance(module, nn.Flatten):
        return (module.start_dim, module.end_dim) == (1, -1)  # else channels are not where Dense layers have their inputs
    return isinstance(module, (*_KEEP_SCALES, Synapse))


def _layers(network: nn.Sequential, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """What a network is a row of, also within rows in it."""
    for name, module in network.named_children():
        if isinstance(module, nn.Sequential):
            yield from _layers(module, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", module


def _multiply_inputs(layer: nn.Conv2d | nn.Linear, scales: Tensor) -> None:
    """Multiply the weights of a layer by the scales of the channels that they take; of Dense layers several places each."""
    weight = layer.weight
    if isinstance(layer, nn.Linear):
        weight.mul_(scales.repeat_interleave(weight.shape[1] // len(scales)))
        return
    of_group = scales.view(layer.groups, 1, -1).expand(-1, len(weight) // layer.groups, -1).reshape(len(weight), -1)
    weight.mul_(of_group[:, :, None, None])
