"""MLflow's registry: a run's model becomes a version of a named model there, and an evaluation takes it from there."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from ratespike.analysis.runs import RATE_ACCURACY, SPIKING_ACCURACY
from ratespike.config.schemas import REGISTRY
from ratespike.parameters import ParameterError, nearest
from ratespike.tracking.address import registered_model
from ratespike.tracking.models import fetch_checkpoint, model_id
from ratespike.tracking.runs import Client, Run
from ratespike.tracking.store import pages

ALIAS = "champion"  # of the version that was registered last


@dataclass(frozen=True)
class FromRegistry:
    """A model that was found in the registry.

    Attributes:
        checkpoint: a copy of its checkpoint.
        run_id: the run that it is of; None if the registry does not say.
    """

    checkpoint: Path
    run_id: str | None


def register(run: Run, name: str) -> str:
    """Give a finished run's model a version in the registry, and the alias.

    A run that has a version of this name keeps it.

    Args:
        run: has a model.
        name: in the registry.

    Returns:
        What was done, in a line.

    Raises:
        ParameterError: the run has no model of this version of ratespike, or the registry refuses the name.
    """
    own = model_id(run)
    where = f"register={name}: run {run.id}"
    if own is None:
        raise ParameterError(f"{where} has no model")
    with fetch_checkpoint(run.client, run.client.get_logged_model(own).artifact_location) as path:
        if path is None:
            raise ParameterError(f"{where} has a model of an earlier version of ratespike, without a checkpoint; train it anew")
    try:
        version = _version_of(run, name, own)
        run.client.set_registered_model_alias(name, ALIAS, version.version)
    except MlflowException as error:
        first_line = str(error).splitlines()[0][:160]
        raise ParameterError(f"{where} is finished, but the registry does not take its model ({first_line})") from None
    return f"{REGISTRY}{name}@{ALIAS} is version {version.version} now, the model of run {run.id}"


@contextmanager
def from_registry(client: Client, address: str) -> Iterator[FromRegistry]:
    """A model of the registry: its checkpoint alone, of which a copy exists for as long as the context lasts.

    Whatever else is in the model, which a stranger may have made, is neither read nor run.

    Args:
        client: of the tracking store.
        address: `models:/<name>@<alias>` or `models:/<name>/<version>`.

    Raises:
        ParameterError: no such address, model or version; or the version has no checkpoint of ratespike.
    """
    version = _find(client, address)
    location = client.get_model_version_download_uri(version.name, version.version)
    with fetch_checkpoint(client, location) as path:
        if path is None:
            raise ParameterError(f"{address}: has no checkpoint of ratespike; it is of an earlier version, or another's model")
        yield FromRegistry(path, version.run_id or None)


def _version_of(run: Run, name: str, own: str) -> ModelVersion:
    """The version that a run's model has, or a new one."""
    client = run.client
    with suppress(MlflowException):  # there may be one of this name; of any other reason the version reports below
        client.create_registered_model(name)
    for version in client.search_model_versions(f"name = '{name}'"):
        if version.run_id == run.id:
            return version
    accuracies = {metric: run.metric(metric) for metric in (SPIKING_ACCURACY, RATE_ACCURACY)}
    return client.create_model_version(
        name,
        source=f"{REGISTRY}{own}",
        run_id=run.id,
        model_id=own,
        tags={metric: str(value) for metric, value in accuracies.items() if value is not None},
        description=run.tag("mlflow.note.content"),
    )


def _find(client: Client, address: str) -> ModelVersion:
    """The version that an address names; raises `ParameterError` if there is none."""
    asked = registered_model(address)
    try:
        if asked.alias is not None:
            return client.get_model_version_by_alias(asked.name, asked.alias)
        return client.get_model_version(asked.name, str(asked.version))
    except MlflowException:
        raise ParameterError(f"{address}: not found in {client.tracking_uri}; {_hint(client, asked.name)}") from None


def _hint(client: Client, name: str) -> str:
    """What there is in place of an address that was not found."""
    registered = list(pages(client.search_registered_models))
    for model in registered:
        if model.name == name:
            versions = [f"/{version.version}" for version in client.search_model_versions(f"name = '{name}'")]
            return nearest("", [*(f"@{alias}" for alias in model.aliases), *versions])
    known = [model.name for model in registered]
    return nearest(name, known) if known else "the registry is empty"
