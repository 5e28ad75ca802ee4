"""What was found out about a network is used again, and never when something has changed."""

import copy
import gc
import math
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ratespike.neurons import LIF, IntegrateAndFire
from ratespike.parameters import ParameterError
from ratespike.simulation import simulate
from ratespike.simulation.network_analysis import analyse

FACTOR = {"of the module": 1.0}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 9)
        self.norm = nn.BatchNorm1d(9)
        self.neuron = LIF(max_rate=300)
        self.last = nn.Linear(9, 3)
        self.factor = 1.0
        self.table = {"shift": [0.0, 0.5]}
        self.plain = torch.ones(9)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x)) * self.factor + self.table["shift"][1] * self.plain
        return self.last(self.neuron(x * FACTOR["of the module"]))  # type: ignore[no-any-return]


class Negative(Net):
    def forward(self, x: Tensor) -> Tensor:
        return -super().forward(x)


def network() -> Net:
    torch.manual_seed(0)
    return Net()


IMAGES = torch.rand(5, 6, generator=torch.Generator().manual_seed(1))


def next_float(tensor: Tensor) -> None:
    """Change one number by as little as can be."""
    with torch.no_grad():
        tensor.view(-1)[3] = torch.nextafter(tensor.view(-1)[3], torch.tensor(math.inf))


def patch_forward(net: Net) -> None:
    net.forward = lambda x: net.last(net.neuron(net.first(x)))  # type: ignore[method-assign]


CHANGES: dict[str, Callable[[Net], object]] = {
    "a weight, in place": lambda net: net.first.weight.data.mul_(-1),
    "a weight, by its last bit": lambda net: next_float(net.first.weight.data),
    "another parameter": lambda net: setattr(net.first, "weight", nn.Parameter(-net.first.weight.detach())),
    "a buffer": lambda net: net.norm.running_mean.add_(1),  # type: ignore[union-attr,operator]
    "a parameter of the neuron": lambda net: setattr(net.neuron, "tau_rc", 0.05),
    "another neuron": lambda net: setattr(net, "neuron", IntegrateAndFire()),
    "an attribute": lambda net: setattr(net, "factor", 2.0),
    "a number deep in an attribute": lambda net: net.table["shift"].__setitem__(1, -0.5),
    "a tensor that is no buffer": lambda net: net.plain.mul_(3),
    "a number outside of the network": lambda net: FACTOR.__setitem__("of the module", 0.5),
    "a hook": lambda net: net.first.register_forward_hook(lambda module, given, result: -result),
    "its forward": patch_forward,
    "its class": lambda net: setattr(net, "__class__", Negative),
}


@pytest.mark.parametrize("engine", ["auto", "torch"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_counts_at_once(change: str, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FACTOR, "of the module", 1.0)
    net = network()
    simulate(net, IMAGES, 20, engine=engine)
    CHANGES[change](net)
    fresh = copy.deepcopy(net)  # about which nothing is known
    result = simulate(net, IMAGES, 20, engine=engine)
    expected = simulate(fresh, IMAGES, 20, engine=engine)
    assert torch.equal(result.outputs, expected.outputs)
    for name, counts in expected.spike_counts.items():
        assert torch.equal(result.spike_counts[name], counts), name


@pytest.mark.parametrize("change", [change for change in CHANGES if change != "a weight, by its last bit"])
def test_the_changes_change_something(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FACTOR, "of the module", 1.0)
    net = network()
    before = simulate(net, IMAGES, 20).outputs
    CHANGES[change](net)
    assert not torch.equal(simulate(net, IMAGES, 20).outputs, before)


def test_without_a_change_nothing_is_found_out_again() -> None:
    net = network()
    first = analyse(net, IMAGES)
    assert analyse(net, torch.rand(2, 6)) is first
    net.train()
    net(IMAGES.requires_grad_(False))  # moves the statistics of the normalisation
    assert analyse(net, IMAGES) is not first


@pytest.mark.slow
def test_images_of_another_dtype_or_shape_are_another_matter() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), LIF(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    small = simulate(net, torch.ones(2, 1, 8, 8), 10)
    large = simulate(net, torch.ones(2, 1, 12, 12), 10)
    assert small.neurons["1"] == 2 * 6 * 6
    assert large.neurons["1"] == 2 * 10 * 10
    double = simulate(net.double(), torch.ones(2, 1, 8, 8, dtype=torch.float64), 10)
    assert double.outputs.dtype == torch.float64


def test_nothing_is_kept_of_a_network_that_is_gone() -> None:
    net = network()
    simulate(net, IMAGES, 3)
    gone = weakref.ref(net)
    kept = weakref.ref(analyse(net, IMAGES))
    del net
    gc.collect()
    assert gone() is None
    assert kept() is None


@pytest.mark.parametrize("engine", ["torch", "event_driven"])
def test_images_of_zeros_hide_no_mixing(engine: str) -> None:
    class Mixed(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x / (x.square().mean(0) + 0.01).sqrt())

    torch.manual_seed(0)
    net = Mixed()
    for images in (torch.zeros(5, 6), IMAGES):
        with pytest.raises(ParameterError, match="depends on the other images"):
            simulate(net, images, 5, engine=engine)


@pytest.mark.parametrize("value", [1e5, -math.inf])
def test_a_large_or_infinite_value_hides_no_mixing(value: float) -> None:
    class Mixed(Net):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            return torch.cat([y - y.mean(0), torch.full_like(y[:, :1], value)], 1)

    torch.manual_seed(0)
    with pytest.raises(ParameterError, match="depends on the other images"):
        simulate(Mixed(), IMAGES, 5, engine="torch")
