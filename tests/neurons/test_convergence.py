"""Every spiking neuron, from every start, fires at its rate."""

import math

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from variants import all_but_one_slow

from ratespike import simulate
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
    StochasticSpiking,
    lif_rate,
)
from ratespike.simulation import STARTS

N_STEPS = 400
RATES_HZ = (5.0, 12.5, 31.0, 62.0, 125.0, 220.0)

examples = settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def spike_counts(neuron: Neuron, currents: Tensor, start: str, n_steps: int, dt: float) -> Tensor:
    """Spikes of each neuron that gets these constant currents, over all steps; both (images, neurons)."""
    gain, bias = neuron.gain_and_bias()
    x = (currents - bias) / gain
    spikes = simulate(nn.Sequential(neuron), x, n_steps, dt, start=start, record=["0"]).recordings["0"]
    return spikes.sum(0)


def assert_regular(neuron: Neuron, current: Tensor, start: str, dt: float = 0.001, tolerance: float = 1.0) -> None:
    """A regular spike train starts at some phase of its cycle: the count is within one of rate times time."""
    (counts,) = spike_counts(neuron, current[None], start, N_STEPS, dt)
    expected = neuron.firing_rate_in_steps(current, dt) * N_STEPS * dt
    assert ((counts - expected).abs() <= tolerance + 1e-6).all(), (counts, expected)
    assert (counts.abs() > 0).any(), "no neuron has fired"


def currents_for(neuron: LIF | SpikingRectifiedLinear | IntegrateAndFire | Sigmoid, rates: tuple[float, ...]) -> Tensor:
    return torch.tensor([neuron.current_for(rate) for rate in rates], dtype=torch.float64)


@pytest.mark.parametrize("start", all_but_one_slow(STARTS))
@given(
    tau_rc=st.floats(0.005, 0.1),
    tau_ref=st.floats(0.001, 0.004),
    intercept=st.decimals("-0.9", "0.9", places=9).map(float),
)
@examples
def test_lif(start: str, tau_rc: float, tau_ref: float, intercept: float) -> None:
    neuron = LIF(tau_rc=tau_rc, tau_ref=tau_ref, intercept=intercept)
    rates = tuple(rate for rate in RATES_HZ if (1 / rate - tau_ref) / tau_rc < 20)  # a lower one is lost beside threshold
    current = currents_for(neuron, rates)
    assert (neuron.firing_rate(current) - torch.tensor(rates)).abs().max() < 1e-4
    assert_regular(neuron, current, start)


@pytest.mark.slow
@pytest.mark.parametrize("start", all_but_one_slow(STARTS))
@pytest.mark.filterwarnings("ignore:.*spikes will be fewer")
@given(
    tau_rc=st.floats(0.005, 0.1),
    relative_tau_ref=st.decimals(0, "0.999", places=9).map(float),
    dt=st.floats(0.0002, 0.003),
    data=st.floats(1.001, 30),
)
@examples
def test_lif_whose_refractory_time_is_shorter_than_a_step(
    start: str, tau_rc: float, relative_tau_ref: float, dt: float, data: float
) -> None:
    """The staircase: n spikes take a whole number of steps; within such a cycle the count may be one further off."""
    neuron = LIF(tau_rc=tau_rc, tau_ref=relative_tau_ref * dt)
    current = torch.tensor([1.02, 1.3, 2.0, 5.0, data], dtype=torch.float64)
    assert_regular(neuron, current, start, dt, tolerance=2.0)


@pytest.mark.parametrize("start", all_but_one_slow(STARTS))
@given(max_rate=st.floats(20, 2000), dt=st.floats(0.0002, 0.005))
@examples
def test_rectified_linear(start: str, max_rate: float, dt: float) -> None:
    neuron = SpikingRectifiedLinear(max_rate=max_rate)
    assert_regular(neuron, currents_for(neuron, (*RATES_HZ, max_rate)), start, dt)


@pytest.mark.parametrize("start", all_but_one_slow(STARTS))
@given(negative_slope=st.floats(0.01, 1))
@examples
def test_leaky_relu(start: str, negative_slope: float) -> None:
    neuron = SpikingLeakyReLU(negative_slope=negative_slope)
    current = torch.tensor([-3000.0, -200.0, -20.0, *RATES_HZ], dtype=torch.float64)
    tolerance = 2.0 if start in ("uniform", "half") else 1.0  # a positive voltage is far from the first negative spike
    assert_regular(neuron, current, start, tolerance=tolerance)


@pytest.mark.parametrize("start", all_but_one_slow(STARTS))
@pytest.mark.parametrize("reset", ["subtract", "zero"])
@given(threshold=st.floats(0.1, 10), dt=st.floats(0.0005, 0.004))
@examples
def test_integrate_and_fire(start: str, reset: str, threshold: float, dt: float) -> None:
    neuron = IntegrateAndFire(threshold=threshold, reset=reset)
    off_the_stairs_edges = tuple(0.9987 * rate for rate in RATES_HZ)  # where rounding decides what a reset to zero loses
    assert_regular(neuron, currents_for(neuron, off_the_stairs_edges), start, dt)


