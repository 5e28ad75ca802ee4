"""Networks as people bring them: simulated exactly as their own forward says, on both engines, or refused in one line."""

import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from oracle import step_by_step
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm
from variants import all_but_one_slow

from ratespike import simulate
from ratespike.neurons import LIF, AdaptiveLIF, IntegrateAndFire, SpikingRectifiedLinear
from ratespike.parameters import ParameterError
from ratespike.synapses import LowPass, NoFilter


def lif() -> LIF:
    return LIF(max_rate=200, intercept=-0.5)


class Applied(nn.Module):
    """A network with a forward of its own."""

    def __init__(self, forward: Callable[..., Tensor], **modules: nn.Module):
        super().__init__()
        self._function = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self._function(self, x)


class Skip(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        weight = (weight - weight.mean((1, 2, 3), keepdim=True)) / (weight.std((1, 2, 3), keepdim=True) + 1e-5)
        return self._conv_forward(x, weight, self.bias)


def normed(channels: int, kind: type[nn.Module] = nn.BatchNorm2d) -> nn.Module:
    layer = kind(channels)
    nn.init.uniform_(layer.weight, 0.5, 1.5)
    nn.init.uniform_(layer.bias, -0.3, 0.3)
    layer.running_mean.uniform_(-0.2, 0.2)
    layer.running_var.uniform_(0.5, 2)
    return layer


def pruned() -> nn.Module:
    layer = nn.Conv2d(1, 4, 3)
    prune.random_unstructured(layer, "weight", 0.5)
    return layer


def hooked() -> nn.Module:
    layer = nn.Conv2d(4, 4, 3)
    layer.register_forward_hook(lambda module, inputs, output: output * 1.5 + inputs[0].mean((1, 2, 3), keepdim=True))
    return layer


def sequence(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers)


def in_place(net: Applied, x: Tensor) -> Tensor:
    x = net.first(net.conv(x))
    y = net.more(x)
    y += x
    return net.out(net.second(y).flatten(1))


def used_twice(net: Applied, x: Tensor) -> Tensor:
    first = net.neuron(net.conv(x))
    return net.out(net.neuron_again(net.same(first)).flatten(1)) + net.out(net.third(net.same(first * 0.5)).flatten(1))


def hidden(function: Callable[[Applied, Tensor], Tensor], features: int = 7) -> nn.Module:
    """Neurons, and what a function makes of their spikes."""
    layers = {"a": nn.Linear(64, 6), "n": lif(), "out": nn.Linear(features, 3)}
    return Applied(lambda net, x: function(net, net.n(net.a(x.flatten(1)))), **layers)


def bent(function: Callable[[nn.Module, Tensor], Tensor]) -> nn.Module:
    """Neurons driven by a function of the flattened image."""
    modules = {"first": nn.Linear(64, 9), "again": nn.Linear(64, 9), "wide": nn.Linear(128, 9), "few": nn.Linear(8, 9)}
    modules |= {"matrix": nn.Linear(9, 9, bias=False), "words": nn.Embedding(5, 2)}
    return Applied(lambda net, x: net.out(net.n(function(net, x.flatten(1)))), n=lif(), out=nn.Linear(9, 3), **modules)


def shape_in_attributes(net: nn.Module, x: Tensor) -> Tensor:
    net.batch, net.width = x.shape
    return net.first(x.reshape(net.batch, net.width))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: sequence(nn.Conv2d(1, 4, 3), lif(), nn.Conv2d(4, 4, 3), lif(), nn.Flatten(), nn.Linear(64, 4)),
    "batch norm": lambda: sequence(
        nn.Conv2d(1, 4, 3), normed(4), lif(), nn.Conv2d(4, 4, 3, bias=False), normed(4), lif(), nn.Flatten(), nn.Linear(64, 4)
    ),
    "batch norm behind neurons": lambda: sequence(
        nn.Conv2d(1, 4, 3),
        lif(),
        normed(4),
        nn.Conv2d(4, 4, 3, padding=1),
        lif(),
        nn.Flatten(),
        normed(144, nn.BatchNorm1d),
        nn.Linear(144, 4),
    ),
    "max pool of the image": lambda: sequence(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), lif(), nn.Flatten(), nn.Linear(36, 4)),
    "sequence with a skip": lambda: sequence(
        nn.Conv2d(1, 4, 3, padding=1), lif(), Skip(nn.Conv2d(4, 4, 3, padding=1), lif()), nn.Flatten(), nn.Linear(256, 4)
    ),
    "skip without neurons": lambda: sequence(
        nn.Conv2d(1, 4, 3, padding=1), lif(), Skip(nn.Conv2d(4, 4, 3, padding=1)), lif(), nn.Flatten(), nn.Linear(256, 4)
    ),
    "in place": lambda: Applied(
        in_place,
        conv=nn.Conv2d(1, 4, 3),
        first=lif(),
        more=nn.Conv2d(4, 4, 3, padding=1),
        second=lif(),
        out=nn.Linear(144, 4),
    ),
    "shortcut of another size": lambda: Applied(
        lambda net, x: net.out(
            net.n2(net.b(h := net.n1(net.a(x))) + F.pad(h[:, :, ::2, ::2], (0, 0, 0, 0, 1, 2))).mean((2, 3))
        ),
        a=nn.Conv2d(1, 3, 3, padding=1),
        n1=lif(),
        b=nn.Conv2d(3, 6, 3, padding=1, stride=2),
        n2=lif(),
        out=nn.Linear(6, 4),
    ),
    "skip from the image": lambda: Applied(
        lambda net, x: net.out(net.n2(net.b(net.n1(net.a(x))) + net.c(x)).flatten(1)),
        a=nn.Conv2d(1, 3, 3, padding=1),
        n1=lif(),
        b=nn.Conv2d(3, 3, 3, padding=1),
        c=nn.Conv2d(1, 3, 1),
        n2=lif(),
        out=nn.Linear(192, 4),
    ),
    "standardised weights": lambda: sequence(
        Standardised(1, 4, 3), lif(), Standardised(4, 4, 3), lif(), nn.Flatten(), nn.Linear(64, 4)
    ),
    "weight norm": lambda: sequence(weight_norm(nn.Conv2d(1, 4, 3)), lif(), nn.Flatten(), weight_norm(nn.Linear(144, 4))),
    "pruned": lambda: sequence(pruned(), lif(), nn.Flatten(), nn.Linear(144, 4)),
    "a hook": lambda: sequence(nn.Conv2d(1, 4, 3), lif(), hooked(), lif(), nn.Flatten(), nn.Linear(64, 4)),
    "two branches": lambda: Applied(
        lambda net, x: net.out(torch.cat([net.na(net.a(x)), net.nb(net.b(x))], 1).flatten(1)),
        a=nn.Conv2d(1, 3, 3, padding=1),
        na=lif(),
        b=nn.Conv2d(1, 3, 1),
        nb=lif(),
        out=nn.Linear(384, 4),
    ),
    "two branches into one layer": lambda: Applied(
        lambda net, x: net.out(net.n(torch.cat([net.c(h := net.na(net.a(x))), net.d(h)], 1)).flatten(1)),
        out=nn.Linear(384, 4),
        a=nn.Conv2d(1, 3, 3, padding=1),
        na=lif(),
        c=nn.Conv2d(3, 2, 3, padding=1),
        d=nn.Conv2d(3, 4, 1),
        n=lif(),
    ),
    "neurons behind flatten": lambda: sequence(
        nn.Conv2d(1, 3, 3), nn.Flatten(), lif(), nn.Linear(108, 5), lif(), nn.Linear(5, 4)
    ),
    "hidden neurons behind flatten": lambda: sequence(
        nn.Conv2d(1, 3, 3), lif(), nn.Conv2d(3, 4, 3), nn.Flatten(), lif(), nn.Linear(64, 4)
    ),
    "places": lambda: sequence(nn.Linear(8, 6), lif(), nn.Linear(6, 5), lif(), nn.Linear(5, 3)),
    "channels last": lambda: Applied(
        lambda net, x: net.out(net.n2(net.b(net.n1(net.a(x)).permute(0, 2, 3, 1))).permute(0, 3, 1, 2).flatten(1)),
        a=nn.Conv2d(1, 4, 3),
        n1=lif(),
        b=nn.Linear(4, 3),
        n2=lif(),
        out=nn.Linear(108, 4),
    ),
    "no flatten before the read-out": lambda: sequence(nn.Conv2d(1, 2, 3), lif(), nn.Conv2d(2, 3, 1)),
    "an output of neurons": lambda: sequence(nn.Conv2d(1, 2, 3), lif(), nn.Flatten(), nn.Linear(72, 4), lif()),
    "two weight layers": lambda: sequence(
        nn.Conv2d(1, 2, 3), lif(), nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 2, 3), lif(), nn.Flatten(), nn.Linear(32, 4)
    ),
    "1-d": lambda: sequence(
        nn.Flatten(2),
        nn.Conv1d(1, 4, 3, stride=2),
        lif(),
        nn.Conv1d(4, 3, 3),
        lif(),
        nn.AvgPool1d(3),
        nn.Flatten(),
        nn.Linear(27, 3),
    ),
    "3-d": lambda: sequence(
        nn.Unflatten(2, (2, 4)), nn.Conv3d(1, 3, 2), lif(), nn.Conv3d(3, 2, (1, 2, 3)), lif(), nn.Flatten(), nn.Linear(20, 3)
    ),
    "transposed": lambda: sequence(
        nn.Flatten(),
        nn.Linear(64, 32),
        lif(),
        nn.Unflatten(1, (2, 4, 4)),
        nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1, output_padding=1, groups=2),
        lif(),
        nn.Flatten(),
        nn.Linear(256, 3),
    ),
    "padding modes": lambda: sequence(
        nn.Conv2d(1, 3, 3, padding=1, padding_mode="reflect"),
        lif(),
        nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular"),
        lif(),
        nn.Conv2d(3, 3, 3, padding=1, padding_mode="replicate"),
        lif(),
        nn.Flatten(),
        nn.Linear(192, 4),
    ),
    "upsampled and shuffled": lambda: sequence(
        nn.Conv2d(1, 4, 3, stride=2),
        lif(),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(4, 4, 3),
        lif(),
        nn.PixelShuffle(2),
        nn.Conv2d(1, 2, 3),
        lif(),
        nn.Flatten(),
        nn.Linear(72, 3),
    ),
    "uneven pools": lambda: sequence(
        nn.Conv2d(1, 3, 2),
        lif(),
        nn.AvgPool2d(2, padding=1, count_include_pad=False),
        nn.Conv2d(3, 3, 1),
        lif(),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(27, 3),
    ),
    "a global pool": lambda: sequence(nn.Conv2d(1, 3, 3), lif(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)),
    "bilinear": lambda: sequence(
        nn.Conv2d(1, 2, 3),
        lif(),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Conv2d(2, 2, 5),
        lif(),
        nn.Flatten(),
        nn.Linear(128, 3),
    ),
    "scaled": lambda: Applied(
        lambda net, x: net.out(net.n2((2 - net.b(net.n1(net.a(x))) / 3) * net.scale[0].weight).flatten(1)),
        a=nn.Conv2d(1, 3, 3),
        n1=lif(),
        b=nn.Conv2d(3, 3, 1),
        scale=nn.ModuleList([nn.BatchNorm1d(6)]),
        n2=lif(),
        out=nn.Linear(108, 4),
    ),
    "a filter in front of the output": lambda: sequence(
        nn.Flatten(), nn.Linear(64, 5), lif(), LowPass(tau=0.05), nn.Linear(5, 4)
    ),
    "filters": lambda: sequence(
        nn.Conv2d(1, 4, 3),
        lif(),
        LowPass(tau=0.004),
        nn.AvgPool2d(2),
        nn.Conv2d(4, 4, 2),
        SpikingRectifiedLinear(max_rate=300),
        nn.Flatten(),
        nn.Linear(16, 3),
        LowPass(tau=0.01),
    ),
    "every neuron": lambda: sequence(
        nn.Conv2d(1, 4, 3),
        IntegrateAndFire(max_rate=400, threshold=1.5),
        nn.Conv2d(4, 4, 3),
        SpikingRectifiedLinear(max_rate=2500),
        nn.Conv2d(4, 4, 3),
        IntegrateAndFire(max_rate=600, reset="zero", min_voltage=-0.5),
        nn.Flatten(),
        nn.Linear(16, 3),
    ),
    "padded with ones": lambda: hidden(lambda net, h: net.out(F.pad(h, (0, 1), value=1.0))),
    "the image padded with ones": lambda: sequence(
        nn.ConstantPad2d(1, 1.0), nn.Conv2d(1, 2, 3), lif(), nn.Flatten(), nn.Linear(128, 3)
    ),
    "filtered with the image": lambda: Applied(
        lambda net, x: net.out(net.filter(torch.cat([net.n(net.a(x.flatten(1))), x.flatten(1)], 1))),
        a=nn.Linear(64, 6),
        n=lif(),
        filter=LowPass(tau=0.005),
        out=nn.Linear(70, 3),
    ),
    "taken away": lambda: hidden(lambda net, h: net.out(torch.rsub(h, 1.0, alpha=2)), 6),
    "as whole numbers": lambda: hidden(lambda net, h: net.out(h.bool().to(h.dtype)), 6),
    "another alias": lambda: hidden(lambda net, h: net.out(h) + net.out(h.as_subclass(Tensor)), 6),
    "stacked": lambda: hidden(lambda net, h: net.out(torch.stack([h, h * 2]).sum(0)), 6),
    "turned": lambda: hidden(lambda net, h: net.out((h.T * 2).T), 6),
    "einsum": lambda: hidden(lambda net, h: torch.einsum("bi,oi->bo", h, net.out.weight), 6),
    "neurons' output in place": lambda: hidden(lambda net, h: net.out(h.add_(1.0).mul_(0.5)), 6),
    "a constant mask": lambda: hidden(lambda net, h: net.out(h[:, torch.tensor([True, False] * 3)]), 3),
    "an attention": lambda: sequence(
        nn.Flatten(2),
        nn.Unflatten(2, (8, 8)),
        nn.Flatten(1, 2),
        nn.Linear(8, 8),
        lif(),
        nn.TransformerEncoderLayer(8, 2, 8, batch_first=True, dropout=0.0),
        nn.Flatten(),
        nn.Linear(64, 3),
    ),
    "used twice": lambda: Applied(
        used_twice,
        conv=nn.Conv2d(1, 3, 3),
        neuron=lif(),
        same=nn.Conv2d(3, 3, 1),
        neuron_again=lif(),
        third=lif(),
        out=nn.Linear(108, 4),
    ),
    "the image and a function of it": lambda: bent(lambda net, x: net.first(x) + torch.tanh(net.again(x))),
    "the image without its largest value": lambda: bent(lambda net, x: net.first(x - x.amax(1, keepdim=True))),
    "the image without its median": lambda: bent(lambda net, x: net.first(x - x.median(1, keepdim=True)[0])),
    "the image and what of it is bright": lambda: bent(lambda net, x: net.first(x + x.clone().clamp(0.4, 0.6))),
    "the image and its square": lambda: bent(lambda net, x: net.wide(torch.cat([x, x**2], 1))),
    "a quotient of zeros": lambda: bent(lambda net, x: net.first(x + torch.nan_to_num(x / 0, 1.0, 1.0))),
    "a system of equations": lambda: bent(lambda net, x: torch.linalg.solve(net.matrix.weight, net.first(x).mT).mT),
    "attributes set on the way": lambda: bent(shape_in_attributes),
    "words": lambda: bent(lambda net, x: net.first(net.words((x * 4).long()).flatten(1)[:, :64])),
    "singular values": lambda: bent(lambda net, x: net.few(torch.linalg.svdvals(x.reshape(-1, 8, 8)))),
    "not linear between neurons": lambda: sequence(
        nn.Conv2d(1, 4, 3),
        lif(),
        nn.Conv2d(4, 4, 3),
        nn.GroupNorm(2, 4),
        nn.Tanh(),
        lif(),
        nn.Flatten(),
        nn.Linear(64, 3),
        nn.Softmax(1),
    ),
}
ONLY_REFERENCE = (
    "filters",
    "filtered with the image",
    "as whole numbers",
    "another alias",
    "taken away",
    "stacked",
    "turned",
    "einsum",
    "an attention",
    "not linear between neurons",
)


