"""What a stranger's checkpoint or run says is data: nothing in it is composed, imported or resolved."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from program import run_here

import ratespike
from ratespike.config.plain_settings import plain_settings
from ratespike.parameters import ParameterError
from ratespike.tracking.store import connect, open_run

LAYERS = {"dense": {"type": "Dense", "units": 10}, "neuron": {"type": "Neurons"}}
GOOD = {
    "data": {"type": "MNIST", "dir": "data/mnist", "validation_images": 20, "train_images": 40, "test_images": 20},
    "network": {"layers": LAYERS, "initialisation": "pytorch"},
    "neuron": {"type": "LIF"},
    "synapse": {"type": "LowPass", "tau": 0.1},
    "simulation": {"start": "uniform", "seed": 0},
    "optimizer": {"type": "AdamW", "lr": 0.001},
    "trainer": {"max_epochs": 1},
    "tracking": {"experiment": "strangers"},
    "seed": 0,
    "n_steps": 2,
    "dt": 0.001,
}


def with_callback(folder: Path) -> dict[str, Any]:
    """Settings that made Hydra create a file: a `defaults` list puts the group `data` among Hydra's callbacks."""
    planted = {
        "_target_": "pathlib.Path.write_text",
        "_args_": [{"_target_": "pathlib.Path", "_args_": [str(folder / "ran")]}, ""],
    }
    defaults = [{"/data@_global_.hydra.callbacks.planted": "of_run"}]
    return {**GOOD, "data": planted, "neuron": {"type": "LIF", "defaults": defaults}}


def changed(path: str, value: object) -> dict[str, Any]:
    """The good settings with one value changed or added."""
    settings: dict[str, Any] = copy.deepcopy(GOOD)
    *groups, name = path.split(".")
    group = settings
    for key in groups:
        group = group[key]
    group[name] = value
    return settings


BAD = {
    "a target": (changed("neuron._target_", "os.system"), "neuron holds the key '_target_'"),
    "a target deep below": (changed("network.layers.dense.x", [{"y": {"_target_": "os.system"}}]), "holds the key '_target_'"),
    "a defaults list": (changed("synapse.defaults", ["of_run"]), "synapse holds the key 'defaults'"),
    "a package": (changed("data", {"type@_global_": "MNIST"}), "data holds the key 'type@_global_'"),
    "an interpolation": (changed("tracking.experiment", "${oc.env:HOME}"), "tracking.experiment is '${oc.env:HOME}'"),
    "a missing value": (changed("seed", "???"), "seed is '???'"),
    "settings of Hydra": (changed("hydra", {"callbacks": {}}), "hydra: no such key"),
    "an unknown key": (changed("simulation.sed", 1), "simulation.sed: no such key; did you mean seed"),
    "an object": (changed("neuron.tau_rc", torch.zeros(2)), "neuron.tau_rc is a Tensor"),
    "a value for a group": (changed("trainer", 3), "trainer is 3, not keys and values"),
    "a layer that is none": (changed("network.layers.dense", None), "network.layers.dense is None"),
    "nothing": (None, "they are None, not keys and values"),
    "too much": (changed("neuron.x", [0] * 10_001), "holds more than 10000 values"),
    "a number too large": (changed("seed", 10**30), "seed is a whole number of more than 64 bits"),
    "a value out of range": (changed("n_steps", 1e12), "n_steps=1000000000000.0: must be a whole number"),
}


def checkpoint(path: Path, config: object) -> Path:
    state = {"network.dense.linear.weight": torch.zeros(10, 784), "network.dense.linear.bias": torch.zeros(10)}
    torch.save({"ratespike": {"config": config, "image_shape": [1, 28, 28], "classes": 10}, "state_dict": state}, path)
    return path


def refused(folder: Path, message: str, *arguments: str) -> None:
    code, _, error = run_here(folder, *arguments, program="evaluate.py")
    assert code == 1 and error.count("\n") == 1 and message in error, error


