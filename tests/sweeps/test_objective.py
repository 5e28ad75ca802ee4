from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from ratespike.parameters import ParameterError
from ratespike.sweeps.objective import Objective, objectives, value_of

BASIC = OmegaConf.create({"_target_": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"})


def search(*directions: str) -> Any:
    """The configuration of a sweeper with one direction or several."""
    one_or_several = list(directions) if len(directions) > 1 else directions[0]
    return OmegaConf.create({"direction": one_or_several})


def test_each_objective_has_its_direction() -> None:
    assert objectives(None, BASIC) == ()
    assert objectives("val/agreement", search("maximize")) == (Objective("val/agreement", True),)
    names = OmegaConf.create(["val/spiking_accuracy", "val/firing_rate_hz/neuron1"])
    assert [goal.maximize for goal in objectives(names, search("maximize", "minimize"))] == [True, False]


@pytest.mark.parametrize(
    ("names", "sweeper", "message"),
    [
        ("test/spiking_accuracy", search("maximize"), "the test images choose nothing; take val/spiking_accuracy"),
        ("val/spiking_acuracy", search("maximize"), "no metric of the validation images; did you mean val/spiking_accuracy"),
        (None, search("maximize"), "a search needs an objective, for example objective=val/spiking_accuracy"),
        ("val/loss", search("maximize", "minimize"), "objective=val/loss: one is wanted for each of .*=maximize,minimize"),
        ("val/rate_accuracy", search("minimize"), "direction=minimize looks for the worst; give maximize"),
        (["val/agreement", "val/loss"], search("maximize", "maximize"), "val/loss: .*maximize looks for the worst"),
        ("spiking_accuracy", search("maximize"), "no metric of the validation images; did you mean val/spiking_accuracy"),
        ("val/firing_rate_hz", search("maximize"), "did you mean val/firing_rate_hz/<layer>"),
        ("val/loss", BASIC, "objective=val/loss: only a search has one; add hydra/sweeper=optuna"),
    ],
)
def test_what_cannot_be_an_objective_is_refused(names: Any, sweeper: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        objectives(names, sweeper)


def test_a_firing_rate_is_that_of_a_layer_of_the_network() -> None:
    Objective("val/firing_rate_hz/neuron1", False).check({"neuron1", "neuron2"}, 10)
    Objective("val/loss", False).check({"neuron1"}, 10)
    with pytest.raises(ParameterError, match="neuron7: the network has no neurons of this name; did you mean neuron1"):
        Objective("val/firing_rate_hz/neuron7", False).check({"neuron1"}, 10)


def test_a_metric_of_many_classes_is_no_objective_of_few() -> None:
    Objective("val/spiking_top5_accuracy", True).check({"neuron1"}, 11)
    with pytest.raises(ParameterError, match=r"val/spiking_top5_accuracy: is measured of 11 classes or more, but .* have 10"):
        Objective("val/spiking_top5_accuracy", True).check({"neuron1"}, 10)


@pytest.mark.parametrize(("control", "kept"), [(None, 2), ("NoControl", 2), ("OperationsBudget", 3)])
def test_a_metric_of_each_epoch_is_that_of_the_epoch_that_was_kept(control: str | None, kept: int) -> None:
    """The most accurate one; where rates are held, the last one."""
    histories = {"val/rate_accuracy": {1: 0.9, 2: 0.95, 3: 0.93}, "val/loss": {1: 0.5, 2: 0.4, 3: 0.6}}
    run: Any = SimpleNamespace(history=histories.get, parameter={"rate_control.type": control}.get)
    assert value_of(run, "val/loss") == histories["val/loss"][kept]
