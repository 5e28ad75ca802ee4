"""What makes two results the same: hashes of everything that a training, a simulation or a whole run depends on."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ratespike import plugins
from ratespike.config.relevance import TRAINING_GROUPS, affects_result
from ratespike.config.schemas import TrainerConfig, is_registered
from ratespike.config.stages import stages_of
from ratespike.conversion.methods import AsTrained, Conversion
from ratespike.conversion.plain_model import sources_of
from ratespike.data import Augmentation, DataSet
from ratespike.network import Layer, layers_training_values
from ratespike.neurons import Neuron
from ratespike.parameters import ParameterError, build, kind, training_values
from ratespike.pipeline.forwards import Forward, Rates
from ratespike.pipeline.losses import CrossEntropy, Loss
from ratespike.pipeline.optimizers import Optimizer
from ratespike.pipeline.rate_control import NoControl, RateControl
from ratespike.synapses import Synapse

_PACKAGE = Path(__file__).parent.parent
_TRAINING_SOURCES = (
    *(
        "available_memory.py",
        "checked_files.py",
        "compiled",
        "data",
        "neurons",
        "network.py",
        "parameters.py",
        "plugins.py",
        "random.py",
        "stateful.py",
        "synapses.py",
    ),
    *("pipeline/assembly.py", "pipeline/classifier.py", "pipeline/datamodule.py", "pipeline/finite_loss.py"),
    *(
        "pipeline/forwards.py",
        "pipeline/losses.py",
        "pipeline/optimizers.py",
        "pipeline/rate_control.py",
        "pipeline/start_from.py",
    ),
    *("conversion/rescaling.py", "conversion/row.py"),
    *("pipeline/checkpoint.py", "pipeline/epoch_callbacks.py", "pipeline/fit_stage.py", "pipeline/trainer.py"),
)
_SIMULATION_SOURCES = (
    *(*_TRAINING_SOURCES, "conversion", "metrics", "pipeline/simulator.py", "pipeline/test_stage.py", "simulation"),
)

_OFF: Mapping[str, tuple[Any, object]] = {  # by group, its base class and what earlier versions did without it
    "loss": (Loss, CrossEntropy()),
    "rate_control": (RateControl, NoControl()),
    "conversion": (Conversion, AsTrained()),
    "forward": (Forward, Rates()),
}

_BASES: Mapping[str, type] = {  # of the classes that a group names by `type`
    "data": DataSet,
    "augmentation": Augmentation,
    "neuron": Neuron,
    "synapse": Synapse,
    "conversion": Conversion,
    "forward": Forward,
    "loss": Loss,
    "rate_control": RateControl,
    "optimizer": Optimizer,
}


def data_content(plain: Mapping[str, Any], root: Path) -> str:
    """A hash of the data set's files, for the functions below; empty for files that are always the same, or missing.

    Args:
        plain: a configuration.
        root: where relative paths start.
    """
    try:
        return build(DataSet, plain["data"], "data").content(root)  # type: ignore[type-abstract]
    except ParameterError:  # loading the data reports it
        return ""


def config_hash(plain: Mapping[str, Any], content: str) -> str:
    """A hash that is equal for two configurations that must give the same result.

    The sources of a plugin belong to it where the configuration names a class of that plugin: after an edit, no run that was
    made before it stands for the configuration.

    Args:
        plain: the configuration.
        content: of its data (see `data_content`).
    """
    affecting = {key: value for key, value in plain.items() if affects_result(key) and not _is_unused(key, value)}
    affecting["simulation"] = _with_used_exit(plain["simulation"])
    if "stages" in affecting:
        affecting["stages"] = list(affecting["stages"].items())  # their order counts
    return _hash(_with_plugins(_with_content(affecting, content), plain))


def simulation_hash(plain: Mapping[str, Any], content: str) -> str:
    """A hash that is equal for two runs of which the longer simulation holds the shorter one (see `holds_shorter_ones`)."""
    same = {**plain, "n_steps": None} if holds_shorter_ones(plain) else plain
    return _hash({"config": config_hash(same, content), "sources": _sources(_SIMULATION_SOURCES)})


def holds_shorter_ones(plain: Mapping[str, Any]) -> bool:
    """Whether a run's simulation holds that of a run which differs in `n_steps` alone.

    Not where the images change over time: the other run has been trained on the mean over its own steps. Nor where the
    threshold of an early exit is fitted, to the accuracy after the last step.
    """
    is_fitted = plain["simulation"].get("exit_loss") is not None
    return not is_fitted and "n_steps" not in training_parts(plain)


def training_hash(plain: Mapping[str, Any], content: str) -> str:
    """A hash that is equal for two runs whose trainings give the same network.

    Each parameter says whether a training depends on it. The sources that a training runs through belong to the hash: a neuron
    whose formula was edited trains anew.
    """
    training = training_parts(plain)
    sources = (*_TRAINING_SOURCES, "simulation") if _runs_through_simulation(plain) else _TRAINING_SOURCES
    parts: dict[str, Any] = {"training": training, "sources": _sources(sources)}
    if plain.get("model") is not None and not is_registered(plain["model"]):
        parts["neuron"] = plain["neuron"]
        parts["conversion"] = _sources(("conversion",))
        file = Path(str(plain["model"]).rpartition(":")[0])
        parts["model"] = [str(plain["model"]), *[_content(path) for path in sources_of(file)]]
        parts["weights"] = _content(Path(str(plain.get("checkpoint"))))
    groups = {key: value for key, value in plain.items() if key in TRAINING_GROUPS}
    return _hash(_with_plugins(_with_content(parts, content), groups))


def _with_plugins(parts: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What is hashed, with the sources of the plugins that some settings name classes of, if they do."""
    sources = plugins.sources_of(classes_of(settings))
    return {**parts, "plugins": sources} if sources else dict(parts)