def images_for(network: nn.Module) -> Tensor:
    return torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.mark.parametrize("engine", all_but_one_slow(["torch", "event_driven"]))
@pytest.mark.parametrize("name", NETWORKS)
def test_a_simulation_is_what_the_forward_says(name: str, engine: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().double().eval()
    images = images_for(network)
    right = step_by_step(network, images, 30)
    options = {"synapse": NoFilter(), "start": "half", "record": list(right.spikes)}
    if engine == "event_driven" and name in ONLY_REFERENCE:
        with pytest.raises(ParameterError, match=r"engine=event_driven: cannot run .*; try engine=torch"):
            simulate(network, images, 30, engine=engine, **options)  # type: ignore[arg-type]
        return
    result = simulate(network, images, 30, engine=engine, **options)  # type: ignore[arg-type]
    for layer, spikes in right.spikes.items():
        assert spikes.sum() > 5, f"{layer} hardly spikes: nothing would be compared"
        assert torch.equal(result.recordings[layer], spikes), f"other spikes in {layer}"
        assert torch.equal(result.spike_counts[layer], spikes.flatten(2).sum(2)), f"other counts in {layer}"
    assert torch.allclose(result.outputs, right.outputs, rtol=0, atol=1e-9 * float(right.outputs.abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_both_engines_count_the_same_operations(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().double().eval()
    images = images_for(network)
    reference = simulate(network, images, 10, engine="torch")
    default = simulate(network, images, 10)
    assert torch.equal(reference.synaptic_operations, default.synaptic_operations)
    assert reference.synaptic_operations.sum() > 0


@pytest.mark.parametrize(
    "name",
    all_but_one_slow(["skip from the image", "plain", "two branches into one layer", "hidden neurons behind flatten"]),
)
@pytest.mark.parametrize("start", all_but_one_slow(["steady_phase", "zero", "uniform", "half"]))
def test_single_precision_of_both_engines_and_every_start(name: str, start: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    images = torch.rand(40, 1, 8, 8)
    result = [simulate(network, images, 25, start=start, engine=engine) for engine in ("torch", "event_driven")]
    for layer, counts in result[0].spike_counts.items():
        assert (counts != result[1].spike_counts[layer]).float().mean() < 0.01, layer
    assert torch.allclose(result[0].outputs, result[1].outputs, atol=1e-2)


def test_neurons_behind_flatten_are_in_their_order() -> None:
    """Half of the neurons are silent; were the random starts of others taken, the spikes would come in waves."""
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), LIF(max_rate=400), nn.Linear(800, 2))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1))
        network[0].bias.zero_()
        network[3].bias.zero_()
    result = simulate(network, torch.ones(50, 1, 20, 20), 12, start="steady_phase", engine="event_driven")
    a_step = result.spike_counts["2"].mean(1)
    assert torch.allclose(a_step, torch.full((12,), 160.0), atol=4), a_step


def test_a_filter_leaves_the_bias_alone() -> None:
    network = nn.Sequential(nn.Linear(1, 1), lif(), LowPass(tau=0.05), nn.Linear(1, 1))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network[0].bias.fill_(-5)
        network[3].bias.fill_(1)
    for engine in ("torch", "event_driven"):
        outputs = simulate(network, torch.ones(2, 1), 5, synapse=NoFilter(), engine=engine).outputs
        assert torch.equal(outputs, torch.ones(5, 2, 1)), engine


@pytest.mark.slow
def test_many_spikes_in_a_step_are_recorded() -> None:
    network = nn.Sequential(nn.Linear(1, 1, bias=False), SpikingRectifiedLinear(max_rate=300_000), nn.Linear(1, 1))
    nn.init.ones_(network[0].weight)
    for engine in ("torch", "event_driven"):
        recorded = simulate(network, torch.ones(1, 1), 3, start="half", record=["1"], engine=engine).recordings["1"]
        assert torch.allclose(recorded, torch.full((3, 1, 1), 300.0), atol=1), engine


@pytest.mark.parametrize("n_steps", [1, 2, 4])
@pytest.mark.parametrize("engine", ["torch", "event_driven"])
def test_an_early_exit_in_few_steps(n_steps: int, engine: str) -> None:
    network = nn.Sequential(nn.Linear(3, 5), lif(), nn.Linear(5, 2))
    result = simulate(network, torch.rand(3, 3), n_steps, early_exit=0.5, engine=engine)
    assert result.outputs.shape == (n_steps, 3, 2) and (result.steps == n_steps).all()


@pytest.mark.parametrize("engine", all_but_one_slow(["torch", "event_driven"]))
@pytest.mark.parametrize("shape", [(), (5,), (1, 5), (4, 5), (4, 1)])
def test_a_given_start_of_every_shape(shape: tuple[int, ...], engine: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 5), lif(), nn.Linear(5, 2)).double()
    images = torch.rand(4, 3).double()
    start = {"1": {"voltage": torch.rand(shape, generator=torch.Generator().manual_seed(1)).double()}}
    right = step_by_step(network, images, 20, start=start)
    result = simulate(network, images, 20, start=start, synapse=NoFilter(), engine=engine)
    assert torch.allclose(result.outputs, right.outputs, atol=1e-9)


