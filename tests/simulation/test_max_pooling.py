"""Max pooling of spikes: against the same rule step by step, and against the rates."""

import pytest
import torch
from oracle import step_by_step
from torch import nn

from ratespike import simulate
from ratespike.neurons import LIF, IntegrateAndFire, Neuron, SpikingRectifiedLinear
from ratespike.simulation import reference
from ratespike.synapses import NoFilter

POOLS = {
    "pool2d": nn.MaxPool2d(2),
    "overlapping": nn.MaxPool2d(3, stride=2, padding=1),
    "adaptive": nn.AdaptiveMaxPool2d(2),
    "ceil": nn.MaxPool2d(2, ceil_mode=True),
}


def network(pool: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    front = [nn.Conv2d(1, 3, 3), nn.MaxPool2d(2, 1), LIF(max_rate=200, intercept=-0.5), pool]
    middle = [nn.Conv2d(3, 4, 1), nn.MaxPool2d(1), LIF(max_rate=200, intercept=-0.5), nn.AdaptiveMaxPool2d(1)]
    return nn.Sequential(*front, *middle, nn.Flatten(), nn.Linear(4, 3)).double().eval()


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("over_several_chunks", [False, True])
def test_it_goes_by_the_sums_over_time(name: str, over_several_chunks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if over_several_chunks:
        monkeypatch.setattr(reference, "steps_at_once", lambda *_: 7)
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    right = step_by_step(network(POOLS[name]), images, 40, max_poolings_of_spikes=("3", "5", "7"))
    result = simulate(network(POOLS[name]), images, 40, start="half", synapse=NoFilter())
    for layer, spikes in right.spikes.items():
        assert torch.equal(result.spike_counts[layer], spikes.flatten(2).sum(2)), layer
        assert spikes.sum() > 20
    assert torch.allclose(result.outputs, right.outputs, atol=1e-9)


@pytest.mark.slow
def test_the_mean_over_time_approaches_the_pooled_rates() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 3, 3), IntegrateAndFire(max_rate=500), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 3)]
    pooled = nn.Sequential(*layers).double()
    images = torch.rand(3, 1, 8, 8).double()
    errors = []
    for n_steps in (50, 200, 800):
        result = simulate(pooled, images, n_steps, start="half", readout="mean")
        errors.append(float((result.outputs[-1] - pooled(images).detach()).abs().max()))
    assert errors[2] < errors[1] < errors[0] and errors[2] < 0.01


def test_neurons_of_one_height_make_outputs_of_that_height() -> None:
    pooled = nn.Sequential(LIF(max_rate=200), nn.MaxPool1d(4))
    outputs = simulate(pooled, torch.rand(5, 3, 8), 30, synapse=NoFilter()).outputs
    assert set(outputs.unique().tolist()) == {0.0, 5.0}


@pytest.mark.slow
@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("neuron", [LIF(max_rate=200, intercept=-0.5), SpikingRectifiedLinear(max_rate=2500)], ids=repr)
@pytest.mark.parametrize("options", [{}, {"early_exit": 0.2}], ids=str)
def test_the_event_driven_engine_pools_spikes_too(name: str, neuron: Neuron, options: dict[str, object]) -> None:
    torch.manual_seed(0)
    front = [
        nn.Conv2d(1, 3, 3),
        neuron,
        POOLS[name],
        nn.Conv2d(3, 4, 1),
        neuron,
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(1),
    ]
    size = nn.Sequential(*front)(torch.zeros(1, 1, 8, 8)).flatten(1).shape[1]
    pooled = nn.Sequential(*front, nn.Flatten(), nn.Linear(size, 3)).double().eval()
    images = torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    reference, event_driven = (
        simulate(pooled, images, 40, record=["1", "4"], engine=engine, **options)  # type: ignore[arg-type]
        for engine in ("torch", "event_driven")
    )
    for layer, spikes in reference.recordings.items():
        assert torch.equal(event_driven.recordings[layer], spikes), layer
        assert spikes.sum() > 20
    assert torch.allclose(event_driven.outputs, reference.outputs, atol=1e-9)
    assert torch.equal(event_driven.synaptic_operations, reference.synaptic_operations)


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.Sequential(nn.MaxPool2d(2), nn.MaxPool2d(2))], ids=["once", "twice"])
def test_single_precision_pools_the_same_spikes(pool: nn.Module) -> None:
    torch.manual_seed(0)
    front = [nn.Conv2d(1, 3, 3), LIF(max_rate=200, intercept=-0.5), pool, nn.Conv2d(3, 4, 1)]
    pooled = nn.Sequential(*front, LIF(intercept=-0.5), nn.Flatten(), nn.LazyLinear(3))
    pooled(torch.zeros(1, 1, 8, 8))
    images = torch.rand(40, 1, 8, 8)
    reference, event_driven = (simulate(pooled, images, 40, engine=engine) for engine in ("torch", "auto"))
    for layer, counts in reference.spike_counts.items():
        assert (counts != event_driven.spike_counts[layer]).float().mean() < 0.01, layer