def classes_of(settings: Mapping[str, Any]) -> Iterator[type]:
    """The classes that settings name by `type`, those of layers and of stages too; `ParameterError` for an unknown one."""
    for key, value in settings.items():
        if not isinstance(value, Mapping):
            continue
        if key == "layers":
            for name, layer in value.items():  # a layer may be called `neuron`
                yield kind(Layer, layer.get("type"), f"network.layers.{name}")  # type: ignore[type-abstract]
                yield from classes_of(layer)
            continue
        if key in _BASES and "type" in value:
            yield kind(_BASES[key], value["type"], key)
        yield from classes_of(value)


def _with_content(parts: Mapping[str, Any], content: str) -> dict[str, Any]:
    """What is hashed, with the content of the data where that may change."""
    return {**parts, "content": content} if content else dict(parts)


def training_parts(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a configuration that changes what a training gives; raises `ParameterError` for a wrong one."""
    data = build(DataSet, plain["data"], "data")  # type: ignore[type-abstract]
    parts: dict[str, Any] = {
        "data": training_values(data),
        "augmentation": training_values(build(Augmentation, plain["augmentation"], "augmentation")),
        "layers": layers_training_values(plain["network"]["layers"], plain["neuron"], "network.layers"),
        "initialisation": plain["network"]["initialisation"],
        "forward": training_values(_forward(plain)),
        "loss": training_values(build(Loss, plain["loss"], "loss")),  # type: ignore[type-abstract]
        "rate_control": training_values(_rate_control(plain)),
        "optimizer": training_values(build(Optimizer, plain["optimizer"], "optimizer")),  # type: ignore[type-abstract]
        "trainer": asdict(TrainerConfig(**plain["trainer"])),
        "seed": plain["seed"],
    }
    if data.changes_over_time:
        parts |= {"n_steps": plain["n_steps"], "dt": plain["dt"]}
    if _forward(plain).depends_on_dt or _rate_control(plain).in_steps:
        parts["dt"] = plain["dt"]
    stages = stages_of(plain)
    if stages:
        parts["stages"] = [training_parts({**settings, "stages": {}}) for _, settings in stages]
    if plain.get("start_from") is not None:
        parts["start_from"] = _content(Path(str(plain["start_from"])))
    return parts


def _runs_through_simulation(plain: Mapping[str, Any]) -> bool:
    """Whether a training, or a stage before it, simulates its images or counts what their spikes cost."""
    trainings = [plain, *(settings for _, settings in stages_of(plain))]
    return any(_forward(training).spikes or _rate_control(training).in_steps for training in trainings)


def _forward(plain: Mapping[str, Any]) -> Forward:
    return build(Forward, plain["forward"], "forward")  # type: ignore[type-abstract]


def _rate_control(plain: Mapping[str, Any]) -> RateControl:
    return build(RateControl, plain["rate_control"], "rate_control")  # type: ignore[type-abstract]


def _hash(parts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=dict).encode()).hexdigest()[:16]


def _is_unused(key: str, value: object) -> bool:
    """Whether a key says nothing: earlier versions did not have it, and their hashes stay."""
    if key == "augmentation" and isinstance(value, Mapping):
        return build(Augmentation, value, key).is_off
    if key in _OFF and isinstance(value, Mapping):
        base, off = _OFF[key]
        return bool(build(base, value, key) == off)
    return key in ("model", "checkpoint", "start_from", "stages") and not value


def _with_used_exit(simulation: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a simulation without those of an early exit that say nothing: earlier versions did not have them."""
    used = dict(simulation)
    if used.get("exit_loss") is None:
        used.pop("exit_loss", None)
    has_exit = used.get("early_exit") is not None or "exit_loss" in used
    if not has_exit or used.get("exit_by") == "margin":
        used.pop("exit_by", None)
    return used


def _content(path: Path) -> str:
    """A hash of a file; of one that is gone, its name."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(path)


def _sources(names: tuple[str, ...]) -> str:
    """A hash of files of the package, and of all files in its folders; a name that is not there raises `FileNotFoundError`."""
    digest = hashlib.sha256()
    for name in names:
        place = _PACKAGE / name
        files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
        for path in files:
            digest.update(path.read_bytes())
    return digest.hexdigest()
