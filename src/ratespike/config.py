"""The configuration's schema, and the entry of every command: bad input ends in one line before anything is imported."""

import inspect
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ratespike.parameters import ParameterError, check_parameters, nearest, parameter

INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended


@dataclass
class NetworkConfig:
    """Layers by name (see `ratespike.network`) and how their weights begin."""

    layers: dict[str, Any] = field(default_factory=dict)
    initialisation: str = "pytorch"


@dataclass
class SimulationConfig:
    """How spikes are simulated (see `ratespike.simulate`)."""

    start: str = parameter("uniform", choices=("zero", "uniform", "half", "steady_phase"))
    readout: str = parameter("last", choices=("last", "mean", "mean_after_burn_in", "spike_count"))
    burn_in: float = parameter(0.01, at_least=0, unit="s")
    early_exit: float | None = parameter(None, above=0)
    engine: str = parameter("auto", choices=("auto", "event_driven", "torch"))
    seed: int = parameter(0, at_least=0)


@dataclass
class TrainerConfig:
    """How long and where to train (see `pytorch_lightning.Trainer`)."""

    max_epochs: int = parameter(5, at_least=1)
    accelerator: str = parameter("auto")
    devices: int = parameter(1, at_least=1)


@dataclass
class TrackingConfig:
    """Where MLflow keeps the runs; without `uri` in `mlflow.db` and `mlruns/` at the repository root."""

    experiment: str = parameter("ratespike")
    uri: str | None = parameter(None)
    system_metrics: bool = parameter(False)


@dataclass
class Config:
    """The whole configuration. Groups whose keys depend on their `type` are checked by the class of that name."""

    data: dict[str, Any] = field(default_factory=dict)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    neuron: dict[str, Any] = field(default_factory=dict)
    synapse: dict[str, Any] = field(default_factory=dict)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    optimizer: dict[str, Any] = field(default_factory=dict)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    seed: int = parameter(0, at_least=0)
    n_steps: int = parameter(30, at_least=1)
    dt: float = parameter(0.001, above=0, unit="s")
    resume: str | None = parameter(None)


@dataclass(frozen=True)
class Job:
    """One run as the user asked for it.

    Attributes:
        config: checked against the schema; ranges of the groups with a `type` are checked where they are built.
        plain: the same as nested dictionaries, every interpolation resolved.
        overrides: the command line's arguments.
        root: the repository root, where relative paths start.
        output_dir: this run's own folder.
    """

    config: Config
    plain: dict[str, Any]
    overrides: list[str]
    root: Path
    output_dir: Path


ConfigStore.instance().store(name="schema", node=Config)


def check(config: DictConfig) -> Config:
    """Check what the schema can check; raises `ParameterError`."""
    checked: Config = OmegaConf.to_object(config)  # type: ignore[assignment]
    _check_group(checked, config, "")
    return checked


def _check_group(group: Any, config: DictConfig, prefix: str) -> None:
    names = {item.name for item in fields(group)}
    for key in map(str, config):
        if key not in names:
            raise ParameterError(f"{prefix}{key}: no such key; {nearest(str(key), names)}")
    try:
        check_parameters(group)
    except ParameterError as error:
        raise ParameterError(f"{prefix}{error}") from None
    for name in names:
        if is_dataclass(getattr(group, name)):
            _check_group(getattr(group, name), config[name], f"{prefix}{name}.")


def command(task: Callable[[Job], None]) -> Callable[[], None]:
    """Make `task` a command with Hydra's command line; it reads `conf/` beside the file that defines it."""
    root = Path(inspect.getfile(task)).resolve().parent

    def run(config: DictConfig) -> None:
        checked = check(config)
        plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
        hydra_config = HydraConfig.get()
        task(Job(checked, plain, list(hydra_config.overrides.task), root, Path(hydra_config.runtime.output_dir)))

    def run_or_exit(config: DictConfig) -> None:
        try:
            run(config)
        except ParameterError as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise
            sys.exit(f"error: {error}")  # Hydra reports an exception with lines of its own, an exit it lets pass

    def entry() -> None:
        wants_traceback = "HYDRA_FULL_ERROR" in os.environ
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing, and the line is ours
        job = run if wants_traceback else run_or_exit
        try:
            hydra.main(version_base="1.3", config_path=str(root / "conf"), config_name="config")(job)()
        except (HydraException, OmegaConfBaseException, ParameterError) as error:
            if wants_traceback:
                raise
            sys.exit(f"error: {_explain(error, root)}")
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)

    return entry


def _explain(error: Exception, root: Path) -> str:
    """The error's message, with the nearest names where a name was not found."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error.__cause__, OmegaConfBaseException):
        lines.append(str(error.__cause__).splitlines()[0])
    text = " ".join(line for line in lines if not re.match(r"full_key|object_type|reference_type|To append|See http", line))
    option = re.search(r"Could not find '([\w/]+)/([^/']+)'", text)
    if option:
        options = [path.stem for path in (root / "conf" / option[1]).glob("*.yaml")]
        return f"{text.split(' Available options')[0]}: {nearest(option[2], options)}"
    key = re.search(r"Could not override '([^']+)'", text)
    if key:
        parent, _, name = key[1].rpartition(".")
        return f"{text}: {nearest(name, _keys(root, parent))}"
    return text


def _keys(root: Path, parent: str) -> list[str]:
    """The keys that the default configuration has under `parent`, or at the top where it has no such group."""
    with hydra.initialize_config_dir(str(root / "conf"), version_base="1.3"):
        config = hydra.compose("config")
    group = OmegaConf.select(config, parent) if parent else config
    return [str(key) for key in (group if isinstance(group, DictConfig) else config)]
