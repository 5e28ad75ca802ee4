"""What is read from a class statement is what the class says once it is imported."""

import sys
from dataclasses import fields
from pathlib import Path

import pytest
from program import run

from ratespike.config.schemas import SimulationConfig
from ratespike.config.source import _declared_fields, check_declared, constant
from ratespike.data import Augmentation, DataSet
from ratespike.network import Layer
from ratespike.neurons import Neuron
from ratespike.parameters import ParameterError, build, kinds
from ratespike.pipeline.optimizers import Optimizer
from ratespike.pipeline.rate_control import RateControl
from ratespike.simulation import ENGINES, READOUTS, STARTS
from ratespike.synapses import Synapse

BASES = {
    "data": DataSet,
    "augmentation": Augmentation,
    "neuron": Neuron,
    "synapse": Synapse,
    "optimizer": Optimizer,
    "rate_control": RateControl,
    "layer": Layer,
}
CLASSES = [
    (family, cls) for family, base in BASES.items() for cls in kinds(base).values() if cls.__module__.startswith("ratespike")
]


@pytest.mark.parametrize(("family", "cls"), CLASSES, ids=lambda value: getattr(value, "__name__", value))
def test_the_source_declares_what_the_class_has(family: str, cls: type) -> None:
    declared = _declared_fields(family, cls.__name__)
    ranges = {item.name: item for item in fields(cls) if "range" in item.metadata}  # type: ignore[arg-type]
    assert set(declared) == set(ranges), "a range that is no literal is found only after the import"
    for name, (_, field) in declared.items():
        assert (field.default, field.metadata) == (ranges[name].default, ranges[name].metadata)


def test_words_are_those_of_the_modules_that_implement_them() -> None:
    choices = {item.name: item.metadata["range"].choices for item in fields(SimulationConfig)}
    assert (choices["start"], choices["readout"], choices["engine"]) == (STARTS, READOUTS, ENGINES)
    with pytest.raises(LookupError, match="assigns no literal to NOTHING"):
        constant("simulation/start.py", "NOTHING")


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("neuron", "tau_rc", -1),
        ("neuron", "min_voltage", 0.5),
        ("neuron", "amplitude", "large"),
        ("optimizer", "lr", 0),
        ("data", "split_seed", True),
        ("augmentation", "rotation", 200),
        ("augmentation", "flip", 1.5),
        ("synapse", "tau", float("nan")),
    ],
)
def test_the_line_is_the_one_that_the_class_raises(group: str, key: str, value: object) -> None:
    types = {"neuron": "LIF", "optimizer": "AdamW", "data": "MNIST", "synapse": "LowPass", "augmentation": "Augmentation"}
    required = {"dir": "data", "validation_images": 1} if group == "data" else {}
    config = {"type": types[group], **required, key: value}
    with pytest.raises(ParameterError) as early:
        check_declared({group: config})
    with pytest.raises(ParameterError) as late:
        build(BASES[group], config, group)
    assert str(early.value) == str(late.value)


def test_layers_and_nested_neurons_are_checked() -> None:
    layers = {"conv": {"type": "Conv", "filters": 0}, "own": {"type": "Neurons", "neuron": {"type": "LIF", "tau_rc": 0}}}
    for name, message in (("conv", "network.layers.conv.filters=0"), ("own", "network.layers.own.neuron.tau_rc=0")):
        with pytest.raises(ParameterError, match=message):
            check_declared({"network": {"layers": {name: layers[name]}}})
    with pytest.raises(ParameterError, match=r"neuron\.neuron\.max_rate=0"):
        check_declared({"neuron": {"type": "PoissonSpiking", "neuron": {"type": "LIF", "max_rate": 0}}})


def test_what_the_source_does_not_tell_is_left_to_the_class() -> None:
    check_declared({"neuron": {"type": "NoSuchNeuron", "tau_rc": -1}, "optimizer": None})


@pytest.mark.program
def test_a_value_out_of_range_is_reported_before_torch_is_imported(checkout: Path) -> None:
    """With a `torch` in front that cannot be imported."""
    (checkout / "torch.py").write_text("raise SystemExit('torch is imported')")
    try:
        code, _, error = run(checkout, "+experiment=mnist", "neuron.tau_rc=-1")
    finally:
        (checkout / "torch.py").unlink()
    assert (code, error) == (1, "error: neuron.tau_rc=-1: must be a number above 0 (s); the default is 0.02\n"), sys.executable
