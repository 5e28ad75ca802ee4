"""Neurons that are trained for one simulation, and forwards that do not go with every neuron."""

from pathlib import Path

import hydra
import pytest
from omegaconf import OmegaConf
from program import ROOT
from torch import nn

from ratespike.config.job import Job
from ratespike.config.schemas import Config, EvaluateConfig, SimulationConfig, check
from ratespike.neurons import (
    LIF,
    Neuron,
    PoissonSpiking,
    RegularSpiking,
    StaircaseIntegrateAndFire,
    StochasticSpiking,
    WindowCountLIF,
)
from ratespike.parameters import ParameterError
from ratespike.pipeline.assembly import check_and_build
from ratespike.pipeline.check_neurons import check_neurons, simulated_otherwise
from ratespike.pipeline.forwards import Rates, ResidualNoise, SpikeNoise, Spikes


def network(neuron: Neuron) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 3), LIF(), nn.Sequential(neuron), nn.Linear(3, 2))


@pytest.mark.parametrize(
    "neuron",
    [
        StaircaseIntegrateAndFire(max_rate=500, dt=0.002),
        WindowCountLIF(max_rate=150, dt=0.002),
        RegularSpiking(neuron=StaircaseIntegrateAndFire(max_rate=500, dt=0.002)),
    ],
    ids=lambda neuron: type(neuron).__name__,
)
def test_a_rate_of_other_steps_is_refused_in_training_and_reported_in_an_evaluation(neuron: Neuron) -> None:
    check_neurons(network(neuron), Config(dt=0.002), Rates())
    with pytest.raises(ParameterError, match=r"neuron\.dt=0\.002: must be dt=0\.001, the step of the simulation \(layer 2\.0"):
        check_neurons(network(neuron), Config(dt=0.001), Rates())
    half = SimulationConfig(start="half")
    assert not list(simulated_otherwise(network(neuron), EvaluateConfig(dt=0.002, simulation=half)))
    (reported,) = simulated_otherwise(network(neuron), EvaluateConfig(dt=0.001, simulation=half))
    assert "has rates of steps of 0.002 s, but is simulated in steps of 0.001 s" in reported


def test_another_start_than_the_one_counted_from_is_reported() -> None:
    (reported,) = simulated_otherwise(network(WindowCountLIF(max_rate=150, start="half")), Config())
    assert reported == "layer 2.0 counts spikes from neuron.start=half, but is simulated from simulation.start=uniform"


def test_noise_of_regular_spikes_is_refused_for_random_ones() -> None:
    for neuron in (PoissonSpiking(neuron=LIF()), StochasticSpiking(neuron=LIF())):
        for forward in (ResidualNoise(), SpikeNoise()):
            config = Config(forward={"type": type(forward).__name__})
            named = f"forward={type(forward).__name__}: .* {type(neuron).__name__} has noise of its own .layer 2.0.; take"
            with pytest.raises(ParameterError, match=named):
                check_neurons(network(neuron), config, forward)
            check_neurons(network(RegularSpiking(neuron=LIF())), config, forward)
        check_neurons(network(neuron), Config(), Spikes())


@pytest.mark.slow
def test_a_training_and_its_stages_are_checked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As they are composed; `dt` of a neuron follows that of the simulation, unless one is given."""
    check_and_build(job(tmp_path, "neuron=window_count", "dt=0.002", "simulation=half"))
    assert not caplog.messages
    check_and_build(job(tmp_path, "neuron=window_count", "neuron.start=zero"))
    assert "from neuron.start=zero, but is simulated from simulation.start=uniform" in caplog.text
    of_other_steps = "{neuron: {type: StaircaseIntegrateAndFire, max_rate: 500, dt: 0.002}}"
    for given, message in (
        (("neuron=staircase", "neuron.dt=0.002"), r"^neuron.dt=0.002: must be dt=0.001"),
        (("+neuron@network.layers.neuron1.neuron=staircase", "network.layers.neuron1.neuron.dt=0.002"), "layer neuron1"),
        (("neuron=integrate_and_fire", f"stages={{first: {of_other_steps}}}"), r"^stages.first: neuron.dt=0.002: must be"),
        (("neuron=poisson", "forward=residual_noise"), "^forward=ResidualNoise: .* PoissonSpiking has noise of its own"),
    ):
        with pytest.raises(ParameterError, match=message):
            check_and_build(job(tmp_path, *given))


def job(folder: Path, *given: str) -> Job[Config]:
    small = ("data.train_images=20", "data.validation_images=10", "data.test_images=5", f"data.dir={ROOT}/data/mnist")
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = hydra.compose("config", [*small, *given])
    return Job(check(config), OmegaConf.to_container(config, resolve=True), list(given), folder, number=0)  # type: ignore[arg-type]
