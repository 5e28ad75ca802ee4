"""Currents that do not depend on the order in which they are summed.

The last digit of a float32 sum depends on its order; now and then a spike comes a step later for it, which moves ten others
in the layers behind. But spike counts are whole numbers: where all weights of an output are multiples of one power of two,
sums of them are exact up to 2**24 of it, in every order, batch, engine and device. (Pre-rounding: J. Demmel and H. D. Nguyen,
"Fast reproducible floating-point summation", ARITH 2013.) An image's values are no whole numbers: the first current, which
is computed once, is summed in float64 and then rounded.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ratespike.neurons import Neuron
from ratespike.simulation.at_rest import AtRest
from ratespike.simulation.network_analysis import Analysis
from ratespike.simulation.terms import NoTermError, Pool, Term
from ratespike.simulation.weighted_sums import Target, weighted_sums


@dataclass(frozen=True)
class ExactSums:
    """The currents of a layer of neurons, or the network's outputs, as sums over spike counts.

    Attributes:
        target: what gets them.
        terms: of spike counts, with everything that multiplies a count in the weights, which are on a grid; in float64.
        gain: what multiplies that which arrives when no neuron spikes.
        bias: what is added to it.
        unit: of each channel's grid, shape (channels, 1, 1).
    """

    target: Target
    terms: tuple[Term, ...]
    gain: float
    bias: float
    unit: Tensor

    def at_rest(self, signal: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """The currents when no neuron spikes, on the grid, for what arrives then, in float64."""
        current = signal * self.gain + self.bias
        if not self.terms:  # then the dtype rounds it, and nothing is added
            return current
        unit = self.unit.to(current.device)
        return (current / unit).round() * unit


def exact_sums(target: Target, neuron: Neuron | None, signal_at_rest: Tensor, eps: float) -> ExactSums:
    """Round what arrives at a layer so that sums of it are exact in a dtype of this machine epsilon.

    Each channel has a grid of its own: the multiples of a power of two, `unit`. A sum is exact as long as it is at most
    `2 / eps` units, which is as much as the largest current at rest + the root of the summed squares of the weights: far more
    than a neuron gets if few of its sources spike at a time. A greater sum is rounded, as all are without the grid.

    Args:
        target: a layer, or the output.
        neuron: of the layer; None for the output.
        signal_at_rest: what arrives when no neuron spikes, for an image of zeros, shape (1, channels, height, width), float64.
        eps: of the dtype in which the sums will be computed, such as `torch.finfo(torch.float32).eps`.
    """
    gain, bias = (1.0, 0.0) if neuron is None else neuron.gain_and_bias()
    largest = (signal_at_rest.cpu() * gain + bias).abs().amax(dim=(0, 2, 3))  # (channels,)
    squares = torch.zeros_like(largest)
    scaled: list[Term] = []
    for term in target.terms:
        assert term.convolution is not None
        weight = term.convolution.weight * (term.scale * gain)
        squares = squares + weight.flatten(1).square().sum(1)
        scaled.append(replace(term, scale=1.0, convolution=replace(term.convolution, weight=weight)))
    unit = grid_unit(largest + squares.sqrt(), eps).reshape(-1, 1, 1)
    rounded: list[Term] = []
    for term in scaled:
        assert term.convolution is not None
        weight = (term.convolution.weight / unit.unsqueeze(-1)).round() * unit.unsqueeze(-1)
        rounded.append(replace(term, convolution=replace(term.convolution, weight=weight)))
    return ExactSums(target, tuple(rounded), gain, bias, unit)


def grid_unit(largest_sum: Float[Tensor, " channels"], eps: float) -> Float[Tensor, " channels"]:
    """The power of two of which weights are multiples, so that sums up to `largest_sum` are exact.

    Example:
        >>> grid_unit(torch.tensor([1.7]), eps=2**-3)
        tensor([0.1250])
    """
    exponent = torch.where(largest_sum > 0, largest_sum, 1).log2().ceil()
    return eps / 2 * torch.exp2(exponent)


@dataclass(frozen=True)
class NetworkSums:
    """What arrives at all layers of a network, and at its output.

    Attributes:
        targets: the layers in the order of their calls, and the output.
        at_rest: what arrives when no neuron spikes.
        pools: max poolings of spikes, whose numbers as sources follow those of the layers.
    """

    targets: list[ExactSums]
    at_rest: AtRest
    pools: list[Pool]


def network_sums(analysis: Analysis, dt: float) -> NetworkSums:
    """The exact sums of a network, for the dtype of its images.

    Args:
        analysis: of the network.
        dt: the step, seconds.

    Raises:
        NoTermError: its forward computes something else than weighted sums of spikes.
    """
    found = analysis.trace
    sums = weighted_sums(found, dt)
    try:
        at_rest = AtRest(analysis.network, sums, torch.zeros_like(analysis.image, dtype=torch.float64))
    except (RuntimeError, IndexError, TypeError, ValueError) as error:
        raise NoTermError(f"a forward that does not compute in float64 ({error})") from None
    eps = torch.finfo(analysis.image.dtype).eps
    targets: list[ExactSums] = []
    for number, (call, target) in enumerate(zip(found.neurons, sums.layers, strict=True)):
        assert isinstance(call.module, Neuron)
        targets.append(exact_sums(target, call.module, at_rest.of_zeros[number], eps))
    targets.append(exact_sums(sums.output, None, at_rest.of_zeros[len(targets)], eps))
    return NetworkSums(targets, at_rest, sums.pools)
