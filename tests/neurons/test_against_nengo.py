"""Every neuron and filter against Nengo itself, step by step in float64."""

from typing import Any

import nengo
import numpy as np
import pytest
import torch
from variants import all_but_one_slow

from ratespike.neurons import (
    LIF,
    AdaptiveLIF,
    Neuron,
    PoissonSpiking,
    RegularSpiking,
    Sigmoid,
    SpikingRectifiedLinear,
    StochasticSpiking,
)
from ratespike.synapses import Alpha, LowPass

N_STEPS = 1000
N_NEURONS = 2000


def assert_same_spikes_and_states(neuron: Neuron, theirs: Any, currents: np.ndarray, dt: float) -> None:
    """Both from the same currents, which change every 100 steps, and the same start."""
    rng = np.random.default_rng(0)
    state = {name: np.zeros(N_NEURONS) for name in neuron.initial_state(torch.zeros(1))}
    state["voltage"] = rng.random(N_NEURONS)
    ours = {name: torch.tensor(values) for name, values in state.items()}
    output = np.zeros(N_NEURONS)
    total = 0
    for step in range(N_STEPS):
        if step % 100 == 0:
            current = rng.permutation(currents)
        theirs.step(dt, current.copy(), output, **state)
        spikes, ours = neuron.step(torch.tensor(current), ours, dt)
        assert np.array_equal(spikes.numpy(), np.round(output * dt / theirs.amplitude)), f"step {step}"
        for name, values in state.items():
            assert np.abs(ours[name].numpy() - values).max() < 1e-9, f"{name} in step {step}"
        total += int(spikes.sum())
    assert total > 10_000, "the neurons hardly spike: nothing is compared"


LIF_CONSTANTS = all_but_one_slow(
    [(0.02, 0.002, 0.001), (0.02, 0.0005, 0.001), (0.005, 0.003, 0.0005), (0.1, 0.0, 0.001), (0.01, 0.0015, 0.005)]
)


