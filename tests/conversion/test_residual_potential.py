"""The gate by the residual potential: which neurons it mutes, and that nothing of its first steps is free."""

from typing import Any

import pytest
import torch
from torch import nn

from ratespike import simulate
from ratespike.conversion.methods import ResidualPotential
from ratespike.neurons import LIF, IntegrateAndFire
from ratespike.parameters import ParameterError

MAIN = {"engine": "torch", "readout": "mean", "record": ["1", "3"]}


def network_with_two_paths() -> nn.Sequential:
    """Its second layer has two neurons: one with mean input -0.125 that is excited first, one with 0.125."""
    network = nn.Sequential(
        nn.Linear(1, 3), IntegrateAndFire(max_rate=1000), nn.Linear(3, 2), IntegrateAndFire(max_rate=1000), nn.Linear(2, 2)
    )
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[0.5], [0.375], [0.25]]))
        network[0].bias.zero_()
        network[2].weight.copy_(torch.tensor([[2.0, -3.0, 0.0], [0.0, 0.0, 0.5]]))
        network[2].bias.zero_()
        network[4].weight.copy_(torch.eye(2))
        network[4].bias.zero_()
    return network


def test_a_neuron_below_zero_is_silent_after_the_first_steps() -> None:
    network, image = network_with_two_paths(), torch.ones(1, 1)
    as_trained = simulate(network, image, 16, start="half", **MAIN)  # type: ignore[arg-type]
    gated = ResidualPotential(steps=8).simulate(network, image, 24, start="half", **MAIN)
    spikes = gated.recordings["3"][:, 0]  # (time, neurons)
    assert as_trained.recordings["3"][:, 0, 0].sum() > 0, "the first spikes excite it"
    assert torch.equal(gated.recordings["3"][:8], as_trained.recordings["3"][:8])
    assert spikes[8:, 0].sum() == 0
    assert torch.equal(spikes[8:, 1], as_trained.recordings["3"][:, 0, 1]), "the other one begins anew"
    assert torch.equal(gated.recordings["1"][8:], as_trained.recordings["1"])
    assert gated.outputs[-1, 0, 0] == 0 and gated.outputs[-1, 0, 1] == as_trained.outputs[-1, 0, 1]


def test_steps_and_operations_of_both_simulations_count() -> None:
    network, images = network_with_two_paths(), torch.rand(4, 1, generator=torch.Generator().manual_seed(0))
    gated = ResidualPotential(steps=3).simulate(network, images, 9, start="uniform", **MAIN)
    assert gated.n_steps == 9 and gated.outputs.shape == (9, 4, 2)
    weights = {"1": 1, "3": 1}  # that a spike of a layer meets, without zeros
    spikes = sum(gated.spike_counts[layer] * met for layer, met in weights.items())
    assert torch.equal(gated.synaptic_operations.sum(0), spikes.sum(0) + 3), "the image meets three weights, once"
    assert torch.equal(gated.accumulates.sum(0), spikes.sum(0).double())
    assert gated.multiply_accumulates.sum(0).tolist() == [3, 3, 3, 3]
    shorter = ResidualPotential(steps=3).simulate(network, images, 5, start="uniform", **MAIN)
    assert torch.equal(shorter.outputs, gated.outputs[:5])


@pytest.mark.parametrize("start", ["zero", "steady_phase"])
def test_every_start_is_that_of_an_ordinary_simulation(start: str) -> None:
    """Of a network in which all neurons are above 0 nothing is muted."""
    network = nn.Sequential(nn.Linear(2, 2), IntegrateAndFire(max_rate=1000), nn.Linear(2, 2))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[0.3, 0.3], [0.2, 0.1]]))
        network[0].bias.fill_(0.1)
    images = torch.rand(5, 2, generator=torch.Generator().manual_seed(0)) + 0.01
    ordinary = simulate(network, images, 7, start=start, readout="mean", engine="torch", record=["1"])
    gated = ResidualPotential(steps=1).simulate(network, images, 8, start=start, readout="mean", engine="torch", record=["1"])
    above = gated.voltages["1"][0] > 0
    assert above.any() and torch.equal(gated.recordings["1"][1:, above], ordinary.recordings["1"][:, above])


def test_what_has_no_residual_potential_is_refused() -> None:
    for neuron in (LIF(), IntegrateAndFire(min_voltage=0.0), IntegrateAndFire(reset="zero")):
        with pytest.raises(ParameterError, match=f"1: a {type(neuron).__name__} as it is set says nothing"):
            ResidualPotential().check(nn.Sequential(nn.Linear(2, 2), neuron, nn.Linear(2, 2)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"early_exit": 0.5}, "simulation.early_exit, simulation.exit_loss: ResidualPotential takes all steps"),
        ({"images_over_time": True}, "data: ResidualPotential needs images that stand still"),
        ({"n_steps": 4}, "n_steps=4: must be above conversion.steps=4"),
    ],
)
def test_what_it_cannot_simulate_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        ResidualPotential(steps=4).simulate(network_with_two_paths(), torch.rand(9, 1, 1), **{"n_steps": 9} | settings)