@pytest.mark.parametrize("engine", all_but_one_slow(["torch", "event_driven"]))
@pytest.mark.parametrize("name", ["plain", "skip from the image", "batch norm"])
def test_images_over_time(name: str, engine: str) -> None:
    """A simulation of changing images is that of a network of which each step is called with its own images."""
    torch.manual_seed(0)
    network = NETWORKS[name]().double().eval()
    images = torch.rand(12, 3, 1, 8, 8).double()
    changing = Applied(lambda net, x: net.inner(net.images.pop(0)), inner=network)
    changing.images = list(images)
    right = step_by_step(changing, images[0], 12)
    options = {"synapse": NoFilter(), "start": "half", "engine": engine, "images_over_time": True}
    result = simulate(network, images, 12, **options)  # type: ignore[arg-type]
    assert torch.allclose(result.outputs, right.outputs, atol=1e-9)
    for layer, spikes in right.spikes.items():
        assert torch.equal(result.spike_counts[layer.removeprefix("inner.")], spikes.flatten(2).sum(2)), layer
    constant = simulate(network, images[:1].expand(12, -1, -1, -1, -1), 12, **options)  # type: ignore[arg-type]
    same = simulate(network, images[0], 12, **{**options, "images_over_time": False})  # type: ignore[arg-type]
    assert torch.allclose(constant.outputs, same.outputs, atol=1e-9)


