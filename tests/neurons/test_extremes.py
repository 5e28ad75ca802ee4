"""Inputs and parameters at and beyond their limits: a defined result or one clear line, and always a finite gradient."""

import pytest
import torch
from torch import nn

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
    StaircaseIntegrateAndFire,
    StochasticSpiking,
    WindowCountLIF,
)
from ratespike.parameters import ParameterError

NEURONS = [
    LIF(),
    LIF(sigma=0.02),
    LIF(tau_ref=0.0),
    AdaptiveLIF(),
    AdaptiveLIF(sigma=0.02),
    SpikingRectifiedLinear(),
    SpikingLeakyReLU(),
    IntegrateAndFire(),
    IntegrateAndFire(reset="zero"),
    StaircaseIntegrateAndFire(),
    WindowCountLIF(),
    Sigmoid(),
    RegularSpiking(neuron=Sigmoid()),
    StochasticSpiking(neuron=LIF(sigma=0.02)),
    PoissonSpiking(neuron=LIF(sigma=0.02)),
]
each_neuron = pytest.mark.parametrize("neuron", NEURONS, ids=repr)
INF, NAN = float("inf"), float("nan")


@each_neuron
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_rates_and_slopes_of_extreme_inputs(neuron: Neuron, dtype: torch.dtype) -> None:
    values = [-INF, -1e6, -1.0, -1e-30, 0.0, 1e-30, 1e-7, 1.0, 1e6, INF, NAN]
    x = torch.tensor(values, dtype=dtype, requires_grad=True)
    rates = neuron(x)
    rates.sum().backward()
    assert rates.dtype == dtype
    assert x.grad is not None
    assert x.grad.dtype == dtype
    assert x.grad.isfinite().all(), x.grad
    assert rates[-1].isnan(), "a NaN must stay one"
    assert not rates[:-1].isnan().any(), "a NaN has come from a number"
    assert (rates[1:-1].diff()[:-1] >= 0).all(), "a greater input has a lower rate"


@each_neuron
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_steps_with_extreme_currents(neuron: Neuron, dtype: torch.dtype) -> None:
    current = torch.tensor([-1e6, -1.0, 0.0, 1.0, 1e6], dtype=dtype)
    state = neuron.initial_state(torch.zeros_like(current))
    total = torch.zeros_like(current)
    for step in range(50):
        uniform = torch.full_like(current, (step + 0.5) / 50)
        spikes, state = neuron.step(current, state, 0.001, *random_numbers(neuron, uniform))
        assert spikes.dtype == dtype
        assert spikes.isfinite().all()
        assert torch.equal(spikes, spikes.round()), "spikes are whole numbers"
        for name, values in state.items():
            assert values.isfinite().all(), name
        total += spikes
    assert total[-1] > 0, "the greatest current makes no spike"
    assert total[0] <= 0, "a negative current makes spikes"


