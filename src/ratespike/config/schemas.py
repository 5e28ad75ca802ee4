"""The schemas of the commands' configurations. Ranges of the groups with a `type` belong to the objects themselves."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from ratespike.config.source import check_declared, constant
from ratespike.config.stages import stages_of
from ratespike.parameters import ParameterError, Range, check_parameters, nearest, parameter

STRATEGIES = ("auto", "ddp_spawn")
REGISTRY = "models:/"  # how the addresses of models in MLflow's registry begin
_REGISTERED_NAME = re.compile(r"\w(?:[\w .-]*\w)?")
_LONGEST_EXPERIMENT = 200  # bytes; a folder's name has 255
EXPORT_FORMATS = ("nir", "onnx", "torch_export", "safetensors")
_EXITS = constant("simulation/early_exit.py", "CRITERIA")
_RANGES = constant("simulation/checks.py", "RANGES")


@dataclass
class NetworkConfig:
    """Layers by name (see `ratespike.network`) and how their weights begin."""

    layers: dict[str, Any] = field(default_factory=dict)
    initialisation: str = parameter("pytorch", choices=constant("network.py", "INITIALISATIONS"))


@dataclass
class SimulationConfig:
    """How spikes are simulated (see `ratespike.simulate`)."""

    start: str = parameter("uniform", choices=constant("simulation/start.py", "STARTS"))
    readout: str = parameter("last", choices=constant("simulation/readout.py", "READOUTS"))
    burn_in: float = parameter(0.01, **_RANGES["burn_in"])
    early_exit: float | None = parameter(None, above=0)
    exit_by: str = parameter("margin", choices=tuple(_EXITS))
    exit_loss: float | None = parameter(None, at_least=0, below=1)
    engine: str = parameter("auto", choices=constant("simulation/__init__.py", "ENGINES"))
    seed: int = parameter(0, **_RANGES["seed"])


@dataclass
class TrainerConfig:
    """How long and where to train (see `pytorch_lightning.Trainer`)."""

    max_epochs: int = parameter(5, at_least=1)
    accelerator: str = parameter("auto", choices=("auto", "cpu", "gpu"))
    devices: int = parameter(1, at_least=1)
    strategy: str = parameter("auto")
    precision: str = parameter("32-true", choices=("32-true", "bf16-mixed"))


@dataclass
class TrackingConfig:
    """Where MLflow keeps the runs; without `uri` in `mlflow.db` and `mlruns/` below a job's `root`.

    `parent` is the id of the run that this one is shown below; a sweep sets it.
    """

    experiment: str = parameter("ratespike")
    uri: str | None = parameter(None)
    parent: str | None = parameter(None)
    system_metrics: bool = parameter(False)


@dataclass
class RunConfig:
    """What every run is made of. Groups whose keys depend on their `type` are checked by the class of that name.

    `model`, as `<file.py>:<name>`, is a plain network to convert, in place of the layers of `network`. With `diagnosis` the run
    is diagnosed behind its test (see `ratespike.diagnosis`).
    """

    data: dict[str, Any] = field(default_factory=dict)
    augmentation: dict[str, Any] = field(default_factory=lambda: {"type": "Augmentation"})  # older runs had none
    network: NetworkConfig = field(default_factory=NetworkConfig)
    neuron: dict[str, Any] = field(default_factory=dict)
    synapse: dict[str, Any] = field(default_factory=dict)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    conversion: dict[str, Any] = field(default_factory=lambda: {"type": "AsTrained"})  # older runs had none
    forward: dict[str, Any] = field(default_factory=lambda: {"type": "Rates"})  # older runs had none
    loss: dict[str, Any] = field(default_factory=lambda: {"type": "CrossEntropy"})  # older runs had none
    rate_control: dict[str, Any] = field(default_factory=lambda: {"type": "NoControl"})  # older runs had none
    optimizer: dict[str, Any] = field(default_factory=dict)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    seed: int = parameter(0, at_least=0)
    n_steps: int = parameter(30, **_RANGES["n_steps"])
    dt: float = parameter(0.001, **_RANGES["dt"])
    model: str | None = parameter(None)
    diagnosis: bool = parameter(False)


@dataclass
class Config(RunConfig):
    """A training; `resume` is the id of an interrupted run to go on with, `objective` what a search is after.

    With `model`, whose trained weights `checkpoint` holds, a conversion. With `start_from`, the id of a run or a checkpoint
    file, the training begins from these weights. `stages` are trainings in front of it (see `ratespike.config.stages`).
    `register` is the name by which MLflow's registry has the model, of a sweep that of its best run.
    """

    checkpoint: str | None = parameter(None)
    start_from: str | None = parameter(None)
    stages: dict[str, Any] | None = field(default_factory=dict)
    objective: Any = None
    resume: str | None = parameter(None)
    register: str | None = parameter(None)


@dataclass
class EvaluateConfig(RunConfig):
    """Another simulation of a trained network: that of a run, by id or name, in a checkpoint file, or in MLflow's registry.

    `model` is an address in the registry (`models:/<name>@<alias>`), or as in a training.
    """

    run: str | None = parameter(None)
    checkpoint: str | None = parameter(None)

    @property
    def source(self) -> str:
        """What names the trained network, as the user gave it."""
        return str(self.run or self.checkpoint or self.model)


@dataclass
class PredictConfig(EvaluateConfig):
    """Answers of a trained network to picture files, which may be given as a list, as a folder or as one file."""

    images: Any = None
    folder: str = parameter("outputs/predictions")


@dataclass
class ExportConfig(EvaluateConfig):
    """A trained network in a format of other programs; `lossy` allows what NIR cannot say to be replaced."""

    to: str | None = parameter(None, choices=EXPORT_FORMATS)
    folder: str = parameter("outputs/export")
    lossy: bool = parameter(False)


@dataclass
class DiagnoseConfig(EvaluateConfig):
    """Why a trained network loses accuracy on spikes; `images` is how many of its validation images are looked at."""

    images: int = parameter(1000, at_least=20)
    folder: str = parameter("outputs/diagnosis")


@dataclass
class StoreConfig:
    """Where finished runs are looked for; without `uri` where a training keeps them."""

    uri: str | None = parameter(None)


@dataclass
class CompareConfig:
    """Which finished runs to compare, and how. Lists of one name may be given as the name."""

    experiments: Any = None
    sweeps: Any = None
    where: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, Any] = field(default_factory=dict)
    steps: list[int] = field(default_factory=list)
    heat_map: list[str] | None = None
    paired: Any = None
    device: str = parameter("loihi")
    rows: int = parameter(40, at_least=1)
    folder: str = parameter("outputs/comparison")
    tracking: StoreConfig = field(default_factory=StoreConfig)


_training = OmegaConf.structured(Config)
OmegaConf.set_struct(_training.stages, False)
ConfigStore.instance().store(name="schema", node=_training)
ConfigStore.instance().store(name="evaluate_schema", node=EvaluateConfig)
ConfigStore.instance().store(name="predict_schema", node=PredictConfig)
ConfigStore.instance().store(name="export_schema", node=ExportConfig)
ConfigStore.instance().store(name="diagnose_schema", node=DiagnoseConfig)
_compare = OmegaConf.structured(CompareConfig)
for _free in (_compare.where, _compare.tags):
    OmegaConf.set_struct(_free, False)
ConfigStore.instance().store(name="compare_schema", node=_compare)


def is_registered(model: object) -> bool:
    """Whether the key `model` holds an address in MLflow's registry, and not a plain network in a file.

    Example:
        >>> is_registered("models:/mnist@champion"), is_registered("nets.py:Net"), is_registered(None)
        (True, False, False)
    """
    return str(model).startswith(REGISTRY)


def check(config: DictConfig) -> Any:
    """The configuration as an object of its schema, checked as far as that can; raises `ParameterError`."""
    checked = OmegaConf.to_object(config)
    _check_group(checked, config, "")
    if isinstance(checked, RunConfig):
        _check_strategy(checked.trainer.strategy)
        _check_exit(checked.simulation)
        _check_experiment(checked.tracking.experiment)
        check_declared(asdict(checked))
    if isinstance(checked, Config):
        _check_stages(config)
        _check_registered(checked)
    return checked


def training_config(plain: Mapping[str, Any]) -> Config:
    """The configuration of a training from nested dictionaries; raises `ParameterError` for a wrong one."""
    config = OmegaConf.merge(OmegaConf.structured(Config), plain)
    assert isinstance(config, DictConfig)
    checked = check(config)
    assert isinstance(checked, Config)
    return checked


def _check_stages(config: DictConfig) -> None:
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    for name, settings in stages_of(plain):
        try:
            training_config({**settings, "stages": {}})
        except ParameterError as error:
            raise ParameterError(f"stages.{name}: {error}") from None


def _check_registered(config: Config) -> None:
    """Raise `ParameterError` for a name that the registry cannot have, or a model of it where a training wants a file."""
    if config.register is not None and not _REGISTERED_NAME.fullmatch(config.register):
        raise ParameterError(f"register={config.register}: must be a name of letters, digits, spaces, _, . and -")
    if is_registered(config.model):
        raise ParameterError(
            f"model={config.model}: evaluate, predict and export take one from the registry; a training wants <file.py>:<name>"
        )


def _check_strategy(strategy: str) -> None:
    if strategy == "ddp":  # Hydra's issue 2070
        reason = "starts the whole program again for each device, which makes a run of each, and of a sweep a sweep of each"
        raise ParameterError(f"trainer.strategy=ddp: {reason}; leave it out, or take ddp_spawn")
    if strategy not in STRATEGIES:
        raise ParameterError(f"trainer.strategy={strategy}: must be one of {', '.join(STRATEGIES)}")


def _check_experiment(name: str) -> None:
    """Raise `ParameterError` for a name that a folder of artifacts cannot have, or that leads out of the others' folder."""
    is_folder = name.isprintable() and not set(name) & set("/\\") and name.strip(". ")
    if not is_folder or len(name.encode()) > _LONGEST_EXPERIMENT:
        allowed = f"a word of at most {_LONGEST_EXPERIMENT} bytes without slashes and line ends, which names a folder"
        raise ParameterError(f"tracking.experiment={name[:60]}: must be {allowed}")


def _check_exit(simulation: SimulationConfig) -> None:
    """Raise `ParameterError` for a threshold that its criterion does not allow, or one that is given and to be fitted too."""
    given = simulation.early_exit
    if given is None:
        return
    if simulation.exit_loss is not None:
        both = f"simulation.early_exit={given} simulation.exit_loss={simulation.exit_loss}"
        raise ParameterError(f"{both}: the second one fits the first; give one of them, and null for the other")
    allowed = Range(**_EXITS[simulation.exit_by])
    if not allowed.allows(given):
        words = allowed.describe("a number", given)
        raise ParameterError(f"simulation.early_exit={given}: must be {words} with simulation.exit_by={simulation.exit_by}")


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
