"""Energies and the counts behind them, by hand and by KerasSpiking's published example."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from ratespike import simulate
from ratespike.metrics import RateVsSpike, Results, names
from ratespike.metrics.devices import DEVICES, Work, find
from ratespike.neurons import LIF
from ratespike.simulation.cost import NetworkCost

COST = NetworkCost(
    footprint_bytes=4000,
    weights=1000,
    zero_weights=250,
    plain_operations=2_000_000,
    image_values=784,
    neurons=5000,
    update_multiply_accumulates=5000,
    update_accumulates=1000,
    folded=("neuron1",),
)


@pytest.fixture
def counted(results: Results) -> Results:
    """Of two steps, of which half of the images take the first alone."""
    means = {
        "effective_acs": torch.tensor([1e6, 2e6]),
        "effective_macs": torch.tensor([1e5, 0.0]),
        "folded_acs": torch.tensor([5e5, 5e5]),
        "activation_sparsity": torch.tensor([500.0, 1000.0]),
    }
    return replace(results, cost=COST, image_means=means, running=torch.tensor([1.0, 0.5]))


def test_the_counts_of_an_image(counted: Results) -> None:
    found = names.final(counted)
    assert found["footprint_bytes"] == 4000
    assert found["connection_sparsity"] == 0.25
    assert found["activation_sparsity"] == pytest.approx(1 - 1500 / (5000 * 1.5))
    assert found["effective_acs"] == 3e6
    assert found["effective_macs"] == 1e5
    assert found["folded_acs"] == 1e6
    assert found["dense_operations"] == 3e6
    assert found["plain_operations"] == 2e6
    assert found["membrane_updates"] == 7500
    assert found["operations_over_plain"] == 1.5, "of the synaptic operations of the test, 3 million"


def test_the_energy_on_each_device(counted: Results) -> None:
    found = names.final(counted)
    expected = {
        "45nm": 3e6 * 0.9e-12 + 1e5 * 4.6e-12,
        "45nm_with_neurons": (3e6 + 1500) * 0.9e-12 + (1e5 + 7500) * 4.6e-12,
        "45nm_plain": 2e6 * 4.6e-12,
        "loihi": 3.1e6 * 27.1e-12 + 7500 * 81e-12,
        "spinnaker": 3.1e6 * 13.3e-9 + 7500 * 26e-9,
        "spinnaker2": 3.1e6 * 450e-12 + 7500 * 2.19e-9,
        "cpu": (2e6 + 5000) * 8.6e-9,
        "gpu": (2e6 + 5000) * 0.3e-9,
        "arm": (2e6 + 5000) * 0.9e-9,
    }
    assert {name: found[f"energy_joules/{name}"] for name in expected} == pytest.approx(expected)
    assert [device.name for device in DEVICES] == list(expected)


def test_the_example_of_keras_spiking() -> None:
    """Its documentation: 784 inputs to 128 rectified units, 100352 connections and 128 neurons, cost 8.64e-04 J on a CPU."""
    network = nn.Sequential(nn.Linear(784, 128), LIF()).eval()
    cost = simulate(network, torch.rand(1, 784), 1, engine="torch").cost
    assert cost is not None
    assert (cost.plain_operations, cost.neurons) == (100352, 128)
    joules = find("cpu").joules(Work(accumulates=0, multiply_accumulates=cost.plain_operations, updates=cost.neurons))
    assert f"{joules:.2e}" == "8.64e-04"


def test_every_figure_has_a_source() -> None:
    for device in DEVICES:
        assert any(year in device.source for year in ("2014", "2016", "2018", "2019")), device.name


def test_results_hold_what_the_network_costs(counted: Results) -> None:
    assert Results.from_arrays(counted.arrays()).cost == COST
    unfolded = replace(counted, cost=replace(COST, folded=()))
    assert Results.from_arrays(unfolded.arrays()).cost == unfolded.cost
    shorter = names.final(counted.until(1))
    assert shorter["effective_acs"] == 1e6
    assert shorter["membrane_updates"] == 5000


def test_results_of_earlier_versions_have_no_costs(results: Results, counted: Results) -> None:
    older = Results.from_arrays(results.arrays())
    assert older.cost is None
    new = set(names.final(counted)) - set(names.final(older))
    assert {"footprint_bytes", "effective_acs", "operations_over_plain", "energy_joules/loihi"} <= new
    assert "synaptic_operations" not in new


def test_a_test_measures_what_its_simulations_cost() -> None:
    torch.manual_seed(0)
    network, images = nn.Sequential(nn.Linear(6, 20), LIF(intercept=-0.2), nn.Linear(20, 4)), torch.rand(12, 6)
    measured = RateVsSpike(9, 0.001, 4, {"1": 20})
    spikes = simulate(network, images, 9, engine="torch", early_exit=1, exit_by="stability")
    for batch in (slice(0, 5), slice(5, 12)):
        index = torch.arange(12)[batch]
        part = simulate(network, images[batch], 9, engine="torch", early_exit=1, exit_by="stability", image_index=index)
        measured.update(network(images[batch]), part, torch.zeros(len(index), dtype=torch.long), index)
    found = names.final(measured.compute())
    assert found["mean_steps"] < 9
    assert found["effective_acs"] == pytest.approx(float(spikes.accumulates.sum()) / 12)
    assert found["effective_acs"] == pytest.approx(4 * float(spikes.spike_counts["1"].sum()) / 12)
    assert found["effective_macs"] == 120
    assert found["membrane_updates"] == pytest.approx(20 * found["mean_steps"])
    assert found["activation_sparsity"] == pytest.approx(
        1 - float(spikes.spike_counts["1"].sum()) / (12 * 20 * found["mean_steps"])
    )
