"""A network cut where it has memory: stateless layers, then a neuron or a filter, and so on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ratespike.neurons import Neuron
from ratespike.synapses import Synapse


@dataclass(frozen=True)
class Segment:
    """Stateless layers and what ends them: a neuron, a filter, or nothing at the network's end.

    Attributes:
        layers: applied in this order, before the ending.
        ending: the module with memory.
        name: the ending's name in the network.
    """

    layers: tuple[nn.Module, ...]
    ending: Neuron | Synapse | None
    name: str

    def input(self, signal: Tensor) -> Tensor:
        """What arrives at the ending: a neuron's current, a filter's signal."""
        for layer in self.layers:
            signal = layer(signal)
        return self.ending.current(signal) if isinstance(self.ending, Neuron) else signal


def split_into_segments(network: nn.Module) -> list[Segment]:
    """Cut a network (nested `nn.Sequential`s of layers, neurons and filters) into segments.

    Raises:
        ValueError: the network has no neuron, or is not a sequence.
    """
    segments: list[Segment] = []
    layers: list[nn.Module] = []
    for name, module in _flat(network, ""):
        if isinstance(module, Neuron | Synapse):
            segments.append(Segment(tuple(layers), module, name))
            layers = []
        else:
            layers.append(module)
    segments.append(Segment(tuple(layers), None, ""))
    if not any(isinstance(segment.ending, Neuron) for segment in segments):
        raise ValueError("the network has no spiking neuron to simulate: put one, such as LIF(), behind a layer")
    return segments


def layers_until_neuron(segments: list[Segment], number: int) -> tuple[nn.Module, ...]:
    """The stateless layers from segment `number` to the next neuron or the network's end; filters lie in between."""
    layers: tuple[nn.Module, ...] = ()
    for segment in segments[number:]:
        layers += segment.layers
        if isinstance(segment.ending, Neuron):
            break
    return layers


def _flat(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(module, nn.Sequential):
        for child_name, child in zip(module._modules, module, strict=True):
            yield from _flat(child, f"{name}.{child_name}" if name else child_name)
    elif not isinstance(module, Neuron | Synapse) and any(isinstance(m, Neuron | Synapse) for m in module.modules()):
        raise ValueError(f"{type(module).__name__} holds neurons but is not a nn.Sequential: only sequences can be simulated")
    else:
        yield name, module


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Eval mode inside, each module's own mode again afterwards."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@dataclass(frozen=True)
class FanOut:
    """How many weights an image and each spike meet: the work that they make for an event-driven machine.

    Attributes:
        first_operations: multiply-adds of the first current, which an image makes once.
        weights_met: by neuron layer, in the network's order, how many weights a spike of each neuron meets on its way to
            the next neurons; shape (channels, height, width) or (features,), float64.
        output_shape: of the network's output, without batch.
    """

    first_operations: int
    weights_met: dict[str, Float[Tensor, " *shape"]]
    output_shape: torch.Size


def fan_out(segments: list[Segment], image: Float[Tensor, " one *shape"]) -> FanOut:
    """Count the weights that an image and the spikes of each neuron layer meet.

    Args:
        segments: a network.
        image: one image: its shape, dtype and device matter, its values do not.

    Raises:
        ValueError: a layer whose weights cannot be counted.

    Example:
        >>> from ratespike.neurons import LIF
        >>> network = nn.Sequential(nn.Linear(4, 8), LIF(), nn.Linear(8, 3))
        >>> counted = fan_out(split_into_segments(network), torch.zeros(1, 4))
        >>> counted.first_operations, counted.weights_met, counted.output_shape
        (32, {'1': tensor([3., 3., 3., 3., 3., 3., 3., 3.], dtype=torch.float64)}, torch.Size([3]))
    """
    first = weights_met(layers_until_neuron(segments, 0), image.shape[1:], image.device)
    met: dict[str, Tensor] = {}
    signal = image
    for number, segment in enumerate(segments):
        signal = segment.input(signal.to(image.dtype))
        if isinstance(segment.ending, Neuron):
            behind = layers_until_neuron(segments, number + 1)
            met[segment.name] = weights_met(behind, signal.shape[1:], signal.device)
    return FanOut(int(first.sum()), met, signal.shape[1:])


def weights_met(layers: tuple[nn.Module, ...], shape: torch.Size, device: torch.device) -> Float[Tensor, " *shape"]:
    """How many weights a spike in each place meets on its way through stateless layers.

    A weight is met where a convolution or dense layer multiplies the spike with it, so that borders and the cells that a
    pooling drops count as they are. With several weight layers in a row, the spike's every path counts. The sum over all
    places is the number of multiply-adds of one dense pass.

    Args:
        layers: applied in this order.
        shape: of the signal in front of them, without batch.
        device: where to compute.
    """
    has_channels = len(shape) in (1, 3)  # or features: what holds for one holds for all
    alike, one = (shape[0], (1, *shape[1:])) if has_channels else (1, shape)
    with torch.inference_mode(False), torch.enable_grad():
        place = torch.ones(1, *one, dtype=torch.float64, device=device, requires_grad=True)
        passed, channels, multiplications = place, alike, place.sum() * 0
        for layer in layers:
            passed, channels, weighted = _connections(layer, passed, channels)
            if weighted:
                multiplications = multiplications + passed.sum() * channels
        return (torch.autograd.grad(multiplications, place)[0][0] / max(1, alike)).expand(shape)


def _connections(layer: nn.Module, signal: Tensor, channels: int) -> tuple[Tensor, int, bool]:
    """One of `channels` equal channels behind the layer with each of its connections of strength 1, how many there are
    then, and whether a connection is a weight."""
    if isinstance(layer, nn.Conv2d):
        ones = signal.new_ones(1, 1, *layer.kernel_size)
        passed = F.conv2d(signal, ones, None, layer.stride, layer.padding, layer.dilation)
        return passed * (channels // layer.groups), layer.out_channels, True
    if isinstance(layer, nn.Linear):
        total = signal.sum(-1, keepdim=True)
        return (
            (total * channels, layer.out_features, True) if signal.dim() == 2 else (total, channels * layer.out_features, True)
        )
    if isinstance(layer, nn.AvgPool2d):
        passed = F.avg_pool2d(signal, layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode, divisor_override=1)
        return passed, channels, False
    if isinstance(layer, nn.Flatten):
        return layer(signal), channels, False
    if isinstance(layer, nn.Dropout | nn.Identity):
        return signal, channels, False
    raise ValueError(f"cannot simulate {type(layer).__name__}: known are Conv2d, Linear, AvgPool2d, Flatten, Dropout, Identity")
