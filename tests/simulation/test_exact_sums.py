"""Weights on a grid: the same sums in every order, and hardly other weights."""

import pytest
import torch
from torch import nn

from ratespike.neurons import LIF
from ratespike.simulation.exact_sums import ExactSums, network_sums
from ratespike.simulation.network_analysis import analyse


def sums_of(layers: list[nn.Module], shape: tuple[int, ...]) -> ExactSums:
    """What arrives at neurons behind these layers, which stand behind others."""
    network = nn.Sequential(LIF(), *layers, LIF(max_rate=150, intercept=-0.2), nn.Flatten()).eval()
    shown = torch.zeros(1, 1, *shape)
    return network_sums(analyse(network, shown[0]), 0.001).targets[1]


torch.manual_seed(0)  # the weights are drawn here
LAYERS: list[tuple[list[nn.Module], tuple[int, ...]]] = [
    ([nn.Linear(300, 7)], (300,)),
    ([nn.Conv2d(8, 7, 3, padding=1)], (8, 6, 5)),
    ([nn.AvgPool2d(2), nn.Conv2d(8, 7, 3), nn.BatchNorm2d(7)], (8, 8, 8)),
]


@pytest.mark.parametrize(("layers", "shape"), LAYERS, ids=str)
def test_sums_of_spikes_do_not_depend_on_their_order(layers: list[nn.Module], shape: tuple[int, ...]) -> None:
    exact = sums_of(layers, shape)
    (term,) = exact.terms
    assert term.convolution is not None
    weight = term.convolution.weight.flatten(1).float()
    spikes = (torch.rand(50, weight.shape[1], generator=torch.Generator().manual_seed(1)) < 0.2).float()
    order = torch.randperm(weight.shape[1], generator=torch.Generator().manual_seed(2))
    assert torch.equal(spikes @ weight.T, spikes[:, order] @ weight[:, order].T)
    rounded = torch.rand_like(weight)  # weights that are on no grid: the order shows
    assert not torch.equal(spikes @ rounded.T, spikes[:, order] @ rounded[:, order].T)


@pytest.mark.parametrize(("layers", "shape"), LAYERS, ids=str)
def test_currents_are_those_of_the_layers(layers: list[nn.Module], shape: tuple[int, ...]) -> None:
    exact = sums_of(layers, shape)
    neuron, source = LIF(max_rate=150, intercept=-0.2), LIF()
    gain, bias = neuron.gain_and_bias()
    spikes = (torch.rand(5, *shape, generator=torch.Generator().manual_seed(1)) < 0.3).double()
    network = nn.Sequential(*layers).double().eval()
    with torch.no_grad():
        expected = network(spikes * source.scale / 0.001) * gain + bias
        at_rest = exact.at_rest(exact.target.map.laid_out(network(torch.zeros_like(spikes))))
    found = exact.target.map.as_called(exact.terms[0].applied(exact.terms[0].map.laid_out(spikes)) + at_rest)
    assert torch.allclose(found, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))
    summed = int(spikes.flatten(1).sum(1).max()) + 1  # at most so many weights, and the current at rest
    # each of them is rounded to the next multiple of the unit
    assert float((found - expected).abs().max()) <= summed * float(exact.unit.max()) / 2