@pytest.mark.parametrize("start", all_but_one_slow(STARTS))
@given(tau_ref=st.floats(0.001, 0.003))
@examples
def test_sigmoid_and_regular_spiking(start: str, tau_ref: float) -> None:
    sigmoid = Sigmoid(max_rate=0.75 / tau_ref, tau_ref=tau_ref)
    assert_regular(sigmoid, currents_for(sigmoid, RATES_HZ), start)
    soft = LIF(sigma=0.05, tau_ref=tau_ref)
    assert_regular(RegularSpiking(neuron=soft), currents_for(soft, RATES_HZ), start)


@pytest.mark.slow
@pytest.mark.parametrize("start", all_but_one_slow(STARTS))
@given(rate=st.floats(5, 3000), dt=st.floats(0.0005, 0.003))
@settings(examples, max_examples=5)
def test_stochastic_and_poisson_spiking(start: str, rate: float, dt: float) -> None:
    """Mean and variance of many independent counts, binomial or Poisson, are within five standard errors.

    Random numbers that come again in every step or in every neuron leave the mean as it is, but not the variance.
    """
    n_steps, n_neurons = 40, 4000  # few steps, which cost the most, of many neurons
    relu = SpikingRectifiedLinear(max_rate=500)
    currents = torch.full((1, n_neurons), rate, dtype=torch.float64)
    fraction, _ = math.modf(rate * dt)
    for neuron, variance in (  # of one step
        (StochasticSpiking(neuron=relu), fraction * (1 - fraction)),
        (PoissonSpiking(neuron=relu), rate * dt),
    ):
        counts = spike_counts(neuron, currents, start, n_steps, dt)
        n_draws = n_steps * n_neurons
        mean = float(counts.sum()) / n_draws
        assert abs(mean - rate * dt) < (5 * math.sqrt(n_draws * variance) + 1) / n_draws, f"mean of {neuron}"
        spread = float(counts.var()) / n_steps
        # a sample variance strays more where few spikes make long tails: a kurtosis of at most 3 + 1 / (n_steps * variance)
        error = math.sqrt((2 * variance**2 + variance / n_steps) / n_neurons)
        assert abs(spread - variance) <= 5 * error + 1e-6, f"variance of {neuron}"


@pytest.mark.slow
@pytest.mark.parametrize("start", all_but_one_slow(STARTS))
@given(inc_n=st.floats(0.005, 0.1), tau_n=st.floats(1, 1.5))
@settings(examples, max_examples=2, phases=[Phase.generate])
def test_adaptive_lif(start: str, inc_n: float, tau_n: float) -> None:
    """Once the adaptation has settled, the rate from the first to the last spike of what follows.

    An adaptation settles sooner than in `tau_n`, because it slows what feeds it. After 3 s some would still be off by 0.7 Hz.
    """
    neuron = AdaptiveLIF(inc_n=inc_n, tau_n=tau_n)
    settling = 5000
    n_steps = 7000
    current = currents_for(neuron, RATES_HZ)
    gain, bias = neuron.gain_and_bias()
    result = simulate(nn.Sequential(neuron), ((current - bias) / gain)[None], n_steps, start=start, record=["0"])
    settled = result.recordings["0"][settling:, 0]  # (time, neurons)
    for spikes, rate in zip(settled.T, neuron.firing_rate(current), strict=True):
        steps = spikes.nonzero()
        measured = (len(steps) - 1) / (float(steps[-1] - steps[0]) * 0.001)
        assert measured == pytest.approx(float(rate), abs=0.5)


def test_steady_phase_leaves_no_bias_in_ten_steps() -> None:
    """Of a LIF, over currents uniform in rate; the other starts are off by 5 Hz and more.

    Ten steps tell a rate of one neuron to 40 Hz, the mean of so many neurons to 0.1 Hz: a phase that is not uniform shows.
    """
    neuron = LIF()
    n_steps = 10
    generator = torch.Generator().manual_seed(0)
    rates = 200 * torch.rand(50, 4000, generator=generator, dtype=torch.float64)  # (images, neurons)
    current = 1 / (1 - torch.exp((0.002 - 1 / rates) / 0.02))
    assert (lif_rate(current, 0.02, 0.002) - rates).abs().mean() < 1e-2  # below 2 Hz the current is that of threshold
    bias_hz = {}
    for start in ("zero", "uniform", "steady_phase"):
        measured = spike_counts(neuron, current, start, n_steps, 0.001) / (n_steps * 0.001)
        bias_hz[start] = float((measured - rates).mean())
    assert abs(bias_hz["steady_phase"]) < 0.3
    assert bias_hz["zero"] < -20
    assert bias_hz["uniform"] > 4
