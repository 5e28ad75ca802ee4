"""Balancing: where the activations lie afterwards, and that the function on rates stays."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from ratespike.conversion.convert import convert
from ratespike.conversion.methods import Balanced
from ratespike.conversion.row import signals_of_neurons
from ratespike.neurons import LIF, IntegrateAndFire, SpikingRectifiedLinear
from ratespike.neurons.base import TunedNeuron
from ratespike.parameters import ParameterError
from ratespike.simulation import simulate
from ratespike.synapses import LowPass

IMAGES = torch.rand(50, 2, 9, 9, generator=torch.Generator().manual_seed(1)).double()


def network_of(neuron: TunedNeuron) -> nn.Sequential:
    torch.manual_seed(0)
    row = [nn.Conv2d(2, 6, 3, groups=2), neuron, nn.AvgPool2d(2), nn.Conv2d(6, 8, 2, bias=False), deepcopy(neuron)]
    return nn.Sequential(*row, nn.Sequential(nn.Flatten(), nn.Linear(32, 10)), deepcopy(neuron), nn.Linear(10, 4)).double()


@pytest.mark.parametrize("per", ["layer", "channel"])
@pytest.mark.parametrize("neuron", [IntegrateAndFire(max_rate=1000), SpikingRectifiedLinear(amplitude=0.03)], ids=["1", "3"])
def test_rates_stay_and_the_largest_is_at_max_rate(neuron: TunedNeuron, per: str) -> None:
    network = network_of(neuron)
    balanced = Balanced(percentile=100, per=per).converted(network, IMAGES)
    assert torch.allclose(balanced(IMAGES), network(IMAGES))
    for _, activations in signals_of_neurons(balanced, IMAGES).values():
        largest = activations.transpose(0, 1).flatten(1).amax(1) / (neuron.scale * neuron.max_rate)
        active = largest[largest > 0]
        assert torch.allclose(active if per == "channel" else active.amax(), torch.ones((), dtype=torch.float64))


def test_a_percentile_of_known_activations() -> None:
    network = nn.Sequential(nn.Linear(2, 2, bias=False), IntegrateAndFire(max_rate=1000), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.eye(2))
        network[2].weight.fill_(1)
    images = torch.stack([torch.arange(1.0, 101), torch.zeros(100)], dim=1)
    balanced = Balanced(percentile=90).converted(network, images)
    assert balanced[0].weight.diagonal().tolist() == pytest.approx([1 / 90, 1])  # nothing is active in the other channel
    assert balanced[2].weight.flatten().tolist() == pytest.approx([90, 1])
    assert Balanced(percentile=95, per="layer").converted(network, images)[2].weight.flatten().tolist() == pytest.approx(
        [90, 90]
    )


def test_more_than_a_spike_a_step_is_no_longer_asked_for() -> None:
    """Activations of 3 need three spikes a step; balanced, a spike in each step stands for them."""
    network = nn.Sequential(nn.Linear(1, 1, bias=False), IntegrateAndFire(max_rate=1000), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        network[0].weight.fill_(3)
        network[2].weight.fill_(1)
    image = torch.ones(1, 1)
    balanced = Balanced(percentile=100).converted(network, image)
    outputs = [float(simulate(net, image, 8, engine="torch", readout="mean").outputs[-1]) for net in (network, balanced)]
    assert outputs == pytest.approx([1, 3])


@pytest.mark.parametrize(
    "between", [nn.Tanh(), nn.LayerNorm(2, elementwise_affine=False), nn.BatchNorm1d(2, affine=False), nn.Flatten(0)]
)
@pytest.mark.parametrize("place", [1, 2])
def test_what_a_scale_does_not_pass_is_refused(between: nn.Module, place: int) -> None:
    row = [nn.Linear(2, 2), IntegrateAndFire(), nn.Linear(2, 2)]
    row.insert(place, between)
    with pytest.raises(ParameterError, match=f"{place}: weights cannot be changed around a {type(between).__name__}"):
        Balanced().check(nn.Sequential(*row))


def test_what_a_scale_passes_is_between_neurons_and_weights() -> None:
    """Rates stay, whatever is in front of the first weights."""
    torch.manual_seed(0)
    pools = [nn.AvgPool2d(2), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(2), nn.AdaptiveMaxPool2d(2)]
    for pool in pools:
        row = [nn.Tanh(), nn.Conv2d(2, 6, 3), IntegrateAndFire(max_rate=1000), LowPass(tau=0.01), nn.Dropout2d(), pool]
        network = nn.Sequential(*row, nn.Identity(), nn.Flatten(), nn.LazyLinear(3)).double().eval()
        network(IMAGES)
        balanced = Balanced().converted(network, IMAGES)
        assert not torch.allclose(balanced[1].weight, network[1].weight), "nothing was scaled"
        assert torch.allclose(balanced(IMAGES), network(IMAGES))


def test_neurons_whose_rate_is_not_proportional_are_refused() -> None:
    for neuron in (LIF(), IntegrateAndFire(intercept=0.1), IntegrateAndFire(levels=4)):
        network = nn.Sequential(nn.Linear(2, 2), neuron, nn.Linear(2, 2))
        with pytest.raises(ParameterError, match=f"1: the rate of this {type(neuron).__name__} is not proportional"):
            Balanced().check(network)


def test_scales_of_a_converted_network_are_set_anew() -> None:
    """Converted on images that are too bright, its neurons hardly fire; balanced, the largest activation is at `max_rate`."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    images = torch.rand(50, 6)
    converted = convert(plain, neuron=IntegrateAndFire(max_rate=1000), images=images * 50)
    balanced = Balanced(percentile=100).converted(converted, images)
    assert torch.allclose(balanced(images), plain(images), atol=1e-5)
    for neurons in balanced.neurons.values():
        activations = plain[:2](images) if neurons is balanced.neurons["1"] else plain[:4](images)
        assert float(neurons.out_scale) == pytest.approx(activations.max().item())
    with pytest.raises(ParameterError, match="not proportional"):
        Balanced().converted(convert(plain, neuron=LIF(), images=images), images)