def random_numbers(neuron: Neuron, uniform: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The fourth argument of a random neuron's step; nothing for the others."""
    return (uniform,) if neuron.random else ()


@each_neuron
def test_a_nan_stays_with_its_neuron(neuron: Neuron) -> None:
    current = torch.tensor([NAN, 3.0])
    state = neuron.initial_state(torch.zeros_like(current))
    alone = neuron.initial_state(torch.zeros(1))
    for step in range(50):
        uniform = torch.full((2,), step / 50)
        spikes, state = neuron.step(current, state, 0.001, *random_numbers(neuron, uniform))
        expected, alone = neuron.step(current[1:], alone, 0.001, *random_numbers(neuron, uniform[1:]))
        assert torch.equal(spikes[1:], expected)


@each_neuron
@pytest.mark.filterwarnings("ignore:.*spikes will be fewer")
def test_no_neurons_and_no_images(neuron: Neuron) -> None:
    assert neuron(torch.zeros(3, 0)).shape == (3, 0)
    for start in ("uniform", "steady_phase"):
        empty = simulate(nn.Sequential(neuron), torch.zeros(3, 0), 2, start=start, record=["0"])
        assert empty.recordings["0"].shape == (2, 3, 0)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_simulate_refuses_what_is_not_finite(value: float) -> None:
    """A spiking neuron would hide it: it stays silent."""
    network = nn.Sequential(nn.Linear(2, 2), LIF(), nn.Linear(2, 2))
    with pytest.raises(ParameterError, match="images: 1 of 4 values are NaN or infinite"):
        simulate(network, torch.tensor([[0.0, value], [0.0, 1.0]]))
    with torch.no_grad():
        network[0].weight[0, 0] = value
    with pytest.raises(ParameterError, match=r"0\.weight: 1 of 4 values are NaN or infinite"):
        simulate(network, torch.zeros(1, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("start", ["zero", "uniform", "steady_phase"])
def test_half_precision_is_simulated_in_single(dtype: torch.dtype, start: str) -> None:
    """Inputs that half precision holds exactly: the spikes are those of single precision."""
    network = nn.Sequential(LIF(), nn.Identity())
    images = torch.arange(16).reshape(2, 8) / 8
    single = simulate(network, images, 50, start=start, record=["0"]).recordings["0"]
    half = simulate(network, images.to(dtype), 50, start=start, record=["0"]).recordings["0"]
    assert single.sum() > 20, "the neurons hardly spike: nothing is compared"
    assert torch.equal(half.float(), single)


def test_steps_longer_than_the_refractory_time_warn() -> None:
    network = nn.Sequential(nn.Linear(2, 2), LIF(tau_ref=0.0005), nn.Linear(2, 2))
    with pytest.warns(UserWarning, match=r"1: spikes will be fewer than its rate says: tau_ref=0\.0005 s is shorter"):
        simulate(network, torch.rand(1, 2), 2)
    with pytest.warns(UserWarning, match=r"max_rate=2000 Hz is above 1/dt = 1000 Hz"):
        simulate(nn.Sequential(IntegrateAndFire(max_rate=2000)), torch.rand(1, 2), 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LIF(tau_rc=0), "tau_rc=0: must be a number above 0"),
        (lambda: LIF(tau_rc=1e-12), "tau_rc=1e-12: too short for max_rate=100: .* try 0.001 s or more"),
        (lambda: LIF(tau_rc=NAN), "tau_rc=nan: must be a number above 0"),
        (lambda: LIF(tau_ref=-1e-3), "tau_ref=-0.001: must be a number at least 0"),
        (lambda: LIF(max_rate=500), r"max_rate=500: must be below 1/tau_ref = 500 Hz; try a shorter tau_ref"),
        (lambda: LIF(intercept=1), "intercept=1: must be a number below 1"),
        (lambda: LIF().current_for(600), "rate=600: must be below 1/tau_ref"),
        (lambda: LIF().current_for(0), "rate=0: must be a number above 0"),
        (lambda: Sigmoid(max_rate=100), "max_rate=100: must be above 0.5/tau_ref = 200 Hz"),
        (lambda: IntegrateAndFire(reset="zer"), "reset=zer: must be one of subtract, zero"),
        (lambda: WindowCountLIF(tau_ref=0.0009), "tau_ref=0.0009: must be at least dt=0.001 s"),
        (lambda: WindowCountLIF(start="uniform"), "start=uniform: must be one of zero, half"),
        (lambda: StaircaseIntegrateAndFire(levels=4), "levels=4: this rate is a staircase already"),
        (lambda: StaircaseIntegrateAndFire(reset="subtract"), "reset=subtract: must be one of zero"),
        (lambda: RegularSpiking(neuron=3), r"neuron=3: must be a neuron"),  # type: ignore[arg-type]
        (lambda: RegularSpiking(neuron={"type": "LFI"}), "neuron.type=LFI: did you mean LIF"),  # type: ignore[arg-type]
    ],
)
def test_parameters_out_of_range(make: object, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        make()  # type: ignore[operator]
