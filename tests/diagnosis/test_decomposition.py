"""The parts of a layer's error, against simulations of the other engine and closed forms."""

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from ratespike import simulate
from ratespike.diagnosis.case import Case
from ratespike.diagnosis.decomposition import PARTS, LayerError, rate_in_short_steps, rate_without_end
from ratespike.diagnosis.measured import measure
from ratespike.neurons import LIF, IntegrateAndFire, Neuron, WindowCountLIF
from ratespike.synapses import Alpha

pytestmark = pytest.mark.filterwarnings("ignore:.*spikes will be fewer than its rate says:UserWarning")

GENERATOR = torch.Generator().manual_seed(0)
INPUTS = torch.rand(40, 12, generator=GENERATOR) * 2
LABELS = torch.zeros(40).long()


def error_of(neuron: Neuron, **settings: Any) -> LayerError:
    """Of a layer whose current stands still."""
    return measure(Case(network=nn.Sequential(neuron), images=INPUTS, labels=LABELS, **settings)).errors[0]


def mean_square(neuron: Neuron, n_steps: int, start: str, dt: float = 0.001) -> float:
    """Of the difference between spikes, simulated by `simulate`, and rates."""
    spikes = simulate(nn.Sequential(neuron), INPUTS, n_steps, dt, start=start, record=["0"]).recordings["0"]
    activation = spikes.sum(0) * neuron.scale / (n_steps * dt)
    return float((activation - neuron(INPUTS)).double().square().mean())


@pytest.mark.parametrize("neuron", [LIF(max_rate=120), IntegrateAndFire(max_rate=300)], ids=["LIF", "IF"])
def test_the_parts_of_a_current_that_stands_still_are_differences_of_simulations(neuron: Neuron) -> None:
    error = error_of(neuron, n_steps=20, start="zero")
    as_it_was, steady = (mean_square(neuron, 20, start) for start in ("zero", "steady_phase"))
    assert error.size**2 * float(neuron(INPUTS).double().square().mean()) == pytest.approx(as_it_was, rel=1e-4)
    assert error.parts["start"] == pytest.approx((as_it_was - steady) / as_it_was, abs=1e-4)
    endless = mean_square(neuron, 1000, "steady_phase")
    counted = error.parts["finite count"] + error.parts["silence"]
    assert counted == pytest.approx((steady - endless) / as_it_was, abs=0.01)
    assert error.parts["uneven input"] == 0
    assert error.parts["inherited"] == pytest.approx(0, abs=1e-9)


def test_lost_parts_of_steps_are_those_that_shorter_steps_win_back() -> None:
    neuron = LIF(max_rate=600, tau_ref=0.0002)
    error = error_of(neuron, n_steps=300, start="steady_phase")
    long, short = mean_square(neuron, 300, "steady_phase"), mean_square(neuron, 1500, "steady_phase", 0.0002)
    lost = error.parts["refractory loss"] + error.parts["saturation"]
    assert error.parts["refractory loss"] > 0.5
    assert lost == pytest.approx((long - short) / long, abs=0.02)


def test_a_rate_above_one_spike_a_step_is_saturation() -> None:
    error = error_of(IntegrateAndFire(max_rate=1000), n_steps=100, start="half")
    assert error.parts["saturation"] > 0.95


def test_silence_is_the_part_of_neurons_without_a_spike() -> None:
    error = error_of(IntegrateAndFire(max_rate=20), n_steps=10, start="zero")  # 0.4 spikes of the strongest
    assert error.size == pytest.approx(1)
    neuron = IntegrateAndFire(max_rate=20)
    spikes = simulate(nn.Sequential(neuron), INPUTS, 10, start="steady_phase", record=["0"]).recordings["0"].sum(0)
    silent = spikes == 0
    assert error.parts["silence"] == pytest.approx(
        float((neuron(INPUTS) * silent).square().sum() / neuron(INPUTS).square().sum())
    )


