"""A training on spikes: the values are those of a simulation, the slopes those of rates."""

import pytest
import torch
from torch import nn

from ratespike import simulate
from ratespike.neurons import LIF, AdaptiveLIF, Neuron
from ratespike.parameters import ParameterError
from ratespike.pipeline.forwards import NoisyRates, Rates, ResidualNoise, SpikeNoise, Spikes
from ratespike.synapses import LowPass

IMAGES = torch.rand(6, 5, generator=torch.Generator().manual_seed(1))


def two_layers(neuron: Neuron) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 40), neuron, LowPass(), nn.Linear(40, 30), neuron, nn.Linear(30, 3))


def drawn(least: int, most: int) -> tuple[int, int]:
    """The length and the seed of the simulation of a batch, as they come from PyTorch's generator."""
    return int(torch.randint(least, most + 1, ())), int(torch.randint(2**31, ()))


@pytest.mark.slow
@pytest.mark.parametrize("neuron", [LIF(max_rate=200, intercept=-0.3, sigma=0.05), AdaptiveLIF(intercept=-0.5)], ids=repr)
def test_outputs_are_those_of_the_mean_pulses(neuron: Neuron) -> None:
    network = two_layers(neuron)
    torch.manual_seed(3)
    outputs = Spikes(n_steps=12, least_steps=4)(network, IMAGES, ["1", "4"], dt=0.002)
    torch.manual_seed(3)
    n_steps, seed = drawn(4, 12)
    simulated = simulate(network, IMAGES, n_steps, 0.002, seed=seed, record=["4"])
    pulses = simulated.recordings["4"].mean(0) * neuron.scale / 0.002
    assert 4 <= n_steps <= 12
    assert pulses.any(), "nothing would be compared"
    assert torch.allclose(outputs, network[-1](pulses), atol=1e-5)


def test_slopes_are_those_of_rates_at_the_mean_pulses() -> None:
    neuron = LIF(max_rate=200, intercept=-0.3, sigma=0.05)
    network = two_layers(neuron)
    torch.manual_seed(3)
    Spikes(n_steps=9)(network, IMAGES, ["1", "4"], dt=0.001).sum().backward()
    torch.manual_seed(3)
    _, seed = drawn(9, 9)
    first = simulate(network, IMAGES, 9, seed=seed, record=["1"]).recordings["1"].mean(0) * neuron.scale / 0.001
    arriving = network[3](first).detach().requires_grad_()
    network[-1](neuron(arriving)).sum().backward()
    assert arriving.grad is not None
    assert torch.allclose(network[3].weight.grad, arriving.grad.T @ first, atol=1e-6)
    through = (arriving.grad @ network[3].weight.detach()).detach()
    entering = network[0](IMAGES).detach().requires_grad_()
    neuron(entering).backward(through)
    assert entering.grad is not None
    assert torch.allclose(network[0].weight.grad, entering.grad.T @ IMAGES, atol=1e-6)


@pytest.mark.slow
def test_the_length_is_drawn_for_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = set()
    network = two_layers(LIF())

    def counting(network: nn.Module, images: torch.Tensor, n_steps: int, dt: float, **options: object) -> object:
        lengths.add(n_steps)
        return simulate(network, images, n_steps, dt, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("ratespike.simulation.mean_spikes.simulate", counting)
    for _ in range(40):
        Spikes(n_steps=4, least_steps=2)(network, IMAGES, ["1", "4"], dt=0.001)
    assert lengths == {2, 3, 4}


@pytest.mark.parametrize("noise", [SpikeNoise(), ResidualNoise(n_steps=4)], ids=repr)
def test_noisy_rates_have_the_slopes_of_rates(noise: NoisyRates) -> None:
    """Of one layer, whose slope does not depend on what it gives."""
    images = IMAGES[:, :3].clone().requires_grad_()
    network = nn.Sequential(LIF(max_rate=200, intercept=-0.5, sigma=0.05), LowPass(), nn.Linear(3, 3))
    outputs = noise(network, images, ["0"], dt=0.001)
    rates = network(images)
    assert not torch.allclose(outputs, rates), "there is no noise"
    (slope,) = torch.autograd.grad(outputs.sum(), images)
    (expected,) = torch.autograd.grad(rates.sum(), images)
    assert torch.equal(slope, expected)
    assert noise(network, images[:0], ["0"], dt=0.001).shape == (0, 3)


def test_residual_noise_has_the_counts_of_neurons_at_a_random_phase() -> None:
    neuron = LIF(max_rate=200)
    x = torch.tensor([0.1, 0.5, 1.0, 1.3]).repeat(2000, 1)
    torch.manual_seed(0)
    drawn = ResidualNoise(n_steps=12)(neuron, x, ["0"], dt=0.001) / neuron.scale * 0.012
    current = neuron.current(x)
    state = neuron.steady_state(current, torch.rand_like(x), 0.001)
    simulated = torch.zeros_like(x)
    for _ in range(12):
        spikes, state = neuron.step(current, state, 0.001)
        simulated += spikes
    for ours, theirs in zip(drawn.T.round(), simulated.T, strict=True):
        assert torch.equal(ours.unique(), theirs.unique())
        assert abs(float(ours.mean() - theirs.mean())) < 4 * 0.5 * (2 / 2000) ** 0.5  # standard errors, at most


def test_a_batch_without_images_and_rates() -> None:
    network = two_layers(LIF())
    assert Spikes()(network, IMAGES[:0], ["1", "4"], dt=0.001).shape == (0, 3)
    assert torch.equal(Rates()(network, IMAGES, ["1", "4"], dt=0.001), network(IMAGES))
    with pytest.raises(ParameterError, match="least_steps=9: must be at most n_steps=8"):
        Spikes(least_steps=9)
    with pytest.raises(ParameterError, match=r"tau_s=0\.02: must be another number than tau_rc; try 0\.0198"):
        SpikeNoise(tau_s=0.02)
