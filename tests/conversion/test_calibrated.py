"""Calibration: shifts of biases against closed forms, and what spikes miss of rates before and after."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from ratespike.conversion.methods import Calibrated
from ratespike.neurons import LIF, IntegrateAndFire, Neuron
from ratespike.parameters import ParameterError
from ratespike.simulation import simulate

IMAGES = torch.rand(60, 2, 7, 7, generator=torch.Generator().manual_seed(1))


def network_of(neuron: Neuron) -> nn.Sequential:
    torch.manual_seed(0)
    row = [nn.Conv2d(2, 6, 3, bias=False), neuron, nn.AvgPool2d(2), nn.Conv2d(6, 8, 2), deepcopy(neuron)]
    network = nn.Sequential(*row, nn.Sequential(nn.Flatten(), nn.Linear(8, 4)))
    with torch.no_grad():
        for weights in network.parameters():
            weights.mul_(2)
    return network.eval()


def test_one_neuron_of_each_channel_in_closed_form() -> None:
    """From zero a neuron has spiked floor(T x) times after T steps of an activation x below 1."""
    activations = torch.tensor([[0.30, 0.90], [0.55, 0.10], [0.80, 0.65]])
    network = nn.Sequential(nn.Linear(2, 2), IntegrateAndFire(max_rate=1000), nn.Linear(2, 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.eye(2))
        network[0].bias.zero_()
        network[2].weight.fill_(1)
    spiking = Calibrated(n_steps=4).converted(network, activations, start="zero")
    missing = (activations - (4 * activations).floor() / 4).mean(0)
    assert torch.allclose(spiking[0].bias, missing, atol=1e-6)
    counts = (4 * (activations + missing)).floor().clamp(max=4) / 4  # with the biases shifted
    of_output = (activations - counts).sum(1).mean()
    assert torch.allclose(spiking[2].bias - network[2].bias, of_output, atol=1e-6)
    assert not network[0].bias.any(), "the trained network has changed"


def test_outputs_of_other_images_come_nearer_to_rates() -> None:
    network = network_of(IntegrateAndFire(max_rate=1000))
    spiking = Calibrated(n_steps=4, images=40).converted(network, IMAGES[:40], start="zero")

    def error(simulated: nn.Module) -> Tensor:
        outputs = simulate(simulated, IMAGES[40:], 4, start="zero", readout="mean").outputs[-1]
        return (outputs - network(IMAGES[40:])).mean(0).abs().mean()

    assert error(spiking) < 0.5 * error(network)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Linear(2, 2), "network: is a Linear; its weights can only be changed in a row of layers"),
        (nn.Sequential(LIF(), nn.Linear(2, 2)), "0: has no weights directly in front of it and behind it"),
        (nn.Sequential(nn.Linear(2, 2)), "network: has no neurons"),
        (nn.Sequential(nn.Linear(2, 3), LIF(), nn.Linear(3, 5), nn.Linear(5, 10)), "1: has more than one layer of weights"),
    ],
)
def test_what_is_no_row_is_refused(network: nn.Module, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Calibrated().check(network)
    with pytest.raises(ParameterError, match=message):
        Calibrated().converted(network, torch.rand(3, 2))
