"""Swapped layers, neurons that say nothing, lost images, and the table of a diagnosis."""

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import nn

from ratespike import simulate
from ratespike.conversion.methods import Calibrated
from ratespike.diagnosis import Case, diagnose, draw
from ratespike.diagnosis.case import gain
from ratespike.diagnosis.layers import slices
from ratespike.diagnosis.measured import measure
from ratespike.diagnosis.swap import swap
from ratespike.neurons import LIF, IntegrateAndFire
from ratespike.parameters import ParameterError
from ratespike.synapses import LowPass

SETTINGS: dict[str, Any] = {"n_steps": 6, "start": "half", "readout": "mean"}


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    neurons = IntegrateAndFire(max_rate=800)
    return nn.Sequential(nn.Linear(8, 30), neurons, nn.Linear(30, 20), IntegrateAndFire(max_rate=800), nn.Linear(20, 4)).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(60, 8, generator=torch.Generator().manual_seed(1)) * 4


def test_swapped_layers_are_those_of_networks_in_two_pieces(network: nn.Sequential, images: torch.Tensor) -> None:
    """Rates in front of a layer are images for the rest of the network; rates behind it are the rest on its mean spikes."""
    labels = network(images).argmax(1)
    first, second = swap(Case(network=network, images=images, labels=labels, **SETTINGS))
    with torch.no_grad():
        rates = network[:2](images)
        spikes = simulate(network[:3], images, **SETTINGS).outputs[-1]
        answers = {
            "first on spikes": network[3:](spikes),
            "second on spikes": simulate(network[2:], rates, **SETTINGS).outputs[-1],
        }
    right = {name: float((answer.argmax(1) == labels).double().mean()) for name, answer in answers.items()}
    assert right["first on spikes"] < 1
    assert first.only_on_spikes == second.only_on_rates == pytest.approx(right["first on spikes"])
    assert second.only_on_spikes == first.only_on_rates == pytest.approx(right["second on spikes"])


def test_dead_silent_and_saturated_neurons_are_counted() -> None:
    network = nn.Sequential(IntegrateAndFire(max_rate=1000))
    images = torch.tensor([[-1.0, 0.04, 0.5, 3.0], [-1.0, 0.04, 0.5, 0.5]])  # never, too seldom, often, in each step
    case = Case(network=network, images=images, labels=torch.zeros(2).long(), n_steps=10, start="zero")
    (layer,) = measure(case).activity
    assert (layer.dead, layer.silent, layer.saturated) == (0.5, pytest.approx(2 / 6), pytest.approx(1 / 6))


def test_accuracies_are_those_of_a_simulation_and_lost_images_are_listed(network: nn.Sequential, images: torch.Tensor) -> None:
    labels = network(images).argmax(1)
    numbers = torch.arange(60) + 100
    found = diagnose(network, images, labels, numbers=numbers, **SETTINGS)
    answers = simulate(network, images, image_index=numbers, **SETTINGS).outputs[-1].argmax(1)
    assert found.rate_accuracy == 1
    assert found.spiking_accuracy == pytest.approx(float((answers == labels).double().mean()))
    assert {lost.number - 100 for lost in found.lost} == set((answers != labels).nonzero()[:, 0].tolist())
    assert all(lost.rate_margin > 0 > lost.spike_margin for lost in found.lost)
    table = found.markdown()
    assert all(f"| {name} |" in table for name in ("1", "3", "output"))
    assert {len(row) for row in found.rows()} == {len(found.columns())}
    assert found.metrics()["error/1"] == found.errors[0].size
    assert len(draw(found).axes) == 3


