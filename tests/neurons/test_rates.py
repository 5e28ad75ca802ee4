"""The rates themselves: closed forms, inverses, slopes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

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
    TunedNeuron,
    lif_current,
    lif_rate,
    poisson_quantile,
)
from ratespike.neurons.lif_rates import SLOPE_CLAMP


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("sigma", [0.01, 0.1, 1.0])
def test_soft_lif_is_its_closed_form(sigma: float) -> None:
    current = np.linspace(1 - 30 * sigma, 50, 10_001)
    z = sigma * np.logaddexp(0, (current - 1) / sigma)
    expected = 1 / (0.002 + 0.02 * np.log1p(1 / z))
    assert np.allclose(lif_rate(torch.tensor(current), 0.02, 0.002, sigma).numpy(), expected, rtol=1e-12, atol=0)


def test_soft_lif_far_below_threshold_is_its_limit() -> None:
    """There softplus underflows, but its logarithm is the current."""
    rate = lif_rate(double(-200.0), 0.02, 0.002, sigma=0.1)
    assert float(rate) == pytest.approx(1 / (0.002 + 0.02 * (201 / 0.1 - np.log(0.1))), rel=1e-12)


def test_soft_lif_becomes_the_hard_one() -> None:
    current = torch.linspace(1.01, 20, 1000, dtype=torch.float64)
    assert torch.allclose(lif_rate(current, 0.02, 0.002, 1e-4), lif_rate(current, 0.02, 0.002), rtol=1e-9)


@given(
    st.floats(0.5, 180),
    st.floats(0.005, 0.1),
    st.decimals(0, "0.005", places=9).map(float),
    st.sampled_from([0.0, 0.02, 0.5]),
)
@settings(deadline=None)
def test_lif_current_is_the_inverse_of_the_rate(rate: float, tau_rc: float, tau_ref: float, sigma: float) -> None:
    current = torch.tensor(lif_current(rate, tau_rc, tau_ref, sigma), dtype=torch.float64)
    if float(current) - 1 > 1e-9 or sigma:  # nearer to threshold the current itself is rounded
        assert float(lif_rate(current, tau_rc, tau_ref, sigma)) == pytest.approx(rate, rel=1e-5)


@pytest.mark.parametrize("cls", [LIF, AdaptiveLIF, SpikingRectifiedLinear, SpikingLeakyReLU, IntegrateAndFire, Sigmoid])
@given(fraction=st.floats(0.55, 0.95), intercept=st.decimals("-0.95", "0.9", places=9).map(float))
@settings(deadline=None, max_examples=30)
def test_every_tuned_neuron_fires_at_max_rate_where_x_is_one(cls: type[TunedNeuron], fraction: float, intercept: float) -> None:
    neuron = cls(max_rate=400 * fraction, intercept=intercept)
    rate_at_one = neuron.firing_rate(neuron.current(double(1.0)))
    assert float(rate_at_one) == pytest.approx(neuron.max_rate, rel=1e-6)
    assert float(neuron(double(1.0))) == pytest.approx(1, rel=1e-6)
    assert float(neuron.current(double(intercept))) == pytest.approx(neuron.threshold_current, abs=1e-9)
    doubled = cls(max_rate=400 * fraction, intercept=intercept, amplitude=2 * neuron.scale)
    assert torch.allclose(doubled(double(0.95, 1.0)), 2 * neuron(double(0.95, 1.0)))


def test_adaptive_rate_solves_its_equation() -> None:
    neuron = AdaptiveLIF(inc_n=0.05, max_rate=100)
    current = torch.linspace(-1, 60, 5001, dtype=torch.float64)
    rate = neuron.firing_rate(current)
    for error_hz, sign in ((-0.02, -1), (0.02, 1)):  # near threshold the rate is too steep to compare it itself
        other = rate + error_hz
        assert (sign * (other - lif_rate(current - 0.05 * other, 0.02, 0.002)) > 0).all()
    assert torch.equal(AdaptiveLIF(inc_n=0).firing_rate(current), lif_rate(current, 0.02, 0.002))


SMOOTH_SOMEWHERE = [
    (LIF(), (1.002, 1.5, 3.0, 40.0, 0.5)),
    (LIF(sigma=0.1), (-3.0, 0.9, 1.0, 1.05, 3.0)),
    (LIF(tau_ref=0.0), (1.1, 3.0)),
    (AdaptiveLIF(inc_n=0.02), (1.3, 3.0, 20.0)),
    (AdaptiveLIF(inc_n=0.02, sigma=0.1), (0.9, 1.0, 1.3, 20.0)),
    (SpikingRectifiedLinear(), (-5.0, 5.0)),
    (SpikingLeakyReLU(), (-5.0, 5.0)),
    (IntegrateAndFire(threshold=2), (-5.0, 5.0)),
    (Sigmoid(), (-5.0, 0.0, 5.0)),
    (RegularSpiking(neuron=Sigmoid()), (-5.0, 0.0, 5.0)),
    (PoissonSpiking(neuron=LIF(sigma=0.1)), (0.9, 1.0, 3.0)),
]


@pytest.mark.parametrize(("neuron", "currents"), SMOOTH_SOMEWHERE, ids=repr)
def test_slopes(neuron: Neuron, currents: tuple[float, ...]) -> None:
    assert torch.autograd.gradcheck(neuron.firing_rate, double(*currents).requires_grad_(), eps=1e-7, atol=1e-3, rtol=1e-4)
    assert torch.autograd.gradcheck(neuron, double(*currents).requires_grad_(), eps=1e-7, atol=1e-4, rtol=1e-4)


def test_the_hard_slope_is_clamped_at_threshold() -> None:
    """It grows without limit towards the threshold; within `SLOPE_CLAMP` it is that of the clamp's border."""
    current = double(1.0, 1 + 1e-12, 1 + SLOPE_CLAMP / 2, 1 + SLOPE_CLAMP).requires_grad_()
    (slope,) = torch.autograd.grad(lif_rate(current, 0.02, 0.002).sum(), current)
    assert slope.isfinite().all()
    assert slope[0] == 0, "at threshold the rate is 0, and the slope with it"
    assert slope[2] > 0
    assert slope.max() == slope[-1]


def test_poisson_quantile_is_the_inverse_of_the_distribution() -> None:
    """Against the distribution function as a sum of its terms."""
    for mean in (0.01, 0.7, 30.0, 420.0):
        k = np.arange(2000)
        log_factorial = np.concatenate([[0], np.cumsum(np.log(np.arange(1, 2000)))])
        distribution = np.cumsum(np.exp(k * np.log(mean) - mean - log_factorial))
        uniform = torch.linspace(0, 0.9999, 5001, dtype=torch.float64)
        expected = np.searchsorted(distribution, uniform.numpy(), side="right")
        counts = poisson_quantile(torch.full_like(uniform, mean), uniform).numpy()
        assert (counts == expected).mean() > 0.999, mean
        assert np.abs(counts - expected).max() <= 1, mean  # ties by rounding