class Remembers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.neuron, self.out = nn.Linear(3, 3), lif(), nn.Linear(3, 2)
        self.before = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.before = self.neuron(self.layer(x + self.before))
        return self.out(self.before)


class Counts(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(3, 3), lif(), nn.Linear(3, 2))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x * (1 + (self.calls > 9)))


class CountsInAList(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(3, 3), lif(), nn.Linear(3, 2))
        self.calls: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(1)
        return super().forward(x * (len(self.calls) < 9))


class CountsInABuffer(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(3, 3), lif(), nn.Linear(3, 2))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)


def in_a_thread(work: Callable[[], Tensor]) -> Tensor:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def refused(forward: Callable[..., Tensor]) -> nn.Module:
    return nn.Sequential(Applied(forward, layer=nn.Linear(3, 3), neuron=lif()), nn.Linear(3, 2))


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a branch that depends on values": (
        lambda: refused(lambda net, x: net.neuron(net.layer(x)) if x.sum() > 1 else x),
        "0: its forward looks at a value that depends on the image",
    ),
    "a value in NumPy": (
        lambda: refused(lambda net, x: net.neuron(net.layer(torch.from_numpy(x.numpy())))),
        "0: its forward hands on a value that depends on the image",
    ),
    "a mask": (lambda: refused(lambda net, x: net.neuron(net.layer(x[x[:, 0] > 0.5]))), "0: its forward looks at"),
    "memory": (Remembers, "a value that depends on the image reaches it past PyTorch's operations"),
    "a list that grows": (CountsInAList, "network: its forward remembers something"),
    "a rare dropout": (lambda: refused(lambda net, x: net.neuron(F.dropout(net.layer(x), 0.02))), "its forward is random"),
    "NumPy by another way": (
        lambda: refused(lambda net, x: net.neuron(torch.from_numpy(np.from_dlpack(net.layer(x).detach()).copy()))),
        "reaches it past PyTorch's operations",
    ),
    "another thread": (
        lambda: refused(lambda net, x: in_a_thread(lambda: net.neuron(net.layer(x))) + net.neuron(x)),
        "reaches it past PyTorch's operations",
    ),
    "randomness": (
        lambda: refused(lambda net, x: net.neuron(F.dropout(net.layer(x)))),
        "network: its forward is random",
    ),
    "images that are mixed": (
        lambda: refused(lambda net, x: net.neuron(net.layer(x - x.mean(0)))),
        "network: its forward gives other values for .*: .* depends on the other images",
    ),
    "statistics of the batch": (
        lambda: nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, track_running_stats=False), lif(), nn.Linear(3, 2)),
        "network: its forward gives other values for .*: .* depends on the other images",
    ),
    "a shape that does not fit": (lambda: nn.Sequential(nn.Linear(3, 4), lif(), nn.Linear(3, 2)), "2: mat1 and mat2 shapes"),
    "several outputs": (lambda: Applied(lambda net, x: (x, net.n(x)), n=lif()), "network: its forward returns a tuple"),
    "indices of a max pooling": (
        lambda: Applied(
            lambda net, x: net.pool(net.n(x.unflatten(1, (1, 3))))[1].flatten(1).float(),
            n=lif(),
            pool=nn.MaxPool1d(2, return_indices=True),
        ),
        "pool: a max pooling of spikes has no indices",
    ),
    "the first image": (lambda: refused(lambda net, x: net.neuron(net.layer(x - x[:1]))), "depends on the other images"),
    "the largest value of the batch": (
        lambda: refused(lambda net, x: net.neuron(net.layer(x / x.max()))),
        "depends on the other",
    ),
    "the place in the batch": (
        lambda: refused(lambda net, x: net.neuron(net.layer(x + torch.arange(len(x)).unsqueeze(1)))),
        "depends on the other images",
    ),
    "images that change places": (
        lambda: refused(lambda net, x: net.neuron(net.layer(x + x.roll(6, 0)))),
        "depends on the other images",
    ),
    "a place far behind": (
        lambda: refused(lambda net, x: net.neuron(net.layer(x * (torch.arange(len(x)) < 9)[:, None]))),
        "gives other values for 12 images in a batch",
    ),
    "the number of images": (
        lambda: refused(lambda net, x: net.neuron(net.layer(x if len(x) <= 10 else -x))),
        "gives other values for 12 images in a batch",
    ),
    "a mean of all images, beyond a limit": (
        lambda: refused(lambda net, x: net.neuron(net.layer(x / x.abs().max().clamp(min=20)))),
        "depends on the other images",
    ),
    "whether any image is bright": (
        lambda: refused(lambda net, x: net.neuron(net.layer(torch.where((x > 100).any(), -x, x)))),
        "depends on the other images",
    ),
    "whole numbers for a neuron": (
        lambda: refused(lambda net, x: net.neuron((9 * net.layer(x)).nan_to_num(0).clamp(-9, 9).long()).float()),
        "neuron: gets values of the dtype torch.int64",
    ),
    "a sum over the batch": (lambda: refused(lambda net, x: net.neuron(net.layer(x)).cumsum(0)), "depends on the other images"),
    "a counter": (Counts, "network: its forward remembers something"),
    "a counter in a buffer": (CountsInABuffer, "network: its forward remembers something"),
    "no neuron": (lambda: nn.Linear(3, 2), "network: no spiking neuron"),
}