def test_slices_of_images_change_nothing(network: nn.Sequential, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(network=network, images=images, labels=torch.zeros(60).long(), n_steps=6)
    whole = measure(case)
    monkeypatch.setattr("ratespike.diagnosis.layers._VALUES_AT_ONCE", 6 * 30 * 7)  # seven images
    for error, other in zip(whole.errors, measure(case).errors, strict=True):
        assert other.size == pytest.approx(error.size)
        assert other.parts == pytest.approx(error.parts, abs=1e-6)


def test_accuracy_on_rates_is_that_of_the_network_before_its_conversion(network: nn.Sequential, images: torch.Tensor) -> None:
    labels = network(images).argmax(1)
    conversion = Calibrated(n_steps=2)
    shifted = conversion.converted(network, images)
    assert bool((shifted(images).argmax(1) != labels).any())
    found = diagnose(shifted, images, labels, trained=network, conversion=conversion, **SETTINGS)
    assert found.rate_accuracy == 1


def test_layers_are_simulated_as_the_engines_do() -> None:
    """Also where neurons are called twice, spikes are pooled by their maximum, and filters stand between layers."""
    torch.manual_seed(0)
    neuron = LIF(max_rate=300)
    first = nn.Sequential(nn.Conv2d(1, 4, 3), neuron, nn.MaxPool2d(2), LowPass(tau=0.005), nn.Conv2d(4, 4, 2), neuron)
    network = first.extend([nn.Flatten(), nn.Linear(16, 3)]).eval()
    images = torch.rand(9, 1, 8, 8) * 3
    for start in ("uniform", "steady_phase"):
        case = Case(network=network, images=images, labels=torch.zeros(9).long(), n_steps=12, start=start)
        (part,) = slices(case)
        outputs = part.run(lambda layer, currents: layer.pulses(currents)).mean(0)
        expected = simulate(network, images, 12, start=start, readout="mean").outputs[-1]
        assert outputs == pytest.approx(expected, abs=1e-5)


def test_a_layer_may_have_the_name_of_the_answers_row(network: nn.Sequential, images: torch.Tensor) -> None:
    named = nn.Sequential(OrderedDict(weights=network[0], output=network[1])).eval()
    found = diagnose(named, images, torch.zeros(60).long(), **SETTINGS)
    assert [error.name for error in found.errors] == ["output", "answer"]
    assert [row[0] for row in found.rows()] == ["output", "answer"]


def test_pooling_and_branches_are_diagnosed() -> None:
    torch.manual_seed(0)
    neuron = IntegrateAndFire(max_rate=1000)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), neuron, nn.MaxPool2d(2), nn.Conv2d(4, 4, 2), neuron, nn.Flatten()
    )
    images = torch.rand(20, 1, 8, 8)
    found = diagnose(network.append(nn.Linear(16, 3)).eval(), images, torch.zeros(20).long(), n_steps=8)
    assert [error.name for error in found.errors][-1] == "output" and len(found.errors) == 3
    assert all(abs(error.rest) < 0.1 for error in found.errors)


def test_a_gain_by_chance_is_told_from_one_that_is_none() -> None:
    wrong, right = torch.zeros(20, dtype=torch.bool), torch.ones(20, dtype=torch.bool)
    assert gain(wrong, right).p_value < 1e-4
    few = wrong.clone()
    few[:4] = True
    assert gain(wrong, few).p_value == 0.125
    assert gain(right, right).p_value == 1


def test_bad_input_is_refused(network: nn.Sequential, images: torch.Tensor) -> None:
    with pytest.raises(ParameterError, match="labels: there are 3 for 60 images"):
        diagnose(network, images, torch.zeros(3).long())
    with pytest.raises(
        ParameterError, match=r"labels: must be a class's number for each image, not torch.float32 of the shape"
    ):
        diagnose(network, images, torch.zeros(60, 4))
    for label in (-1, 4):
        with pytest.raises(ParameterError, match=f"labels: one is {label}; the network has 4 outputs, from 0 to 3"):
            diagnose(network, images, torch.full((60,), label), **SETTINGS)
    with pytest.raises(ParameterError, match="images: there are none"):
        diagnose(network, images[:0], torch.zeros(0).long())
