"""What the parts of a run cannot do together is found before anything is trained."""

import sys

import hydra
import pytest
from program import ROOT
from torch import nn

from ratespike.config.schemas import SimulationConfig, TrackingConfig, check
from ratespike.conversion.methods import ResidualPotential
from ratespike.parameters import ParameterError
from ratespike.pipeline import assembly
from ratespike.pipeline.assembly import build_components
from ratespike.pipeline.simulator import Simulator
from ratespike.synapses import NoFilter

ASKED = ("neuron=clip_floor_shift", "conversion=residual_potential", "data.train_images=2", "data.test_images=2")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("simulation.early_exit=0.5", "simulation.early_exit, simulation.exit_loss: ResidualPotential takes all steps"),
        ("simulation.exit_loss=0.01", "simulation.early_exit, simulation.exit_loss: ResidualPotential takes all steps"),
        ("n_steps=4", "n_steps=4: must be above conversion.steps=4"),
    ],
)
def test_a_conversion_that_cannot_be_simulated(given: str, message: str) -> None:
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = check(hydra.compose("config", [*ASKED, f"data.dir={ROOT}/data/mnist", given]))
    with pytest.raises(ParameterError, match=message):
        build_components(config, ROOT)


def test_a_conversion_that_cannot_be_simulated_with_images_that_change() -> None:
    simulator = Simulator(SimulationConfig(), 0.001, NoFilter(), event_height=1.0, conversion=ResidualPotential())
    with pytest.raises(ParameterError, match="data: ResidualPotential needs images that stand still"):
        simulator.check(nn.Sequential(nn.Linear(2, 2)), n_steps=30)


def test_metrics_of_the_system_want_psutil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)  # as where it is not installed
    with pytest.raises(ParameterError, match=r"tracking\.system_metrics=true: .*; pip install psutil"):
        assembly._check_system_metrics(TrackingConfig(system_metrics=True))
    assembly._check_system_metrics(TrackingConfig())