@pytest.mark.parametrize("engine", ["auto", "torch", "event_driven"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_simulated_is_refused_by_name(name: str, engine: str) -> None:
    make, message = REFUSED[name]
    torch.manual_seed(0)
    with pytest.raises(ParameterError, match=message):
        simulate(make(), torch.rand(12, 3), 5, engine=engine)


def test_a_neuron_with_a_forward_of_its_own_is_refused() -> None:
    class Own(LIF):
        def forward(self, signal: Tensor) -> Tensor:
            return signal

    with pytest.raises(ParameterError, match=r"has a forward of its own|no spiking neuron"):
        simulate(nn.Sequential(nn.Linear(3, 2), Own()), torch.rand(4, 3), 5)


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (np.ones((2, 3), np.float32), {}, "images: must be a torch.Tensor"),
        (torch.ones(2, 3, dtype=torch.uint8), {}, "images: have the dtype torch.uint8"),
        (torch.ones(3), {}, r"images: have the shape \(3,\); must be \(batch, ...\)"),
        (torch.ones(2, 4), {}, "0: mat1 and mat2 shapes cannot be multiplied .* images have the shape"),
        (torch.ones(2, 3).double(), {}, "images are torch.float64, but 0.weight is torch.float32"),
        (torch.ones(2, 3), {"n_steps": 2.5}, "n_steps=2.5"),
        (torch.ones(2, 3), {"dt": float("inf")}, "dt=inf"),
        (torch.ones(2, 3), {"seed": -1}, "seed=-1"),
        (torch.ones(2, 3), {"seed": 1.5}, "seed=1.5"),
        (torch.ones(2, 3), {"seed": 2**63}, "seed=9223372036854775808"),
        (torch.ones(2, 3), {"image_index": torch.arange(3)}, "image_index: must be a tensor of 2 whole numbers"),
        (torch.ones(2, 3), {"image_index": [0, 1]}, "image_index: must be a tensor of 2 whole numbers"),
        (torch.ones(2, 3), {"start": {"1": {"voltage": torch.tensor(float("nan"))}}}, r"start\[1\]\[voltage\]: a value is NaN"),
        (torch.ones(2, 3), {"start": {"1": {"voltage": torch.ones(7)}}}, r"start\[1\]\[voltage\]: has the shape \(7,\)"),
        (torch.ones(2, 3), {"start": {"1": {"voltage": 0.5}}}, r"start\[1\]\[voltage\]: must be a torch.Tensor"),
        (torch.ones(4, 2, 3), {"n_steps": 5, "images_over_time": True}, "images_over_time: 4 steps of images are fewer"),
    ],
)
@pytest.mark.parametrize("engine", ["torch", "event_driven"])
def test_arguments_that_cannot_be(images: Tensor, options: dict[str, object], message: str, engine: str) -> None:
    network = nn.Sequential(nn.Linear(3, 4), lif(), nn.Linear(4, 2))
    with pytest.raises(ParameterError, match=message):
        simulate(network, images, engine=engine, **{"n_steps": 3, **options})  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_large_seed_is_a_seed() -> None:
    network = nn.Sequential(nn.Linear(3, 40), lif(), nn.Linear(40, 2)).double()
    images = torch.rand(4, 3).double()
    for engine in ("torch", "event_driven"):
        first, second = (
            simulate(network, images, 20, seed=seed, engine=engine).outputs for seed in (20251125123000, 2**63 - 1)
        )
        assert not torch.equal(first, second)
    other = simulate(network, images, 20, seed=2**63 - 1, engine="torch").outputs
    assert torch.allclose(second, other)


