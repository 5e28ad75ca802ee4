"""Terms of the loss that hold firing rates; `tests/test_few_steps_program.py` trains with a budget of operations."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ratespike import simulate
from ratespike.neurons import LIF, IntegrateAndFire, Neuron, SpikingLeakyReLU
from ratespike.parameters import ParameterError
from ratespike.pipeline.forwards import Rates, Spikes
from ratespike.pipeline.rate_control import Activity, NoControl, OperationsBudget, RateBand
from ratespike.simulation.fan_out import fan_out
from ratespike.simulation.probe import trace

IMAGES = torch.rand(6, 1, 7, 7, generator=torch.Generator().manual_seed(1))
CLIPPED = IntegrateAndFire(max_rate=1000, levels=1)


def convolutions(neuron: Neuron) -> nn.Sequential:
    """With borders, a pooling that drops a row, and strides: a spike's cost depends on its place."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 4, 2, stride=2)
    return nn.Sequential(first, neuron, nn.AvgPool2d(2), second, neuron, nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize("neuron", [CLIPPED, SpikingLeakyReLU(max_rate=2000, negative_slope=0.5)], ids=["clipped", "leaky"])
def test_operations_of_spikes_are_those_that_a_simulation_counts(neuron: Neuron) -> None:
    network = convolutions(neuron)
    held = OperationsBudget(n_steps=5).of(network, IMAGES[:1], dt=0.001)
    assert held is not None
    torch.manual_seed(3)
    Spikes(n_steps=5, start="half")(network, IMAGES, ["1", "4"], 0.001, held.watch)
    image_operations = fan_out(trace(network.eval(), IMAGES[:1])).image_operations
    expected = simulate(network, IMAGES, 5, start="half").synaptic_operations.sum(0).mean() - image_operations
    assert expected > 0, "nothing would be compared"
    penalty, operations = held.taken()
    assert operations.item() == pytest.approx(expected.item(), rel=1e-4)
    assert penalty.item() == pytest.approx(0.1e-6 * operations.item())


def test_operations_of_a_staircase_are_those_of_its_spikes_in_the_first_layer() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(49, 30), CLIPPED, nn.Linear(30, 2))
    held = OperationsBudget(n_steps=1).of(network, IMAGES[:1], dt=0.001)
    assert held is not None
    Rates()(network, IMAGES, ["2"], 0.001, held.watch)
    spikes = simulate(network, IMAGES, 1, start="half").spike_counts["2"].sum(0).mean()
    assert held.taken().quantity.item() == pytest.approx(2 * spikes.item())


def test_the_slope_is_what_a_spike_costs_and_nothing_below_the_target() -> None:
    rates = torch.tensor([[0.0, 40.0, -10.0], [20.0, 0.0, 0.0]], requires_grad=True)
    weights_met = torch.tensor([1e6, 2e6, 3e6])
    budget = OperationsBudget(weight=0.5, target=0.2, n_steps=10)
    penalty, operations = budget([Activity(rates, 1, weights_met)], dt=0.001)
    assert operations.item() == pytest.approx(0.01 * (20e6 + 80e6 + 30e6) / 2)
    assert penalty.item() == pytest.approx(0.5 * (0.65 - 0.2))
    (slope,) = torch.autograd.grad(penalty, rates)
    sign = torch.tensor([[1, 1, -1], [1, 1, 1]])
    torch.testing.assert_close(slope, 0.5 * sign * torch.tensor([1.0, 2.0, 3.0]) * 0.01 / 2)
    below, _ = OperationsBudget(weight=0.5, target=0.7, n_steps=10)([Activity(rates, 1, weights_met)], dt=0.001)
    assert below == 0 and not torch.autograd.grad(below, rates)[0].any()


