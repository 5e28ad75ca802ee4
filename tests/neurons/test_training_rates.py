"""Rates for trainings in place of the steady rate: what neurons really do in a few steps, with the slopes of smooth curves."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from variants import all_but_one_slow

from ratespike import simulate
from ratespike.neurons import (
    LIF,
    AdaptiveLIF,
    IntegrateAndFire,
    Neuron,
    StaircaseIntegrateAndFire,
    WindowCountLIF,
    filtered_spikes,
    lif_count,
)
from ratespike.simulation.event_driven.errors import UnsupportedError
from ratespike.simulation.event_driven.neurons import compiled_step

DOUBLE = {"dtype": torch.float64, "generator": torch.Generator().manual_seed(0)}


def simulated_counts(neuron: Neuron, x: Tensor, n_steps: int, dt: float, start: str) -> Tensor:
    """Spikes of one neuron for each input, after each step, shape (steps, inputs)."""
    result = simulate(nn.Sequential(neuron), x[None], n_steps, dt, start=start, record=["0"], engine="torch")
    return result.recordings["0"][:, 0].cumsum(0)


def slopes(neuron: Neuron, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(neuron(x).sum(), x)
    return slope


@pytest.mark.parametrize(
    ("tau_rc", "tau_ref", "dt"),
    all_but_one_slow([(0.02, 0.002, 0.001), (0.05, 0.001, 0.001), (0.02, 0.0027, 0.001), (0.01, 0.003, 0.0005)]),
)
@pytest.mark.parametrize("start", ["zero", "half"])
def test_the_window_counts_what_a_simulation_counts(tau_rc: float, tau_ref: float, dt: float, start: str) -> None:
    """In every window up to 60 steps, none of 3 000 random currents differs."""
    constants = {"tau_rc": tau_rc, "tau_ref": tau_ref, "dt": dt, "start": start}
    x = torch.cat([4 * torch.rand(2000, **DOUBLE) - 0.5, 10 ** (4 * torch.rand(1000, **DOUBLE))])
    counts = simulated_counts(WindowCountLIF(max_rate=150, **constants), x, 60, dt, start)
    for n_steps in (1, 3, 10, 60):
        neuron = WindowCountLIF(max_rate=150, n_steps=n_steps, amplitude=n_steps * dt, **constants)
        assert torch.equal(neuron(x).round(), counts[n_steps - 1])
        assert (neuron(x) - counts[n_steps - 1]).abs().max() < 1e-9
    assert len(counts[-1].unique()) > 10, "hardly anything is compared"


def test_the_window_has_the_slope_of_the_soft_rate() -> None:
    x = torch.linspace(-0.2, 2, 50, dtype=torch.float64)
    neuron = WindowCountLIF(max_rate=150, sigma=0.1, n_steps=10)
    gain, bias = neuron.gain_and_bias()

    def soft(x: np.ndarray) -> np.ndarray:
        z = 0.1 * np.logaddexp(0, (gain * x + bias - 1) / 0.1)
        return 1 / (0.0025 + 0.02 * np.log1p(1 / z)) / 150

    expected = (soft(x.numpy() + 1e-6) - soft(x.numpy() - 1e-6)) / 2e-6
    assert np.allclose(slopes(neuron, x).numpy(), expected, rtol=1e-5)
    single = x.float()  # by the compiled pass
    assert torch.allclose(slopes(neuron, single), slopes(neuron, x).float(), rtol=1e-4)
    assert torch.equal(neuron(single), neuron(x).float())


def test_the_staircase_is_the_rate_of_a_reset_to_zero() -> None:
    """From zero every interval is the same number k of steps, so that 200 steps hold 200 // k spikes."""
    x = 1.2 * torch.rand(500, **DOUBLE) - 0.1
    neuron = StaircaseIntegrateAndFire(max_rate=1000)
    steps_apart = (1 / neuron(x)).round()
    counts = simulated_counts(IntegrateAndFire(max_rate=1000, reset="zero"), x, 200, 0.001, "zero")[-1]
    assert torch.equal(counts, (200 / steps_apart).floor())
    fires = x[x > 0]
    assert torch.allclose(slopes(neuron, fires), (1 + fires / 2) ** -2)  # of 1 / (1 / 2 + 1 / x)
    assert (slopes(neuron, -fires) == 0).all()


def test_filtered_spikes_are_the_sum_of_all_responses() -> None:
    rate = torch.tensor([3.0, 40.0, 180.0, 1000.0], dtype=torch.float64).repeat_interleave(200)
    phase = ((torch.arange(200, dtype=torch.float64) + 0.5) / 200).repeat(4)
    since = (phase[:, None] + torch.arange(3000)) / rate[:, None]  # of each of 3 000 spikes
    responses = (torch.exp(-since / 0.02) - torch.exp(-since / 0.004)) / (0.02 - 0.004)
    values = filtered_spikes(rate, phase, tau_rc=0.02, tau_s=0.004)
    assert torch.allclose(values, responses.sum(1), rtol=1e-9)
    assert torch.allclose(values.view(4, 200).mean(1), rate.view(4, 200).mean(1), rtol=2e-3), "the mean is the rate"
    assert torch.equal(filtered_spikes(-rate, phase, 0.02, 0.004), -values)
    silent = filtered_spikes(torch.zeros(3), torch.tensor([0.0, 0.5, 0.9]), 0.02, 0.004)
    assert torch.equal(silent, torch.zeros(3))


def test_neurons_with_the_lifs_step_have_its_compiled_one() -> None:
    plain, window = LIF(tau_rc=0.03), WindowCountLIF(tau_rc=0.03)
    assert compiled_step(window, 0.001, np.float32) == compiled_step(plain, 0.001, np.float32)
    hard = IntegrateAndFire(reset="zero")
    assert compiled_step(StaircaseIntegrateAndFire(), 0.001, np.float32) == compiled_step(hard, 0.001, np.float32)
    with pytest.raises(UnsupportedError):
        compiled_step(AdaptiveLIF(), 0.001, np.float32)


def test_a_count_of_a_current_that_is_no_number() -> None:
    counts = lif_count(torch.tensor([-torch.inf, -3.0, 1.0, torch.inf]), 0.02, 0.002, window=0.01)
    assert counts.tolist() == [0, 0, 0, 5]
    assert lif_count(torch.tensor(torch.nan), 0.02, 0.002, window=0.01).isnan()