@pytest.mark.slow
def test_threads_do_not_disturb_each_other() -> None:
    """A network in training mode has dropout; a thread that puts it back on would change the others' spikes."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 30), nn.Dropout(), lif(), nn.Linear(30, 3)).train()
    images = torch.rand(9, 6)
    right = simulate(network, images, 10).outputs
    different: list[int] = []

    def work() -> None:
        for _ in range(15):
            if not torch.equal(simulate(network, images, 10).outputs, right):
                different.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not different
    assert network[1].training


def _simulate_again(answers: "multiprocessing.SimpleQueue[Tensor]") -> None:
    answers.put(_small())


def _small() -> list[float]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 8, 3), lif(), nn.Flatten(), nn.Linear(8 * 26 * 26, 3))
    return simulate(network, torch.rand(16, 1, 28, 28), 5).outputs.flatten().tolist()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_simulates() -> None:
    here = _small()
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    process = context.Process(target=_simulate_again, args=(answers,))
    process.start()
    process.join(60)
    alive = process.is_alive()
    if alive:
        process.kill()
    assert not alive, "it waits for ever"
    assert answers.get() == here


@pytest.mark.slow
def test_a_process_forked_before_any_simulation_keeps_its_threads() -> None:
    """Such are the jobs of a sweep, which come from a fork server."""
    lines = (
        "import os, torch, ratespike.simulation",
        "torch.set_num_threads(2)",
        "if os.fork() == 0: os._exit(torch.get_num_threads())",
        "raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))",
    )
    assert subprocess.run([sys.executable, "-c", "\n".join(lines)], check=False).returncode == 2


@pytest.mark.parametrize("engine", all_but_one_slow(["torch", "auto"]))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("pooling", [nn.MaxPool2d(2), nn.AdaptiveMaxPool2d(3), nn.AvgPool2d(2)])
def test_inference_mode_changes_nothing(pooling: nn.Module, dtype: torch.dtype, engine: str) -> None:
    """In which PyTorch calls other operations than outside of it; Lightning tests in it."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), lif(), pooling, nn.Conv2d(4, 4, 3), lif(), nn.Flatten())
    network = sequence(*layers, nn.Linear(4, 4)).to(dtype).eval()
    images = torch.rand(9, 1, 8, 8, dtype=dtype)
    right = simulate(network, images, 10, engine=engine)
    with torch.inference_mode():
        found = simulate(network, images * 1, 10, engine=engine)
    assert torch.equal(found.outputs, right.outputs)
    assert torch.equal(found.synaptic_operations, right.synaptic_operations)