@pytest.mark.parametrize("target", [0.0, 0.3, 2.0])
def test_the_processes_slopes_average_to_that_of_the_whole_batch(target: float) -> None:
    """Of a batch in uneven parts, some above the target and one without images."""
    rates = torch.tensor([[10.0, 500.0], [0.0, 200.0], [100.0, 0.0], [0.0, 1.0]], requires_grad=True)
    weights_met = torch.tensor([1e6, 2e6])
    budget = OperationsBudget(target=target, n_steps=1)
    whole = budget([Activity(rates, 1, weights_met)], dt=0.001)
    parts = [rates[:1], rates[1:], rates[4:]]
    held = []
    for part in parts:
        held.append(budget([Activity(part, 1, weights_met)], 0.001, 4 / 3, lambda own: whole.quantity.clone()))
    penalty = torch.stack([each.penalty for each in held]).mean()
    torch.testing.assert_close(penalty, whole.penalty)
    torch.testing.assert_close(torch.stack([each.quantity for each in held]).mean(), whole.quantity)
    slopes = [torch.autograd.grad(each, rates, retain_graph=True)[0] for each in (penalty, whole.penalty)]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("shape", [(9, 4), (5, 3, 2, 3)])
def test_the_band_holds_the_percentile_that_numpy_finds(shape: tuple[int, ...]) -> None:
    rates = 300 * torch.rand(*shape, generator=torch.Generator().manual_seed(4))
    rates[:, 0] *= 0.1  # the first channel lies below the band
    band = RateBand(weight=0.01, low=60, high=120, percentile=70)
    of_channels = np.moveaxis(rates.numpy(), 1, 0).reshape(shape[1], -1)
    percentiles = np.percentile(of_channels, 70, axis=1, method="inverted_cdf")
    outside = np.maximum(60 - percentiles, 0) + np.maximum(percentiles - 120, 0)
    assert 0 < percentiles[0] < 60 and percentiles.max() > 120
    penalty, in_band = band([Activity(rates, 1, rates[0])], dt=0.001)
    assert penalty.item() == pytest.approx(0.01 * (outside**2).mean(), rel=1e-5)
    assert in_band.item() == pytest.approx((outside == 0).mean())
    assert band([Activity(rates[:0], 1, rates[0])], 0.001, 2) == (0, 0)
    with pytest.raises(ParameterError, match=r"low=50: must be below high=50 \(Hz\)"):
        RateBand(low=50, high=50)


def trained(neuron: Neuron, term: OperationsBudget | RateBand | None) -> tuple[float, Tensor]:
    """The accuracy on rates after a short training in half precision, and the rates."""
    torch.manual_seed(0)
    signals = torch.rand(60, 8)
    labels = (signals[:, :4].sum(1) > signals[:, 4:].sum(1)).long()
    network = nn.Sequential(nn.Linear(8, 40), neuron, nn.Linear(40, 2))
    held = (term or OperationsBudget()).of(network, signals[:1], dt=0.001)
    assert held is not None
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    for _ in range(60):
        with torch.autocast("cpu", torch.bfloat16):
            outputs = Rates()(network, signals, ["1"], 0.001, held.watch)
            penalty, _ = held.taken()
        assert penalty.dtype == torch.float32
        loss = F.cross_entropy(outputs.float(), labels)
        optimizer.zero_grad()
        (loss if term is None else loss + penalty).backward()
        optimizer.step()
    accuracy = (network(signals).argmax(1) == labels).float().mean().item()
    return accuracy, network[:2](signals).detach() / neuron.scale


def test_a_training_comes_down_to_its_target() -> None:
    budget = OperationsBudget(weight=1e5, target=4e-6, n_steps=1)  # four operations are two spikes
    free_accuracy, free = trained(CLIPPED, None)
    accuracy, rates = trained(CLIPPED, budget)
    assert free.sum(1).mean() * 0.001 > 4
    assert rates.sum(1).mean() * 0.001 < 2.5
    assert accuracy > 0.9 * free_accuracy


@pytest.mark.slow
def test_a_training_comes_into_its_band() -> None:
    _, free = trained(LIF(max_rate=200, sigma=0.05), None)
    _, rates = trained(LIF(max_rate=200, sigma=0.05), RateBand(weight=1e-2, low=30, high=60, percentile=100))
    assert _in_band(free) < 0.5
    assert _in_band(rates) > 0.6  # some are silent on all signals, where the slope is next to nothing


def _in_band(rates: Tensor) -> float:
    """The part of the neurons whose highest rate is in the band, or very near."""
    highest = rates.amax(0)
    return ((highest > 28) & (highest < 65)).float().mean().item()


def test_without_a_control_there_is_nothing_to_hold() -> None:
    assert NoControl().of(nn.Identity(), IMAGES[:1], dt=0.001) is None
