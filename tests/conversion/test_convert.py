"""A plain network with neurons in place of its ReLUs: the same on rates, nearly the same on spikes."""

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ratespike import convert, simulate
from ratespike.neurons import LIF, IntegrateAndFire, Neuron, PoissonSpiking, SpikingRectifiedLinear
from ratespike.parameters import ParameterError


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.norm(self.first(x)), inplace=True)))


class Plain(nn.Module):
    """Batch normalisation, max pooling, a residual block; ReLUs as modules, functions and a clamp."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2))
        self.block = Block()
        self.hidden, self.out = nn.Linear(6 * 36, 20), nn.Linear(20, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(self.front(x)).flatten(1)
        return self.out(self.hidden(x).clamp(min=0))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    model = Plain()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.2, 0.6)
    return model.train()  # as people leave it


IMAGES = torch.rand(32, 1, 14, 14, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("neuron", [IntegrateAndFire(max_rate=1000), SpikingRectifiedLinear(max_rate=700)], ids=repr)
def test_neurons_without_leak_are_exact_on_rates(model: nn.Module, neuron: Neuron) -> None:
    spiking = convert(model, neuron=neuron, images=IMAGES)
    right = model.eval()(IMAGES)
    assert (spiking(IMAGES) - right).abs().max() < 1e-4 * right.abs().max()
    assert [layer.name for layer in spiking.report] == ["front_2", "block", "block-2", "relu"]
    assert all(layer.error < 1e-6 for layer in spiking.report)


@pytest.mark.slow
def test_a_leaky_neuron_comes_near_and_says_how_near(model: nn.Module) -> None:
    spiking = convert(model, neuron=LIF(max_rate=250), images=IMAGES)
    right = model.eval()(IMAGES)
    assert (spiking(IMAGES) - right).abs().max() < 0.15 * right.abs().max()
    for layer, (name, neuron) in zip(spiking.report, spiking.neurons.items(), strict=True):
        x = torch.linspace(0, layer.scale, 50)
        assert (neuron(x) - x).abs().max() < 0.25 * layer.scale, name
        assert 0 < layer.error < 0.1


@pytest.mark.slow
def test_spikes_approach_the_networks_outputs(model: nn.Module) -> None:
    spiking = convert(model, neuron=IntegrateAndFire(max_rate=1000), images=IMAGES)
    right = model.eval()(IMAGES).detach()
    errors = []
    for n_steps in (16, 64, 256):
        outputs = simulate(spiking, IMAGES, n_steps, start="half", readout="mean").outputs[-1]
        errors.append(float((outputs - right).abs().mean() / right.std()))
    assert errors[2] < errors[1] < errors[0] and errors[2] < 0.05, errors


def test_activations_of_the_percentile_fire_at_max_rate(model: nn.Module) -> None:
    spiking = convert(model, neuron=IntegrateAndFire(max_rate=1000), images=IMAGES, percentile=99)
    neurons = spiking.neurons["front_2"]
    signal = model.eval().front[1](model.front[0](IMAGES)).detach()
    rates = neurons.neuron.firing_rate(neurons.neuron.current(signal * neurons.in_scale + neurons.shift))
    assert abs(float((rates > 1000.01).double().mean()) - 0.01) < 0.001


class Uses(nn.Module):
    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.first, self.relu, self.second, self.act, self.third = (
            nn.Linear(3, 3),
            nn.ReLU(),
            nn.Linear(3, 3),
            act,
            nn.Linear(3, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.act(self.second(self.relu(self.first(x)))))


@pytest.mark.parametrize(
    ("make", "neuron", "message"),
    [
        (lambda: nn.Linear(3, 2), IntegrateAndFire(), "model: its forward calls no ReLU"),
        (
            lambda: nn.Sequential(nn.Linear(3, 2), nn.Tanh()),
            IntegrateAndFire(),
            "model: its forward calls no ReLU but tanh in 1; ",
        ),
        (lambda: nn.Sequential(nn.Linear(4, 2), nn.ReLU()), IntegrateAndFire(), r"^0: mat1 .*; images have the shape \(3,\)"),
        (lambda: Uses(nn.GELU()), IntegrateAndFire(), "act: gelu cannot be converted"),
        (lambda: Uses(nn.Softmax(1)), IntegrateAndFire(), "act: _softmax cannot be converted"),
        (lambda: Uses(nn.LayerNorm(3)), IntegrateAndFire(), "act: native_layer_norm cannot be converted"),
        (lambda: Uses(nn.Identity()), PoissonSpiking(neuron=LIF()), "neuron: PoissonSpiking has no max_rate"),
    ],
)
def test_what_cannot_be_converted_is_named(make, neuron: Neuron, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ParameterError, match=message):
        convert(make(), neuron=neuron, images=torch.rand(8, 3))


@pytest.mark.parametrize(
    "rectify",
    [
        lambda net, h: net.second(net.relu(h)) + h,
        lambda net, h: (F.relu_(h), net.second(h))[1],
        lambda net, h: (h.relu_(), net.second(h))[1],
        lambda net, h: (h.clamp_(min=0), net.second(h))[1],
        lambda net, h: (torch.clamp_(h, min=0), net.second(h))[1],
        lambda net, h: (torch.clamp(h, min=0, out=h), net.second(h))[1],
    ],
    ids=["nn.ReLU", "F.relu_", "relu_", "clamp_", "torch.clamp_", "clamp into"],
)
def test_a_relu_in_place_changes_its_input(rectify) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)

    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.relu = nn.Linear(5, 6), nn.Linear(6, 6), nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            return rectify(self, self.first(x))

    model, images = InPlace(), torch.randn(8, 5)
    spiking = convert(model, neuron=IntegrateAndFire(max_rate=1000), images=images, percentile=100)
    with torch.no_grad():
        assert torch.allclose(spiking(images), model(images), atol=1e-5)
    simulate(spiking, images, 5)


def test_a_relu_in_a_module_with_a_name_of_python_s() -> None:
    class Keys(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(super().forward(x))

    model = nn.Sequential(OrderedDict(keys=Keys(3, 4), values=Keys(4, 2)))
    spiking = convert(model, neuron=IntegrateAndFire(max_rate=1000), images=torch.rand(8, 3))
    assert list(spiking.neurons) == ["keys_", "values_"]


def test_a_forward_that_calls_more_relus_than_before_is_refused() -> None:
    class Chunks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([F.relu(self.layer(part)) for part in x.split(8)])

    spiking = convert(Chunks(), neuron=IntegrateAndFire(max_rate=1000), images=torch.rand(5, 3))
    with pytest.raises(ParameterError, match="calls more ReLUs than the 1 that it was converted with"):
        spiking(torch.rand(20, 3))
