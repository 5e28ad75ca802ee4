"""What makes two results the same: hashes of everything that a training, a simulation or a whole run depends on."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ratespike.data import DataSet
from ratespike.network import Layer
from ratespike.parameters import build, training_values
from ratespike.pipeline.optimizers import Optimizer

_PACKAGE = Path(__file__).parent.parent
_TRAINING_SOURCES = (
    *("compiled", "data", "neurons", "network.py", "parameters.py", "synapses.py"),
    *("pipeline/assembly.py", "pipeline/classifier.py", "pipeline/datamodule.py", "pipeline/optimizers.py"),
    *("pipeline/fit_stage.py", "pipeline/trainer.py"),
)
_SIMULATION_SOURCES = (*_TRAINING_SOURCES, "metrics", "simulation")
_NOT_IN_RESULT = ("tracking", "resume", "objective")  # where a result is kept, and what for, does not change it


def config_hash(plain: Mapping[str, Any]) -> str:
    """The same for two configurations that must give the same result."""
    return _hash({key: value for key, value in plain.items() if key not in _NOT_IN_RESULT})


def simulation_hash(plain: Mapping[str, Any]) -> str:
    """The same for two runs of which the longer simulation tells all about the shorter one: they differ in `n_steps` alone."""
    return _hash({"config": config_hash({**plain, "n_steps": None}), "sources": _sources(_SIMULATION_SOURCES)})


def training_hash(plain: Mapping[str, Any]) -> str:
    """The same for two runs whose trainings give the same network.

    The components tell which of their parameters matter to that. The sources of the package that a training runs through
    belong to it: a neuron whose formula was edited trains anew.
    """
    return _hash({"training": training_parts(plain), "sources": _sources(_TRAINING_SOURCES)})


def training_parts(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a configuration that changes what a training gives; raises `ParameterError` for a wrong one."""
    layers = plain["network"]["layers"]
    built = {name: build(Layer, layer, f"network.layers.{name}") for name, layer in layers.items()}  # type: ignore[type-abstract]
    values = {name: layer.training_values(plain["neuron"]) for name, layer in built.items()}
    return {
        "data": training_values(build(DataSet, plain["data"], "data")),  # type: ignore[type-abstract]
        "layers": [(name, layer) for name, layer in values.items() if layer is not None],
        "initialisation": plain["network"]["initialisation"],
        "optimizer": training_values(build(Optimizer, plain["optimizer"], "optimizer")),  # type: ignore[type-abstract]
        "trainer": plain["trainer"],
        "seed": plain["seed"],
    }


def _hash(parts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=dict).encode()).hexdigest()[:16]


def _sources(names: tuple[str, ...]) -> str:
    """A hash of files, and of all files in folders, of the package."""
    digest = hashlib.sha256()
    for name in names:
        place = _PACKAGE / name
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(path.read_bytes())
    return digest.hexdigest()
