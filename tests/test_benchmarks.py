"""What benchmarks measure is what they say."""

import importlib
from typing import Any

import pytest
from program import ROOT

from ratespike.parameters import ParameterError
from ratespike.pipeline.checkpoint import Checkpoint


def checkpoint(**simulation: Any) -> Checkpoint:
    config = {
        "simulation": {"start": "half", "readout": "mean", **simulation},
        "conversion": {"type": "Balanced"},
        "synapse": {"type": "NoFilter"},
        "dt": 0.002,
    }
    return Checkpoint(config, (1, 28, 28), ("a", "b"), {}, (0.0, 1.0))


def test_a_decision_is_simulated_as_the_checkpoint_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    decision = importlib.import_module("decision")
    simulator = decision.simulator_of(checkpoint(early_exit=0.9, exit_by="softmax"), {"n_steps": 3, "start": "zero"})
    settings = simulator.settings
    assert (settings.early_exit, settings.exit_by, settings.start, settings.readout) == (0.9, "softmax", "zero", "mean")
    assert (simulator.dt, type(simulator.conversion).__name__) == (0.002, "Balanced")
    fitted = checkpoint(exit_loss=0.001)
    with pytest.raises(ParameterError, match=r"simulation.exit_loss=0.001: its threshold is not in the checkpoint; give"):
        decision.simulator_of(fitted, {})
    assert decision.simulator_of(fitted, {"early_exit": 0.7}).settings.early_exit == 0.7