@pytest.mark.parametrize(("tau_rc", "tau_ref", "dt"), LIF_CONSTANTS)
@pytest.mark.parametrize("min_voltage", [0.0, -1.0, None])
def test_lif_steps(tau_rc: float, tau_ref: float, dt: float, min_voltage: float | None) -> None:
    currents = np.concatenate([np.linspace(-5, 5, N_NEURONS // 2), np.geomspace(1, 1000, N_NEURONS // 2)])
    assert_same_spikes_and_states(
        LIF(tau_rc=tau_rc, tau_ref=tau_ref, min_voltage=min_voltage),
        nengo.LIF(tau_rc=tau_rc, tau_ref=tau_ref, min_voltage=-np.inf if min_voltage is None else min_voltage),
        currents,
        dt,
    )


@pytest.mark.parametrize(("tau_rc", "tau_ref", "dt"), LIF_CONSTANTS)
@pytest.mark.parametrize(("tau_n", "inc_n"), [(1.0, 0.01), (0.1, 0.2)])
def test_adaptive_lif_steps(tau_rc: float, tau_ref: float, dt: float, tau_n: float, inc_n: float) -> None:
    assert_same_spikes_and_states(
        AdaptiveLIF(tau_rc=tau_rc, tau_ref=tau_ref, tau_n=tau_n, inc_n=inc_n),
        nengo.AdaptiveLIF(tau_rc=tau_rc, tau_ref=tau_ref, tau_n=tau_n, inc_n=inc_n),
        np.linspace(-5, 50, N_NEURONS),
        dt,
    )


def test_the_adaptation_does_not_depend_on_the_amplitude() -> None:
    """Where Nengo's does: there `inc_n` counts twice what it does here if the amplitude is 2."""
    assert_same_spikes_and_states(
        AdaptiveLIF(amplitude=2, inc_n=0.02),
        nengo.AdaptiveLIF(amplitude=2, inc_n=0.01),
        np.linspace(-5, 50, N_NEURONS),
        0.001,
    )


@pytest.mark.parametrize("dt", [0.0005, 0.001, 0.01])
def test_rectified_linear_steps(dt: float) -> None:
    currents = np.linspace(-500, 3000, N_NEURONS)
    assert_same_spikes_and_states(SpikingRectifiedLinear(), nengo.SpikingRectifiedLinear(), currents, dt)


BASES = [
    (Sigmoid(max_rate=300, tau_ref=0.0025), nengo.Sigmoid(tau_ref=0.0025), np.linspace(-8, 8, N_NEURONS)),
    (LIF(tau_rc=0.03), nengo.LIFRate(tau_rc=0.03), np.linspace(-5, 50, N_NEURONS)),
    (SpikingRectifiedLinear(), nengo.RectifiedLinear(), np.linspace(-500, 3000, N_NEURONS)),
]


BY_THEMSELVES = [base for base in BASES if not isinstance(base[0], LIF)]  # a rate and nothing else fires regularly
WRAPPED = [(RegularSpiking(neuron=base), theirs, currents) for base, theirs, currents in BASES]


@pytest.mark.parametrize(("neuron", "theirs", "currents"), BY_THEMSELVES + WRAPPED, ids=lambda value: type(value).__name__)
def test_regular_spiking_steps(neuron: Neuron, theirs: Any, currents: np.ndarray) -> None:
    regular = nengo.RegularSpiking(theirs)
    voltage = np.zeros(N_NEURONS)
    state = {"voltage": torch.zeros(N_NEURONS, dtype=torch.float64)}
    output = np.zeros(N_NEURONS)
    rates = theirs.rates(currents, np.ones(1), np.zeros(1))[:, 0]
    for step in range(N_STEPS):
        nengo.neurons.RegularSpiking.step(regular, 0.001, rates, output, voltage=voltage)
        spikes, state = neuron.step(torch.tensor(currents), state, 0.001)
        assert np.abs(state["voltage"].numpy() - voltage).max() < 1e-9, f"voltage in step {step}"
        assert np.array_equal(spikes.numpy(), output * 0.001), f"spikes in step {step}"


@pytest.mark.parametrize(("base", "theirs", "currents"), BASES, ids=lambda value: type(value).__name__)
def test_stochastic_spiking_steps(base: Neuron, theirs: Any, currents: np.ndarray) -> None:
    """The same numbers from Nengo's generator make the same spikes."""
    neuron = StochasticSpiking(neuron=base)
    stochastic = nengo.StochasticSpiking(theirs)
    rates = theirs.rates(currents, np.ones(1), np.zeros(1))[:, 0]
    output = np.zeros(N_NEURONS)
    for step in range(N_STEPS):
        nengo.StochasticSpiking.step(stochastic, 0.001, rates, output, rng=np.random.RandomState(step))
        uniform = torch.tensor(np.random.RandomState(step).random_sample(N_NEURONS))
        spikes, _ = neuron.step(torch.tensor(currents), {}, 0.001, uniform)
        assert np.array_equal(spikes.numpy(), output * 0.001), step


@pytest.mark.slow
def test_poisson_spiking_has_nengos_distribution() -> None:
    """Two samples of 200 000 counts each at every rate, ours by inversion; the distance of their distribution functions."""
    size = 200_000
    for rate in (5.0, 300.0, 4000.0, 450_000.0, 600_000.0):
        neuron = PoissonSpiking(neuron=SpikingRectifiedLinear())
        theirs = nengo.PoissonSpiking(nengo.RectifiedLinear())
        output = np.zeros(size)
        nengo.PoissonSpiking.step(theirs, 0.001, np.full(size, rate), output, rng=np.random.RandomState(0))
        uniform = torch.rand(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        spikes, _ = neuron.step(torch.full((size,), rate, dtype=torch.float64), {}, 0.001, uniform)
        counts = np.sort(spikes.numpy())
        nengo_counts = np.sort(np.round(output * 0.001))
        values = np.unique(np.concatenate([nengo_counts, counts]))
        up_to = np.searchsorted(counts, values, "right")  # how many counts are at most each value
        nengo_up_to = np.searchsorted(nengo_counts, values, "right")
        distance = np.abs(up_to - nengo_up_to).max()
        assert distance / size < 1.95 * np.sqrt(2 / size), rate  # Kolmogorov and Smirnov: exceeded once in a thousand times


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (LIF, nengo.LIFRate),
        (AdaptiveLIF, None),
        (SpikingRectifiedLinear, nengo.RectifiedLinear),
        (Sigmoid, nengo.Sigmoid),
    ],
)
@pytest.mark.parametrize(("max_rate", "intercept"), [(210.0, 0.0), (250.0, -0.9), (350.0, 0.7)])
def test_gain_bias_and_rates(ours: type[Neuron], theirs: Any, max_rate: float, intercept: float) -> None:
    neuron = ours(max_rate=max_rate, intercept=intercept, amplitude=1)
    x = torch.linspace(-1, 1, 1001, dtype=torch.float64)
    if theirs is None:  # Nengo's gain of an adaptive neuron leaves the adaptation out: its greatest rate is not max_rate
        assert float(neuron(torch.ones(1, dtype=torch.float64))) == pytest.approx(max_rate, abs=1e-6)
        assert float(neuron(torch.tensor([intercept - 1e-6]))) == 0 < float(neuron(torch.tensor([intercept + 1e-3])))
        return
    gain, bias = theirs().gain_bias(np.array([max_rate]), np.array([intercept]))
    assert neuron.gain_and_bias() == pytest.approx((gain[0], bias[0]), rel=1e-12, abs=1e-12)
    rates = theirs().rates(x.numpy()[:, None], gain, bias)[:, 0]
    assert np.abs(neuron(x).numpy() - rates).max() < 1e-9


@pytest.mark.parametrize("tau", [0.0005, 0.005, 0.1])
@pytest.mark.parametrize("dt", [0.0005, 0.001])
@pytest.mark.parametrize("kind", ["low_pass", "alpha"])
def test_filters(kind: str, tau: float, dt: float) -> None:
    signal = np.random.default_rng(0).normal(size=(500, 8))
    filters = {"low_pass": (LowPass(tau=tau), nengo.Lowpass(tau)), "alpha": (Alpha(tau=tau), nengo.Alpha(tau))}
    synapse, theirs = filters[kind]
    expected = theirs.filt(signal, dt=dt, y0=0)
    state = synapse.initial_state(torch.zeros(8, dtype=torch.float64))
    filtered = []
    for row in torch.tensor(signal):
        value, state = synapse.step(row, state, dt)
        filtered.append(value.numpy())
    assert np.abs(np.stack(filtered) - expected).max() < 1e-12


def test_nengos_simulator_shows_our_filter_one_step_later() -> None:
    """Its synapses add a step of delay, which `filt` and we do not."""
    signal = np.random.default_rng(0).normal(size=100)
    with nengo.Network() as network:
        node = nengo.Node(lambda t: signal[min(round(t / 0.001) - 1, 99)])
        probe = nengo.Probe(node, synapse=nengo.Lowpass(0.01))
    with nengo.Simulator(network, dt=0.001, progress_bar=False) as simulator:
        simulator.run_steps(100)
    synapse = LowPass(tau=0.01)
    state = synapse.initial_state(torch.zeros(1, dtype=torch.float64))
    filtered = []
    for value in torch.tensor(signal):
        output, state = synapse.step(value[None], state, 0.001)
        filtered.append(float(output))
    assert np.abs(np.array(filtered[:-1]) - simulator.data[probe][1:, 0]).max() < 1e-12
    assert simulator.data[probe][0, 0] == 0