def test_a_forward_that_counts_the_rows_of_several_steps_is_refused() -> None:
    """The reference engine makes rows of 16 images (there are 10) and 30 steps."""
    torch.manual_seed(0)
    network = refused(lambda net, x: net.layer(x) if len(x) <= 64 else -net.layer(x))
    network = nn.Sequential(nn.Linear(3, 3), AdaptiveLIF(), *network).double()
    with pytest.raises(ParameterError, match="gives other values for 480 images in a batch"):
        simulate(network, torch.rand(10, 3).double(), 30)


def test_names_of_calls_are_all_different() -> None:
    torch.manual_seed(0)
    neurons = nn.ModuleDict({"n": lif(), "n-2": lif()})
    forward = lambda net, x: net.l(net.m["n"](net.l(net.m["n-2"](net.l(net.m["n"](net.l(x)))))))  # noqa: E731
    counted = simulate(Applied(forward, m=neurons, l=nn.Linear(3, 3)), torch.rand(4, 3), 20).spike_counts
    assert list(counted) == ["m.n", "m.n-2", "m.n-3"]


def test_a_refused_forward_has_changed_nothing() -> None:
    network = refused(lambda net, x: net.neuron(net.layer(x + net.shift.add_(1))))
    network[0].shift = torch.zeros(())
    with pytest.raises(ParameterError):
        simulate(network, torch.rand(4, 3), 5)
    assert float(network[0].shift) == 0
