"""The place where MLflow keeps runs, an SQLite file, another database or a server: connecting to it, new runs, finding runs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from ratespike.parameters import ParameterError
from ratespike.tracking import database
from ratespike.tracking.address import database_file
from ratespike.tracking.runs import Entity, Run, first_line


def connect(uri: str) -> MlflowClient:
    """Point MLflow to a tracking server or database, which is created or migrated if need be.

    Raises:
        ParameterError: it cannot be used.
    """
    mlflow.set_tracking_uri(uri)
    path = database_file(uri)
    try:
        if path is None:
            client = MlflowClient()
            client.search_experiments(max_results=1)  # the first use creates or migrates a database
        else:
            client = database.opened(path)
    except ParameterError as error:
        raise ParameterError(f"tracking.uri={uri}: {error}") from None
    except Exception as error:
        raise ParameterError(f"tracking.uri={uri}: cannot be used ({first_line(error)})") from None
    return client


@contextmanager
def refusals_in_one_line(client: MlflowClient) -> Iterator[None]:
    """Inside, what a store refuses or does not answer becomes a `ParameterError`: a person can do something about it."""
    try:
        yield
    except MlflowException as error:
        raise ParameterError(f"{client.tracking_uri}: {first_line(error)}") from None


def import_databases() -> None:
    """Import now what MLflow imports when it first uses a database, which takes a second or two."""
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def open_run(client: MlflowClient, experiment: str, name: str, tags: Mapping[str, str]) -> Run:
    """Create a run.

    Args:
        client: of the tracking store.
        experiment: the experiment's name; it is created if need be, with SQLite with its artifacts beside the database.
        name: the run's name.
        tags: the run's tags.

    Raises:
        ParameterError: the experiment was deleted or cannot be created.
    """
    found = client.get_experiment_by_name(experiment)
    if found is None:
        experiment_id = _create_experiment(client, experiment)
    elif found.lifecycle_stage == "active":
        experiment_id = found.experiment_id
    else:
        raise ParameterError(f"tracking.experiment={experiment}: is deleted; restore it in MLflow or take another name")
    run = client.create_run(experiment_id, run_name=name, tags=dict(tags))
    return Run(client, run.info.run_id, experiment)


def find_run(client: MlflowClient, id_or_name: str) -> Run:
    """An earlier run, by its id or its name.

    Raises:
        ParameterError: no run, or several, have this name.
    """
    try:
        run = client.get_run(id_or_name)
    except MlflowException:
        found = named(client, experiment_ids(client), id_or_name, f"run {id_or_name}")
        if found is None:
            where = mlflow.get_tracking_uri()
            raise ParameterError(f"run {id_or_name}: not found in {where}; `mlflow ui` shows the ids") from None
        run = found
    return Run(client, run.info.run_id, client.get_experiment(run.info.experiment_id).name)


def named(client: MlflowClient, experiment_ids: list[str], name: str, asked: str) -> Entity | None:
    """The run of this name in some experiments; None if there is none.

    Raises:
        ParameterError: several have it; the message begins with `asked`.
    """
    quote = '"' if "'" in name else "'"
    # MLflow's filters have no word with both quotes in it
    with_name = "" if quote in name else f"attributes.run_name = {quote}{name}{quote}"
    runs = pages(partial(client.search_runs, experiment_ids, with_name))
    found = [run for run in runs if run.info.run_name == name]
    if len(found) > 1:
        ids = ", ".join(run.info.run_id for run in found)
        raise ParameterError(f"{asked}: {len(found)} runs have this name; give an id: {ids}")
    return found[0] if found else None


def experiment_ids(client: MlflowClient) -> list[str]:
    """The ids of all experiments that are not deleted."""
    return [experiment.experiment_id for experiment in pages(client.search_experiments)]


def pages(search: Callable[..., Any]) -> Iterator[Any]:
    """Everything that a search finds, call by call.

    Args:
        search: a search of MLflow's client that lacks nothing but the page token.
    """
    token = None
    while True:
        page = search(page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _artifact_folder(database: Path, experiment: str) -> Path:
    """The folder of an experiment's artifacts beside the database; raises `ParameterError` if the name leads elsewhere."""
    beside = database.parent / "mlruns"
    folder = beside / experiment
    if folder.parent != beside or experiment in ("", ".", ".."):
        raise ParameterError(f"tracking.experiment={experiment}: names a folder of artifacts; give a name without slashes")
    return folder


def _create_experiment(client: MlflowClient, name: str) -> str:
    """The id of a new experiment; of the one that another process has created in this moment, if one has."""
    path = database_file(mlflow.get_tracking_uri())
    location = _artifact_folder(path, name).as_uri() if path else None
    # does not make MLflow 3.17's page open its training view; `workflowType=` in a run's link does
    tags = {"mlflow.experimentKind": "custom_model_development"}
    try:
        return client.create_experiment(name, artifact_location=location, tags=tags)
    except MlflowException:
        found = client.get_experiment_by_name(name)
        if found is None:
            raise ParameterError(f"tracking.experiment={name}: cannot be made") from None
        return found.experiment_id
