"""Weights for other neurons: where rates are proportional to inputs nothing changes, elsewhere they come near."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from ratespike.conversion.rescaling import rescale
from ratespike.neurons import LIF, IntegrateAndFire, Neuron
from ratespike.parameters import ParameterError

IMAGES = torch.rand(50, 2, 9, 9, generator=torch.Generator().manual_seed(1))


def network_of(neuron: Neuron) -> nn.Sequential:
    torch.manual_seed(0)
    row = [nn.Conv2d(2, 6, 3, groups=2), neuron, nn.AvgPool2d(2), nn.Conv2d(6, 8, 2, groups=2), deepcopy(neuron)]
    return nn.Sequential(*row, nn.Sequential(nn.Flatten(), nn.Linear(32, 10)), deepcopy(neuron), nn.Linear(10, 4)).eval()


def rescaled(neuron: Neuron, trained: nn.Sequential) -> tuple[nn.Sequential, dict[str, torch.Tensor]]:
    network = network_of(neuron)
    network.load_state_dict(trained.state_dict())
    return network, rescale(network, trained, IMAGES)


def test_rectified_linear_outputs_stay() -> None:
    trained = network_of(IntegrateAndFire(max_rate=100))
    network, scales = rescaled(IntegrateAndFire(max_rate=1000), trained)
    assert {name: len(scale) for name, scale in scales.items()} == {"1": 6, "4": 8, "6": 10}
    assert not torch.allclose(network[0].weight, trained[0].weight), "nothing was rescaled"
    assert torch.allclose(network(IMAGES), trained(IMAGES), atol=1e-5)


def test_batch_normalisation_is_rescaled_in_place_of_the_weights_in_front_of_it() -> None:
    trained = nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), IntegrateAndFire(max_rate=100), nn.Flatten(), nn.Linear(294, 4)
    )
    trained.train()(5 * IMAGES)  # its statistics
    with torch.no_grad():
        trained.eval()[1].bias.uniform_(-1, 1)
    network = deepcopy(trained)
    network[2] = IntegrateAndFire(max_rate=1000)
    rescale(network, trained, IMAGES)
    assert torch.equal(network[0].weight, trained[0].weight)
    assert not torch.allclose(network[1].bias, trained[1].bias)
    assert torch.allclose(network(IMAGES), trained(IMAGES), atol=1e-5)


def test_a_staircase_comes_nearer() -> None:
    neuron = IntegrateAndFire(max_rate=1000, levels=8)
    trained = network_of(IntegrateAndFire(max_rate=100))
    with torch.no_grad():
        for weights in trained.parameters():
            weights.mul_(3)
    as_they_were = network_of(neuron)
    as_they_were.load_state_dict(trained.state_dict())
    network, _ = rescaled(neuron, trained)
    right = trained(IMAGES)
    before, after = ((outputs - right).square().mean() for outputs in (as_they_were(IMAGES), network(IMAGES)))
    assert after < 0.3 * before


def test_scales_are_those_with_the_least_error() -> None:
    """A staircase of one level that rounds: of equal activations the scale is such that they are on it."""
    trained = nn.Sequential(nn.Linear(1, 1, bias=False), IntegrateAndFire(max_rate=1000), nn.Linear(1, 1))
    network = nn.Sequential(nn.Linear(1, 1, bias=False), IntegrateAndFire(max_rate=1000, levels=1), nn.Linear(1, 1))
    with torch.no_grad():
        trained[0].weight.fill_(5)
    network.load_state_dict(trained.state_dict())
    scales = rescale(network, trained, torch.ones(7, 1))
    assert float(scales["1"]) == pytest.approx(5, rel=0.04)
    assert torch.allclose(network(torch.ones(1, 1)), trained(torch.ones(1, 1)), rtol=0.04)


def test_channels_that_are_never_active_stay() -> None:
    trained = nn.Sequential(nn.Linear(2, 3), IntegrateAndFire(), nn.Linear(3, 1))
    with torch.no_grad():
        trained[0].bias[1] = -100
    network = deepcopy(trained)
    network[1] = IntegrateAndFire(max_rate=1000, levels=4)
    rescale(network, trained, torch.rand(20, 2))
    assert network[0].bias[1] == -100


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([nn.Linear(3, 3), LIF(), LIF(), nn.Linear(3, 2)], "1: has no weights directly in front of it"),
        ([LIF(), nn.Linear(3, 2)], "0: has no weights"),
        (
            [nn.Linear(3, 3), LIF(), nn.BatchNorm1d(3), nn.Linear(3, 2)],
            "1: has no weights directly in front of it and behind it",
        ),
        ([nn.Linear(3, 3), nn.PReLU(3), LIF(), nn.Linear(3, 2)], "1: its weights cannot be changed"),
    ],
)
def test_other_networks_are_refused(row: list[nn.Module], message: str) -> None:
    network = nn.Sequential(*row).eval()
    with pytest.raises(ParameterError, match=message):
        rescale(network, deepcopy(network), torch.rand(4, 3))
