"""The rates and the step that are exported compute what the network and the simulation do."""

import warnings

import pytest
import torch
from networks import every_layer, some_images
from torch import Tensor, nn
from torch.nn import functional as F

from ratespike import simulate
from ratespike.exchange.programs import Rates, SimulationStep
from ratespike.neurons import (
    LIF,
    AdaptiveLIF,
    IntegrateAndFire,
    Neuron,
    PoissonSpiking,
    RegularSpiking,
    Sigmoid,
    SpikingLeakyReLU,
    SpikingRectifiedLinear,
    StaircaseIntegrateAndFire,
    WindowCountLIF,
)
from ratespike.parameters import ParameterError
from ratespike.synapses import Alpha, LowPass, NoFilter, Synapse

NEURONS: list[tuple[type[Neuron], dict[str, object]]] = [
    (LIF, {"max_rate": 300, "intercept": -0.2}),
    (LIF, {"max_rate": 300, "sigma": 0.02, "min_voltage": None}),
    (AdaptiveLIF, {"max_rate": 200}),
    (WindowCountLIF, {"max_rate": 300}),
    (IntegrateAndFire, {"max_rate": 400, "negative_spikes": True}),
    (StaircaseIntegrateAndFire, {"max_rate": 900}),
    (SpikingRectifiedLinear, {"max_rate": 2500}),
    (SpikingLeakyReLU, {"max_rate": 900}),
    (Sigmoid, {"max_rate": 300}),
]


@pytest.mark.parametrize(("neuron", "parameters"), NEURONS, ids=lambda value: getattr(value, "__name__", None))
def test_rates_by_formulas_are_the_networks(neuron: type[Neuron], parameters: dict[str, object]) -> None:
    network = every_layer(neuron, **parameters)
    assert torch.allclose(Rates(network)(some_images()), network(some_images()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("synapse", [LowPass(tau=0.01), Alpha(tau=0.005)])
@pytest.mark.parametrize(("neuron", "parameters"), NEURONS, ids=lambda value: getattr(value, "__name__", None))
def test_steps_are_the_simulations(neuron: type[Neuron], parameters: dict[str, object], synapse: Synapse) -> None:
    network = every_layer(neuron, **parameters).double()
    network.insert(2, LowPass(tau=0.003))  # a filter behind neurons has a state too
    images = some_images().double()
    spikes, outputs = stepped(SimulationStep(network, images, 0.001, synapse), images, 30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # more than a spike a step
        result = simulate(network, images, 30, start="zero", synapse=synapse, engine="torch", record=list(spikes))
    for name, counts in spikes.items():
        assert torch.equal(counts, result.recordings[name]), name
        assert counts.abs().sum() > 20, f"{name} is nearly silent"
    assert torch.allclose(outputs, result.outputs, atol=1e-9)


def stepped(step: SimulationStep, images: Tensor, n_steps: int) -> tuple[dict[str, Tensor], Tensor]:
    """The spikes of each layer and the outputs, shape (time, batch, ...)."""
    state = [tensor.start(len(images)) for tensor in step.state]
    spikes: dict[str, list[Tensor]] = {name: [] for name in step.layers}
    outputs = []
    for _ in range(n_steps):
        output, *rest = step(images, *state)
        for name, counts in zip(step.layers, rest, strict=False):
            spikes[name].append(counts)
        state = rest[len(step.layers) :]
        outputs.append(output)
    return {name: torch.stack(counts) for name, counts in spikes.items()}, torch.stack(outputs)


def test_what_a_step_cannot_do_is_refused() -> None:
    random = nn.Sequential(nn.Linear(2, 3), PoissonSpiking(neuron=LIF()))
    with pytest.raises(ParameterError, match="1: PoissonSpiking draws random numbers"):
        SimulationStep(random, torch.rand(2, 2))
    pooled = nn.Sequential(RegularSpiking(neuron=LIF()), nn.MaxPool3d(2))
    with pytest.raises(ParameterError, match="1: a step has no max_pool3d_with_indices of spikes"):
        SimulationStep(pooled, torch.rand(2, 1, 4, 4, 4))


class Pooled(nn.Module):
    """Max poolings of images and of spikes, as modules and as functions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)
        self.neuron = LIF(max_rate=400, intercept=-0.5)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.neuron(self.first(F.max_pool2d(x, 2)))
        x = self.neuron(self.second(self.pool(x)))
        return F.adaptive_max_pool2d(x, 1).flatten(1)


def test_a_max_pooling_of_spikes_keeps_their_sums() -> None:
    torch.manual_seed(0)
    network, images = Pooled().double(), some_images().double()
    step = SimulationStep(network, images)
    assert [tensor.name for tensor in step.state[4:]] == ["pool.sum_of_pooling_1", "network.sum_of_pooling_2"]
    spikes, outputs = stepped(step, images, 30)
    result = simulate(network, images, 30, start="zero", synapse=NoFilter(), engine="torch", record=list(spikes))
    for name, counts in spikes.items():
        assert torch.equal(counts, result.recordings[name]) and counts.sum() > 20
    assert torch.allclose(outputs, result.outputs, atol=1e-6)
    assert outputs.sum() > 100
