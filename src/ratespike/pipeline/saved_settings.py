"""The settings of a trained network as configuration, from which `evaluate.py` starts."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from hydra.core.config_store import ConfigStore

from ratespike.config.invocation import started_by
from ratespike.config.plain_settings import plain_settings
from ratespike.config.relevance import FREE_IN_EVALUATION, TRAINING_GROUPS
from ratespike.config.schemas import REGISTRY, EvaluateConfig, TrackingConfig, is_registered
from ratespike.parameters import ParameterError, flat
from ratespike.tracking import address

if TYPE_CHECKING:
    from ratespike.pipeline.checkpoint import Checkpoint

OPTION = "of_run"
_GROUPS = (
    *("data", "augmentation", "network", "neuron", "synapse", "simulation", "conversion", "forward", "loss"),
    *("rate_control", "optimizer", "trainer", "tracking"),
)
_HELP = ("--help", "-h", "--hydra-help", "--version")


def offer_settings(arguments: Sequence[str], root: Path) -> dict[str, Any]:
    """Make the settings of the network that `run=`, `checkpoint=` or `model=` names the option `of_run` of each group.

    Args:
        arguments: the command line's.
        root: the repository root.

    Returns:
        The settings; empty where only help is asked for.

    Raises:
        ParameterError: none or several are named, or there is no such network.
    """
    settings = _named_settings(arguments, root)
    if settings.get("model") is not None and not any(argument.startswith("model=") for argument in arguments):
        model = settings["model"]
        raise ParameterError(f"that network is a conversion of {model}; add model=<file.py>:<name>, whose code is then run")
    store = ConfigStore.instance()
    for group in _GROUPS:
        store.store(group=group, name=OPTION, node=dict(settings.get(group, {})))
    scalars = {key: settings[key] for key in ("seed", "n_steps", "dt") if key in settings}
    store.store(name=OPTION, node=scalars)
    return settings


def trained_network(config: EvaluateConfig, plain: Mapping[str, Any], root: Path) -> "Checkpoint":
    """The trained network that `run=`, `checkpoint=` or `model=` names.

    Args:
        config: names the network.
        plain: the same as nested dictionaries.
        root: the repository root.

    Raises:
        ParameterError: the settings would have changed its training.
    """
    from ratespike.pipeline.checkpoint import checkpoint_of_model, checkpoint_of_run, read_checkpoint

    if config.checkpoint is not None:
        trained = read_checkpoint(Path(config.checkpoint))
    elif is_registered(config.model):
        _, trained = checkpoint_of_model(str(config.model), config.tracking.uri, root)
    else:
        _, trained = checkpoint_of_run(str(config.run), config.tracking.uri, root)
    refuse_another_training(plain, trained.config)
    return trained


def refuse_another_training(plain: Mapping[str, Any], trained: Mapping[str, Any]) -> None:
    """Raise `ParameterError` if a configuration differs from that of a trained network in what its training depends on."""
    from ratespike.pipeline.fingerprint import training_parts

    as_trained = _with_values_of(trained, plain, FREE_IN_EVALUATION)
    for beginning in ("start_from", "stages"):  # an evaluation has the weights, wherever their training began
        as_trained.pop(beginning, None)
    parts = training_parts(plain)
    if parts == training_parts(as_trained):
        return
    before = dict(flat(as_trained))
    changes = []
    for key, value in flat(plain):
        if key.split(".")[0] in {*TRAINING_GROUPS, *parts} and before.get(key) != value:
            changes.append(f"{key}={value} (trained with {before.get(key)})")
    raise ParameterError(f"{', '.join(changes)}: would change the training; `{started_by('train')}` trains another network")


def _with_values_of(settings: Mapping[str, Any], other: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """`settings` with the values that `other` has for keys such as `data.dir`."""
    changed = dict(settings)
    for key in keys:
        group, _, name = key.partition(".")
        if name in other[group]:
            changed[group] = {**changed[group], name: other[group][name]}
    return changed


def _named_settings(arguments: Sequence[str], root: Path) -> dict[str, Any]:
    """The settings of the network that the arguments name."""
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    run = _unquoted("run", given.get("run"))
    checkpoint = _unquoted("checkpoint", given.get("checkpoint"))
    model = _unquoted("model", given.get("model"))
    registered = model if is_registered(model) else None
    sources = {"run": run, "checkpoint": checkpoint, "model": registered}
    named = [f"{key}={source}" for key, source in sources.items() if source]
    if len(named) > 1:
        raise ParameterError(f"{' '.join(named)}: give one of them")
    uri = given.get("tracking.uri")
    if run:
        return _of_run(run, uri, root)
    if checkpoint:
        return _of_checkpoint(Path(checkpoint))
    if registered:
        return _of_model(registered, uri, root)
    if any(word in arguments for word in _HELP):
        return {}
    raise ParameterError(
        f"give run=<id or name>, checkpoint=<file> or model={REGISTRY}<name>@<alias>; `{started_by('train')}` trains a network"
    )


def _unquoted(key: str, value: str | None) -> str | None:
    """A value as Hydra reads it; raises `ParameterError` where it cannot."""
    if value is None:
        return None
    if value[:1] in "'\"" and value[-1:] == value[:1] and len(value) > 1:
        return value[1:-1]
    if "=" in value:
        raise ParameterError(f"{key}={value}: Hydra wants quotes around what has a = in it; give it as \"{key}='{value}'\"")
    return value


def _of_run(name: str, uri: str | None, root: Path) -> dict[str, Any]:
    if "," in name:
        raise ParameterError(f"run={name}: one at a time; the other settings may be swept")
    uri = address.resolve(uri, root)
    address.check(uri, exists=True)
    from ratespike.tracking import runs, store
    from ratespike.tracking.bring_in import bring_in_all

    client = store.connect(uri)
    bring_in_all(client, root)  # of this run, perhaps
    run = store.find_run(client, name)
    with run.artifact("config.yaml") as path:
        if path is None:
            raise ParameterError(f"run {run.id}: has no config.yaml; is it a run of ratespike, and no sweep's parent?")
        settings = plain_settings(_yaml(path, run.id), f"run {run.id}")
    if not run.has(runs.BEST):
        raise ParameterError(f"run={run.id}: has no checkpoint; it ended before its first epoch did, or is an evaluation")
    where = {"experiment": run.experiment, "parent": run.id}  # names that the store gives are data too
    return plain_settings({**settings, "tracking": where}, f"run {run.id}")


def _of_model(model: str, uri: str | None, root: Path) -> dict[str, Any]:
    """The settings of a model in the registry; evaluations are below the run that it is of, if that is there."""
    from ratespike.pipeline.checkpoint import checkpoint_of_model

    run_id, trained = checkpoint_of_model(model, uri, root)
    where = _tracking_of(trained.config)
    if run_id is not None:
        from ratespike.tracking import store

        with suppress(ParameterError):
            run = store.find_run(store.connect(address.resolve(uri, root)), run_id)
            where = {"experiment": run.experiment, "parent": run.id}
    return plain_settings({**trained.config, "tracking": where}, model)


def _yaml(path: Path, run_id: str) -> object:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except Exception as error:  # PyYAML raises what its constructors do, on a date that is none for instance
        raise ParameterError(f"run {run_id}: its config.yaml cannot be read ({type(error).__name__})") from None


def _of_checkpoint(path: Path) -> dict[str, Any]:
    from ratespike.pipeline.checkpoint import read_checkpoint

    settings = read_checkpoint(path).config
    return settings | {"tracking": _tracking_of(settings)}


def _tracking_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Where evaluations of a network are kept whose run is not known: in the experiment of its training."""
    return {"experiment": settings.get("tracking", {}).get("experiment", TrackingConfig().experiment)}
