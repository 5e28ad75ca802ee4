import itertools
from collections.abc import Iterator

import hydra
import pytest
import torch
from omegaconf import OmegaConf
from program import CONF
from torch import nn

from ratespike.config.schemas import Config, check
from ratespike.data import Augmentation, DataSet
from ratespike.network import build_network
from ratespike.parameters import ParameterError, build
from ratespike.pipeline.optimizers import Optimizer
from ratespike.synapses import Synapse

EXPERIMENTS = [f"+experiment={path.stem}" for path in (CONF / "experiment").glob("*.yaml")]
OPTIONS = EXPERIMENTS + [
    f"{folder.name}={path.stem}"
    for folder in sorted(CONF.iterdir())
    if folder.is_dir() and folder.name not in ("experiment", "debug", "hydra", "sweep")
    for path in sorted(folder.glob("*.yaml"))
]


def compose(*overrides: str) -> Config:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return check(hydra.compose("config", list(overrides)))


def build_all(config: Config) -> None:
    """Everything that a configuration describes; its network computes an answer for each of 10 classes."""
    build(DataSet, config.data, "data")
    build(Augmentation, config.augmentation, "augmentation")
    network: nn.Module = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))  # for a plain model, which is in a file of the user
    if config.network.layers:
        network = build_network(config.network.layers, config.neuron, (1, 28, 28), 10)
    optimizer = build(Optimizer, config.optimizer, "optimizer")
    optimizer.scheduler(optimizer.optimizer(network.parameters()), total_steps=10)
    build(Synapse, config.synapse, "synapse")
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_each_experiment_composes(experiment: str) -> None:
    build_all(compose(experiment))


def group(option: str) -> str:
    return option.split("=")[0]


def rows_with_all_pairs() -> list[list[str]]:
    """Choices of one option for each group in which every pair of options of two groups occurs: few rows, found greedily."""
    left = {frozenset(pair) for pair in itertools.combinations(OPTIONS, 2) if group(pair[0]) != group(pair[1])}
    options = {name: [option for option in OPTIONS if group(option) == name] for name in map(group, OPTIONS)}
    rows = []
    while left:
        row = sorted(min(left, key=sorted))
        for name in sorted(options.keys() - set(map(group, row))):
            row.append(max(options[name], key=lambda new: sum(frozenset((new, old)) in left for old in row)))
        left -= {frozenset(pair) for pair in itertools.combinations(row, 2)}
        rows.append(row)
    return rows


def rows_by_speed() -> Iterator[object]:
    """The rows; slow, as they are many, are those without an option that no row before has."""
    seen: set[str] = set()
    for row in rows_with_all_pairs():
        yield pytest.param(row, marks=[pytest.mark.slow] if seen.issuperset(row) else [])
        seen.update(row)


@pytest.mark.parametrize("row", list(rows_by_speed()), ids=str)
def test_each_pair_of_options_composes(row: list[str]) -> None:
    config = compose(*row, "+debug=fast")
    build_all(config)
    assert config.data["test_images"] == 200


@pytest.mark.parametrize("experiment", sorted(path.stem for path in (CONF / "experiment").glob("*.yaml")))
def test_no_experiment_has_stages_on_a_slice(experiment: str) -> None:
    given = ("model=model.py:net", "checkpoint=weights.pt") if experiment == "convert" else ()
    assert not compose(f"+experiment={experiment}", *given, "+debug=fast").stages


def test_an_experiment_leaves_its_neuron_to_the_command_line() -> None:
    relu = compose("+experiment=mnist_nengo", "neuron=relu", "optimizer=adam", "n_steps=60")
    assert relu.neuron["type"] == "SpikingRectifiedLinear" and "tau_rc" not in relu.neuron
    assert relu.optimizer["type"] == "Adam" and relu.n_steps == 60


def test_the_seed_is_copied_to_the_letter() -> None:
    config = compose("+experiment=mnist_nengo")
    optimizer = build(Optimizer, config.optimizer, "optimizer").optimizer([torch.nn.Parameter(torch.zeros(1))])
    assert isinstance(optimizer, torch.optim.RMSprop)
    assert {key: optimizer.defaults[key] for key in ("lr", "alpha", "eps", "momentum", "weight_decay")} == {
        "lr": 1e-3,
        "alpha": 0.9,
        "eps": 1e-10,
        "momentum": 0,
        "weight_decay": 0,
    }
    neuron = config.neuron
    assert (neuron["type"], neuron["sigma"], neuron["max_rate"], neuron["intercept"]) == ("LIF", 0, 100, 0)
    assert config.simulation.start == "zero" and config.synapse == {"type": "LowPass", "tau": 0.1}
    assert (config.n_steps, config.trainer.max_epochs, config.data["batch_size"]) == (30, 10, 200)
    assert (config.data["validation_images"], config.data["split_seed"]) == (10_000, None)
    assert config.network.initialisation == "glorot_uniform"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("n_steps=0", "n_steps=0: must be a whole number at least 1 and at most 2147483647; the default is 30"),
        ("dt=-1", r"dt=-1.0: must be a number at least 1e-09 and at most 1000 \(s\)"),
        ("simulation.start=unifrm", "simulation.start=unifrm: must be one of"),
        ("trainer.max_epochs=0", "trainer.max_epochs=0: must be"),
        ("+colour=red", "colour: no such key; known: "),
        ("+trainer.max_epoch=3", "trainer.max_epoch: no such key; did you mean max_epochs"),
    ],
)
def test_values_out_of_range(override: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        compose(override)


def test_the_configuration_holds_plain_values_only() -> None:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config", ["+experiment=mnist"])
    assert OmegaConf.to_container(config, resolve=True, throw_on_missing=True)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["early_exit=0.5", "exit_loss=0.01"],
            "simulation.early_exit=0.5 simulation.exit_loss=0.01: the second one fits the first",
        ),
        (["early_exit=1.5", "exit_by=softmax"], "simulation.early_exit=1.5: must be a number above 0 and at most 1 with"),
        (["early_exit=0.5", "exit_by=stability"], "simulation.early_exit=0.5: must be a number at least 1 with"),
        (["exit_by=margins"], "simulation.exit_by=margins: must be one of margin, softmax, stability"),
        (["exit_loss=1"], "simulation.exit_loss=1.0: must be a number at least 0 and below 1"),
    ],
)
def test_an_early_exit_that_cannot_be(overrides: list[str], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        compose(*[f"simulation.{override}" for override in overrides])
