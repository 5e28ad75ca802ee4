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

    That is, up to |bias| + the root of the summed squares of the weights: far more than an output gets if few of its sources
    spike at a time. A greater sum is rounded, as all are without the grid.

    Example:
        >>> on_grid(torch.tensor([[0.1, 0.7]]), torch.tensor([1.0]), eps=2**-3)
        (tensor([[0.1250, 0.7500]]), tensor([1.]))
    """
    reach = bias.abs() + weight.flatten(1).norm(dim=1)
    unit = eps / 2 * torch.exp2(torch.where(reach > 0, reach, 1).log2().ceil())
    units = unit.reshape(-1, *[1] * (weight.dim() - 1))
    return (weight / units).round() * units, (bias / unit).round() * unit


@dataclass(frozen=True)
class WeightedSum:
    """Average poolings and one weight layer in front of a neuron: from spike counts, or an image, to the neuron's current.

    Attributes:
        layers: in their order.
        weight: of the weight layer, times all that is constant.
        bias: the current where nothing spikes.
    """

    layers: tuple[nn.Module, ...]
    weight: Tensor
    bias: Tensor

    def __call__(self, signal: Tensor) -> Tensor:
        for layer in self.layers:
            if isinstance(layer, nn.AvgPool2d):
                signal = F.avg_pool2d(signal, layer.kernel_size, layer.stride, layer.padding, divisor_override=1)
            elif isinstance(layer, nn.Conv2d):
                stride, padding, dilation, groups = layer.stride, layer.padding, layer.dilation, layer.groups
                signal = F.conv2d(signal, self.weight, self.bias, stride, padding, dilation, groups)
            else:
                signal = F.linear(signal, self.weight, self.bias) if isinstance(layer, nn.Linear) else layer(signal)
        return signal

    def to(self, dtype: torch.dtype) -> "WeightedSum":
        """The same in another precision."""
        return WeightedSum(self.layers, self.weight.to(dtype), self.bias.to(dtype))


def weighted_sum(segment: Segment, height: float) -> WeightedSum | None:
    """A segment in front of a neuron as one weighted sum in float64; None if it is not poolings and one weight layer.

    Args:
        segment: of a network.
        height: what one spike counts.
    """
    layers = tuple(layer for layer in segment.layers if not isinstance(layer, nn.Dropout | nn.Identity))
    pools = [layer for layer in layers if isinstance(layer, nn.AvgPool2d)]
    weighted = [layer for layer in layers if isinstance(layer, nn.Conv2d | nn.Linear)]
    rest = [layer for layer in layers if not isinstance(layer, nn.AvgPool2d | nn.Conv2d | nn.Linear | nn.Flatten)]
    if not isinstance(segment.ending, Neuron) or len(weighted) != 1 or rest or isinstance(layers[-1], nn.AvgPool2d):
        return None
    if any(pool.ceil_mode or pool.divisor_override or not pool.count_include_pad for pool in pools):
        return None
    if isinstance(weighted[0], nn.Conv2d) and weighted[0].padding_mode != "zeros":
        return None
    for pool in pools:
        height /= math.prod((pool.kernel_size,) * 2 if isinstance(pool.kernel_size, int) else pool.kernel_size)
    gain, bias = segment.ending.gain_and_bias()
    weight = weighted[0].weight.double() * (gain * height)
    without = weight.new_zeros(len(weight))
    constant = (without if weighted[0].bias is None else weighted[0].bias.double() * gain) + bias
    return WeightedSum(layers, weight, constant)
