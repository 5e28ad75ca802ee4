"""Currents that do not depend on the order in which they are summed.

The last digit of a float32 sum depends on its order; now and then a spike comes a step later for it, which moves ten others
in the layers behind. But spike counts are whole numbers: where all weights of an output are multiples of one power of two,
sums of them are exact up to 2**24 of it, in every order, batch, engine and device. (Pre-rounding: J. Demmel and H. D. Nguyen,
"Fast reproducible floating-point summation", ARITH 2013.) An image's values are no whole numbers: the first current, which
is computed once, is summed in float64 and then rounded.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ratespike.neurons import Neuron
from ratespike.simulation.segments import Segment


def on_grid(
    weight: Float[Tensor, "outputs ..."], bias: Float[Tensor, " outputs"], eps: float
) -> tuple[Float[Tensor, "outputs ..."], Float[Tensor, " outputs"]]:
    """Round weights and bias so that sums of them are exact in a dtype of this machine epsilon.

    Each output has a grid of its own: the multiples of a power of two, `unit`. A sum is exact as long as it is at most
    `2 / eps` units, which is as much as |bias| + the root of the summed squares of the weights: far more than an output gets
    if few of its sources spike at a time. A greater sum is rounded, as all are without the grid.

    Args:
        weight: of a convolution or dense layer, in any dtype.
        bias: in the same dtype.
        eps: of the dtype in which the sums will be computed, such as `torch.finfo(torch.float32).eps`.

    Returns:
        Weight and bias, rounded, in their own dtype.

    Example:
        >>> on_grid(torch.tensor([[0.1, 0.7]]), torch.tensor([1.0]), eps=2**-3)
        (tensor([[0.1250, 0.7500]]), tensor([1.]))
    """
    largest_sum = bias.abs() + weight.flatten(1).norm(dim=1)  # (outputs,)
    exponent = torch.where(largest_sum > 0, largest_sum, 1).log2().ceil()
    unit = eps / 2 * torch.exp2(exponent)
    unit_of_weights = unit.reshape(-1, *[1] * (weight.dim() - 1))  # (outputs, 1, ...)
    rounded_weight = (weight / unit_of_weights).round() * unit_of_weights
    rounded_bias = (bias / unit).round() * unit
    return rounded_weight, rounded_bias


@dataclass(frozen=True)
class WeightedSum:
    """What stands in front of a neuron as one weighted sum: from spike counts, or an image, to the neuron's current.

    An average pooling only adds up; its divisor, the height of a spike and the neuron's gain are in the weights. So every
    term of a sum is a whole number times a weight.

    Attributes:
        layers: average poolings, then one weight layer; flattenings anywhere.
        weight: of the weight layer, times all that is constant.
        bias: the current where nothing spikes.
    """

    layers: tuple[nn.Module, ...]
    weight: Tensor
    bias: Tensor

    def __call__(self, signal: Tensor) -> Tensor:
        """The currents of a batch of spike counts or images."""
        for layer in self.layers:
            if isinstance(layer, nn.AvgPool2d):
                signal = F.avg_pool2d(signal, layer.kernel_size, layer.stride, layer.padding, divisor_override=1)
            elif isinstance(layer, nn.Conv2d):
                signal = F.conv2d(signal, self.weight, self.bias, layer.stride, layer.padding, layer.dilation, layer.groups)
            elif isinstance(layer, nn.Linear):
                signal = F.linear(signal, self.weight, self.bias)
            else:
                signal = layer(signal)
        return signal

    def exact_in(self, dtype: torch.dtype) -> "WeightedSum":
        """The same with weights and bias in `dtype`, rounded so that sums over spike counts are exact in it."""
        weight, bias = on_grid(self.weight, self.bias, torch.finfo(dtype).eps)
        return WeightedSum(self.layers, weight.to(dtype), bias.to(dtype))


def weighted_sum(segment: Segment, height: float) -> WeightedSum | None:
    """A segment in front of a neuron as one weighted sum in float64; None if it is not poolings and one weight layer.

    Args:
        segment: of a network.
        height: what one spike counts; 1 for an image.

    Example:
        >>> from ratespike.neurons import LIF
        >>> total = weighted_sum(Segment((nn.AvgPool2d(2), nn.Flatten(), nn.Linear(1, 1)), LIF(), "neuron"), height=1000)
        >>> total is None, weighted_sum(Segment((nn.ReLU(),), LIF(), "neuron"), height=1000)
        (False, None)
    """
    layers = tuple(layer for layer in segment.layers if not isinstance(layer, nn.Dropout | nn.Identity))
    weight_layer = _only_weight_layer(layers)
    if weight_layer is None or not isinstance(segment.ending, Neuron):
        return None
    gain, bias = segment.ending.gain_and_bias()
    for layer in layers:
        if isinstance(layer, nn.AvgPool2d):
            height /= _cells(layer)
    weight = weight_layer.weight.double() * (gain * height)
    if weight_layer.bias is None:
        current_at_rest = weight.new_full((len(weight),), bias)
    else:
        current_at_rest = weight_layer.bias.double() * gain + bias
    return WeightedSum(layers, weight, current_at_rest)


def _only_weight_layer(layers: tuple[nn.Module, ...]) -> nn.Conv2d | nn.Linear | None:
    """The weight layer, if there is one, only average poolings are in front of it, and nothing is behind it.

    Flattenings may be anywhere.
    """
    found: nn.Conv2d | nn.Linear | None = None
    for layer in layers:
        if isinstance(layer, nn.Flatten):
            continue
        if found is not None:
            return None
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros"):
            found = layer
        elif not (isinstance(layer, nn.AvgPool2d) and _divides_by_its_cells(layer)):
            return None
    return found


def _divides_by_its_cells(pool: nn.AvgPool2d) -> bool:
    """Whether each mean is the sum divided by the number of cells, at the border too."""
    return pool.count_include_pad and not pool.ceil_mode and not pool.divisor_override


def _cells(pool: nn.AvgPool2d) -> int:
    """How many values a pooling averages."""
    size = pool.kernel_size
    return size * size if isinstance(size, int) else math.prod(size)
