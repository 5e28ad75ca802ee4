"""The compiled rate against the one in PyTorch operations, in float64."""

import multiprocessing

import pytest
import torch
from torch import Tensor

from ratespike.neurons import LIF, AdaptiveLIF, lif_rate

NEURONS = [
    LIF(),
    LIF(sigma=0.02),
    LIF(sigma=1.0, intercept=-0.5),
    LIF(max_rate=300, intercept=0.5, tau_rc=0.05, tau_ref=0.001, amplitude=0.3, sigma=0.1),
    LIF(tau_ref=0.0),
]
each_neuron = pytest.mark.parametrize("neuron", NEURONS, ids=repr)


def inputs(size: int) -> Tensor:
    """Wide, and dense around x = 0, without the currents so near to threshold that rounding moves them across it."""
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([8 * torch.randn(size // 2, generator=generator), 0.1 * torch.randn(size - size // 2, generator=generator)])
    return x[torch.randperm(size, generator=generator)]


def reference(neuron: LIF, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.double().requires_grad_()
    gain, bias = neuron.gain_and_bias()
    activation = lif_rate(x * gain + bias, neuron.tau_rc, neuron.tau_ref, neuron.sigma) * neuron.scale
    activation.sum().backward()
    assert x.grad is not None
    return activation.detach(), x.grad


@each_neuron
@pytest.mark.parametrize("size", [1, 63, 64, 65, 200_001])
def test_rate_and_slope(neuron: LIF, size: int) -> None:
    gain, bias = neuron.gain_and_bias()
    x = inputs(size)
    x = x[(x * gain + bias - 1).abs() > 1e-3].requires_grad_()
    activation = neuron(x)
    activation.sum().backward()
    expected, slope = reference(neuron, x.detach())
    assert x.grad is not None
    assert torch.allclose(activation.double(), expected, rtol=2e-5 if neuron.sigma == 0 else 2e-6, atol=0)
    assert torch.allclose(x.grad.double(), slope, rtol=2e-4 if neuron.sigma == 0 else 5e-6, atol=1e-12)


@each_neuron
def test_every_layout_and_number_of_threads_gives_the_same_bits(neuron: LIF) -> None:
    x = inputs(4 * 6 * 50 * 50).reshape(4, 6, 50, 50)
    expected = neuron(x)
    wide = torch.zeros(4, 6, 50, 100)
    wide[..., ::2] = x
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            channels_last = neuron(x.contiguous(memory_format=torch.channels_last))
            assert channels_last.is_contiguous(memory_format=torch.channels_last)
            for other in (channels_last, neuron(wide[..., ::2]), neuron(x.transpose(1, 2)).transpose(1, 2), neuron(x)):
                assert torch.equal(other, expected)
            assert torch.equal(neuron(x[1:2, :, 3:4]), expected[1:2, :, 3:4])
            assert torch.equal(neuron(x[:, :1].expand_as(x)), expected[:, :1].expand_as(x))
    finally:
        torch.set_num_threads(before)


@each_neuron
def test_activation_and_current(neuron: LIF) -> None:
    """More than whole vectors, with the channels last, and in float64."""
    x = inputs(3 * 5 * 7 * 9).reshape(3, 5, 7, 9).contiguous(memory_format=torch.channels_last)
    x = torch.where((neuron.current(x) - 1).abs() > 1e-3, x, x + 0.1)
    precise = neuron.activation_and_current(x.double())
    assert precise[0].dtype == precise[1].dtype == torch.float64
    for found, expected in zip(neuron.activation_and_current(x), precise, strict=True):
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert torch.allclose(found.double(), expected, rtol=2e-5, atol=1e-6)


def test_a_subclass_with_a_rate_of_its_own_keeps_it() -> None:
    x = inputs(100)
    adaptive = AdaptiveLIF(inc_n=0.1)
    assert torch.allclose(adaptive(x), adaptive.firing_rate(adaptive.current(x)) * adaptive.scale)
    assert torch.equal(adaptive.activation_and_current(x)[0], adaptive(x))
    assert not torch.allclose(adaptive(x), LIF()(x))


def _sum(x: Tensor) -> float:
    return float(NEURONS[1](x).numpy().sum())  # PyTorch's own sum of many numbers does not survive a fork


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own() -> None:
    """Threads do not survive a fork, and waiting for them would never end."""
    x = inputs(200_000)
    expected = _sum(x)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(_sum, (x,)).get(timeout=30) == expected
