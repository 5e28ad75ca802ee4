"""The settings of a trained network as configuration, from which `evaluate.py` starts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore

from ratespike.config.plain_settings import plain_settings
from ratespike.config.schemas import TrackingConfig
from ratespike.parameters import ParameterError, flat
from ratespike.tracking import address

OPTION = "of_run"
_MAY_CHANGE = ("batch_size", "dir")  # of the data: in an evaluation neither changes a result
_TRAINING = ("data", "network", "neuron", "optimizer", "seed", "trainer")
_HELP = ("--help", "-h", "--hydra-help", "--version")
_offered: list[dict[str, Any]] = []  # in this process, one at most


def offer_settings(arguments: Sequence[str], root: Path) -> None:
    """Make the settings of the network that `run=` or `checkpoint=` names the option `of_run` of each group.

    Raises:
        ParameterError: neither or both are named, or there is no such network.
    """
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    run, checkpoint = (_unquoted(name, given[name]) if name in given else None for name in ("run", "checkpoint"))
    if run and checkpoint:
        raise ParameterError(f"run={run} checkpoint={checkpoint}: give one of them")
    if run:
        settings = _of_run(run, given.get("tracking.uri"), root)
    elif checkpoint:
        settings = _of_checkpoint(Path(checkpoint))
    elif any(word in arguments for word in _HELP):
        settings = {}
    else:
        raise ParameterError("give run=<id or name> or checkpoint=<file>; `python train.py` trains a network")
    _offered[:] = [settings]
    store = ConfigStore.instance()
    groups = {key: value for key, value in settings.items() if isinstance(value, Mapping)}
    for group in ("data", "network", "neuron", "synapse", "simulation", "optimizer", "trainer", "tracking"):
        store.store(group=group, name=OPTION, node=dict(groups.get(group, {})))
    store.store(name=OPTION, node={key: settings[key] for key in ("seed", "n_steps", "dt") if key in settings})


def offered() -> dict[str, Any]:
    """The settings that `offer_settings` has offered to this process."""
    (settings,) = _offered
    return settings


def refuse_another_training(plain: Mapping[str, Any], trained: Mapping[str, Any]) -> None:
    """Raise `ParameterError` if a configuration differs from that of a trained network in what its training depends on."""
    from ratespike.pipeline.fingerprint import training_parts

    data = {**trained["data"], **{name: plain["data"][name] for name in _MAY_CHANGE}}
    trainer = {**plain["trainer"], "max_epochs": trained["trainer"]["max_epochs"]}
    same = {**trained, "data": data, "trainer": trainer}
    if training_parts(plain) == training_parts(same):
        return
    before = dict(flat(same))
    changed = [(key, value) for key, value in flat(plain) if key.split(".")[0] in _TRAINING and before.get(key) != value]
    words = ", ".join(f"{key}={value} (trained with {before.get(key)})" for key, value in changed)
    raise ParameterError(f"{words}: would change the training; `python train.py` trains another network")


def _unquoted(key: str, value: str) -> str:
    """A value as Hydra reads it; raises `ParameterError` where it cannot."""
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
    from ratespike.tracking import runs

    run = runs.find_run(runs.connect(uri), name)
    with run.artifact("config.yaml") as path:
        if path is None:
            raise ParameterError(f"run {run.id}: has no config.yaml; is it a run of ratespike, and no sweep's parent?")
        settings = plain_settings(_yaml(path, run.id), f"run {run.id}")
    if not run.has(runs.BEST):
        raise ParameterError(f"run={run.id}: has no checkpoint; it ended before its first epoch did, or is an evaluation")
    return {**settings, "tracking": {"experiment": run.experiment, "parent": run.id}}


def _yaml(path: Path, run_id: str) -> object:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ParameterError(f"run {run_id}: its config.yaml cannot be read ({type(error).__name__})") from None


def _of_checkpoint(path: Path) -> dict[str, Any]:
    from ratespike.pipeline.checkpoint import read_checkpoint

    settings = read_checkpoint(path).config
    experiment = settings.get("tracking", {}).get("experiment", TrackingConfig().experiment)
    return settings | {"tracking": {"experiment": experiment}}
