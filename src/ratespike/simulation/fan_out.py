"""How many weights an image and each spike meet: the work of an event-driven machine, which computes where something happens.

A spike goes along every connection of its neuron, and each connection with a weight costs one multiply-add. How many there are
depends on the neuron's place: at an image's border a kernel has fewer neighbours, and a pooling may drop the last row.

They are counted by one pass with all weights 1, whose result is the number of connections, as a sum over the places. Its
derivative by one place is that place's number. All channels of a layer have the same connections, so one stands for all.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ratespike.neurons import Neuron
from ratespike.simulation.segments import Segment, layers_until_neuron


@dataclass(frozen=True)
class FanOut:
    """How many weights an image and each spike meet in a network.

    Attributes:
        first_operations: multiply-adds of the first current, which an image makes once.
        weights_met: by neuron layer, in the network's order, how many weights a spike of each neuron meets on its way to
            the next neurons; shape (channels, height, width) or (features,), float64.
        output_shape: of the network's output, without batch.
    """

    first_operations: int
    weights_met: dict[str, Float[Tensor, " *shape"]]
    output_shape: torch.Size

    @property
    def largest_layer(self) -> int:
        """How many neurons the largest layer has."""
        return max(places.numel() for places in self.weights_met.values())


def fan_out(segments: list[Segment], image: Float[Tensor, " one *shape"]) -> FanOut:
    """Count the weights that an image and the spikes of each neuron layer meet.

    Args:
        segments: a network.
        image: one image: its shape, dtype and device matter, its values do not.

    Raises:
        ValueError: a layer whose connections cannot be counted.

    Example:
        >>> from ratespike.neurons import LIF
        >>> from ratespike.simulation.segments import split_into_segments
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
            layers_behind = layers_until_neuron(segments, number + 1)
            met[segment.name] = weights_met(layers_behind, signal.shape[1:], signal.device)
    return FanOut(int(first.sum()), met, signal.shape[1:])


def weights_met(layers: tuple[nn.Module, ...], shape: torch.Size, device: torch.device) -> Float[Tensor, " *shape"]:
    """How many weights a spike in each place meets on its way through layers without memory.

    A weight is met where a convolution or dense layer multiplies the spike with it. With several weight layers in a row,
    each path of the spike counts. The sum over all places is the number of multiply-adds of one dense pass.

    Args:
        layers: applied in this order.
        shape: of the signal in front of them, without batch.
        device: where to compute.

    Raises:
        ValueError: a layer whose connections cannot be counted.

    Example:
        >>> weights_met((nn.Conv2d(1, 4, kernel_size=3),), torch.Size([1, 4, 4]), torch.device("cpu"))  # fewer at the border
        tensor([[[ 4.,  8.,  8.,  4.],
                 [ 8., 16., 16.,  8.],
                 [ 8., 16., 16.,  8.],
                 [ 4.,  8.,  8.,  4.]]], dtype=torch.float64)
    """
    if len(shape) in (1, 3):  # features are channels of one place each
        channels = shape[0]
        one_channel = (1, 1, *shape[1:])
    else:
        channels = 1
        one_channel = (1, *shape)
    with torch.inference_mode(False), torch.enable_grad():
        spikes = torch.ones(one_channel, dtype=torch.float64, device=device, requires_grad=True)
        paths = _Paths(spikes, channels)
        multiply_adds = spikes.sum() * 0  # none yet, but differentiable
        for layer in layers:
            paths = paths.through(layer)
            if isinstance(layer, nn.Conv2d | nn.Linear):
                multiply_adds = multiply_adds + paths.arriving.sum() * paths.channels
        (of_all_channels,) = torch.autograd.grad(multiply_adds, spikes)
    return (of_all_channels[0] / max(1, channels)).expand(shape)


@dataclass(frozen=True)
class _Paths:
    """The connections from a spike in every place to the places behind some layers.

    Attributes:
        arriving: how many connections arrive at each place of one channel, shape (1, 1, height, width) or (1, features).
        channels: how many channels are like this one.
    """

    arriving: Tensor
    channels: int

    def through(self, layer: nn.Module) -> "_Paths":
        """The connections to the places behind one more layer; raises `ValueError` for a layer of another kind."""
        if isinstance(layer, nn.Conv2d):
            kernel = self.arriving.new_ones(1, 1, *layer.kernel_size)
            arriving = F.conv2d(self.arriving, kernel, None, layer.stride, layer.padding, layer.dilation)
            return _Paths(arriving * (self.channels // layer.groups), layer.out_channels)
        if isinstance(layer, nn.Linear):
            arriving = self.arriving.sum(-1, keepdim=True)
            if arriving.dim() == 2:  # features: all channels lead to every output
                return _Paths(arriving * self.channels, layer.out_features)
            return _Paths(arriving, self.channels * layer.out_features)  # applied to each row of an image by itself
        if isinstance(layer, nn.AvgPool2d):
            arriving = F.avg_pool2d(
                self.arriving, layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode, divisor_override=1
            )
            return _Paths(arriving, self.channels)
        if isinstance(layer, nn.Flatten):
            return _Paths(layer(self.arriving), self.channels)
        if isinstance(layer, nn.Dropout | nn.Identity):
            return self
        raise ValueError(
            f"cannot simulate {type(layer).__name__}: known are Conv2d, Linear, AvgPool2d, Flatten, Dropout, Identity"
        )