@pytest.mark.parametrize("name", BAD)
def test_settings_that_are_not_plain_are_refused(name: str) -> None:
    settings, message = BAD[name]
    with pytest.raises(ParameterError) as error:
        plain_settings(settings, "a.ckpt")
    assert message in str(error.value) and str(error.value).startswith("a.ckpt: ")


def test_plain_settings_come_back_as_they_are() -> None:
    plain = plain_settings(GOOD, "a.ckpt")
    for name, value in GOOD.items():
        if isinstance(value, dict):
            assert plain[name].items() >= value.items(), name
        else:
            assert plain[name] == value, name


def test_a_strangers_checkpoint_runs_no_code(tmp_path: Path, checkout: Path) -> None:
    path = checkpoint(tmp_path / "best.ckpt", with_callback(tmp_path))
    for arguments in ((f"checkpoint={path}",), ("-m", f"checkpoint={path}", "n_steps=1,2")):
        refused(checkout, "data holds the key '_target_'", *arguments)
    with pytest.raises(ParameterError, match="data holds the key '_target_'"):
        ratespike.load(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["a defaults list", "an interpolation", "settings of Hydra", "nothing"])
def test_evaluate_and_load_refuse_a_checkpoint(tmp_path: Path, checkout: Path, name: str) -> None:
    settings, message = BAD[name]
    path = checkpoint(tmp_path / "best.ckpt", settings)
    refused(checkout, message, f"checkpoint={path}")
    with pytest.raises(ParameterError) as error:
        ratespike.load(path)
    assert message in str(error.value)


@pytest.mark.slow
def test_a_strangers_run_runs_no_code(tmp_path: Path, checkout: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    run = open_run(connect(uri), "strangers", "a run", {})
    run.file(checkpoint(tmp_path / "best.ckpt", GOOD), "checkpoints")
    texts = {
        "neuron: {defaults: [/data@_global_.hydra.callbacks.x: of_run]}": "neuron holds the key 'defaults'",
        "data: {_target_: os.abort}": "data holds the key '_target_'",
        "seed: !!python/object/apply:os.abort []": "its config.yaml cannot be read",
        "neuron: {type: *a}": "its config.yaml cannot be read",
        "seed: 2001-13-45": "its config.yaml cannot be read",
        "neuron: &a\n  type: *a": "nested more than",
        "tracking: {experiment: '${oc.env:HOME}'}": "tracking.experiment is '${oc.env:HOME}'",
    }
    for text, message in texts.items():
        run.text("config.yaml", text)
        for multirun in ((), ("-m", "n_steps=1,2")):
            refused(checkout, message, *multirun, f"run={run.id}", f"tracking.uri={uri}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state_dict": {"network.dense.linear.weight": torch.zeros(30)}}, "its weights do not fit the network"),
        ({"state_dict": []}, "not a checkpoint of ratespike"),
        ({"ratespike": None}, "not a checkpoint of ratespike"),
        ({"ratespike": {"config": GOOD, "image_shape": [1, -28, 28], "classes": 10}}, "must be whole numbers above 0"),
        (
            {"ratespike": {"config": changed("network.layers.dense.units", 10**12), "image_shape": [1, 28, 28], "classes": 10}},
            "network.layers: the output has shape (1000000000000,), but the data have 10 classes",
        ),
        ({"ratespike": {"config": changed("neuron.type", [1]), "image_shape": [1, 28, 28], "classes": 10}}, "neuron.type=[1]"),
        (
            {
                "ratespike": {
                    "config": changed("network.layers.forward", {"type": "Neurons"}),
                    "image_shape": [1, 28, 28],
                    "classes": 10,
                }
            },
            "is no attribute of",
        ),
        (
            {"ratespike": {"config": {"seed": 0}, "image_shape": [1, 28, 28], "classes": 10}},
            "network.layers: the output has shape (1, 28, 28)",
        ),
    ],
)
def test_a_damaged_checkpoint_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = checkpoint(tmp_path / "best.ckpt", GOOD)
    torch.save({**torch.load(path, weights_only=True), **change}, path)
    with pytest.raises(ParameterError) as error:
        ratespike.load(path)
    assert message in str(error.value) and str(path) in str(error.value)