def test_spikes_that_come_unevenly_are_told_from_the_mean_current() -> None:
    """One neuron excites and one inhibits as much: on rates nothing is left, yet spikes come through."""
    network = nn.Sequential(IntegrateAndFire(max_rate=1000), nn.Linear(2, 1, bias=False), IntegrateAndFire(max_rate=1000))
    network[1].weight.data = torch.tensor([[3.0, -3.0]])
    images = torch.full((8, 2), 0.5)
    case = Case(network=network, images=images, labels=torch.zeros(8).long(), n_steps=20)
    first, second, _ = measure(case).errors
    assert second.size == 0  # relative to rates of 0
    images = torch.tensor([[0.5, 0.45]]).repeat(8, 1)
    first, second, _ = measure(Case(network=network, images=images, labels=torch.zeros(8).long(), n_steps=20)).errors
    assert first.parts["uneven input"] == 0
    assert second.parts["uneven input"] > 0.5


def test_a_slow_filter_is_the_read_outs_part() -> None:
    network = nn.Sequential(IntegrateAndFire(max_rate=1000), nn.Linear(12, 3))
    case = Case(network=network, images=INPUTS / 2, labels=LABELS, n_steps=20, start="zero", synapse=Alpha(tau=1.0))
    *_, output = measure(case).errors
    assert output.name == "output" and output.parts["read-out"] > 0.5
    mean = Case(network=network, images=INPUTS / 2, labels=LABELS, n_steps=20, start="zero", readout="mean")
    assert measure(mean).errors[-1].parts["read-out"] == pytest.approx(0, abs=1e-5)


def test_a_neuron_that_trains_on_its_window_has_no_error_there() -> None:
    error = error_of(WindowCountLIF(max_rate=150, n_steps=10), n_steps=10, start="half")
    assert error.size < 1e-6 and set(error.parts.values()) == {0.0} and error.rest == 0


@pytest.mark.parametrize("neuron", [LIF(max_rate=400, tau_ref=0.0004), IntegrateAndFire(max_rate=700)], ids=["LIF", "IF"])
def test_rates_without_end_are_those_of_long_simulations(neuron: Neuron) -> None:
    current = neuron.current(INPUTS)
    for dt, rate in ((0.001, rate_without_end(neuron, current, 0.001)), (0.0004, rate_in_short_steps(neuron, current))):
        spikes = simulate(nn.Sequential(neuron), INPUTS, 1000, dt, start="steady_phase", record=["0"]).recordings["0"]
        error = (spikes.sum(0) / (1000 * dt) - rate).abs()
        assert float(error.max()) < 2 / (1000 * dt)


def test_a_smooth_rate_is_told_from_the_rate_of_spikes() -> None:
    neuron = LIF(max_rate=150, sigma=0.1)
    error = error_of(neuron, n_steps=200, start="steady_phase")
    difference = float((LIF(max_rate=150)(INPUTS) - neuron(INPUTS)).double().square().mean())
    assert error.parts["smooth rate"] == pytest.approx(difference / mean_square(neuron, 200, "steady_phase"), rel=1e-3)
    assert error.parts["smooth rate"] > 0.05


@pytest.mark.slow
def test_parts_and_rest_add_up_and_the_rest_is_small(broken: ModuleType, trained: dict[str, Any]) -> None:
    """On three networks; the leaky one has the smooth rate that it was trained with, and many steps to tell it by."""
    dense, convolutional = trained["dense"], trained["convolutional"]
    cases = [dense.case(dense.spiking(), n_steps=16), convolutional.case(convolutional.spiking(), n_steps=16)]
    cases.append(convolutional.case(convolutional.leaky, n_steps=120))
    for case in cases:
        for error in measure(case.first(100)).errors:
            assert abs(error.rest) <= 1e-3, error
            assert sum(error.parts.values()) + error.rest == pytest.approx(1), error
            assert set(error.parts) <= set(PARTS)
