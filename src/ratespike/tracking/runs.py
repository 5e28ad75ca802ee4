"""One MLflow run and everything that is kept of it."""

import csv
import functools
import io
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import mlflow
import mlflow.data.numpy_dataset
import numpy as np
from mlflow.entities import Metric, RunTag
from mlflow.tracking import MlflowClient

from ratespike.execution.locks import Locks
from ratespike.parameters import ParameterError
from ratespike.tracking.address import database_file

if TYPE_CHECKING:  # an unknown run is told before torch is imported
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from ratespike.data import Splits

BEST, LAST = "checkpoints/best.ckpt", "checkpoints/last.ckpt"  # artifacts
Client: TypeAlias = MlflowClient  # MLflow's own, for who handles runs without importing it
Entity: TypeAlias = mlflow.entities.Run
MODEL_PACKAGES = ("ratespike", "torch", "numpy")
_AT_ONCE = 1000  # metrics, at most, in one call


class Run:
    """One MLflow run.

    Args:
        client: of the tracking server.
        run_id: the run's id.
        experiment: its experiment's name.
        resumed: it was begun by an earlier process: what that one logged is not logged again.
    """

    def __init__(self, client: MlflowClient, run_id: str, experiment: str, *, resumed: bool = False):
        self.client, self.id, self.experiment, self.resumed = client, run_id, experiment, resumed

    def __reduce__(self) -> tuple[Callable[..., "Run"], tuple[object, ...]]:
        return _of_store, (self.client.tracking_uri, self.id, self.experiment, self.resumed)

    @property
    def link(self) -> str:
        """Where a locally started MLflow UI shows the experiment's runs, in its view for training."""
        experiment = self.client.get_run(self.id).info.experiment_id
        return f"http://127.0.0.1:5000/#/experiments/{experiment}/runs?workflowType=machine_learning"

    @property
    def name(self) -> str:
        """What people know it by."""
        return str(self.client.get_run(self.id).info.run_name)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics by their full names."""
        self._log((name, float(value), step) for name, value in values.items())

    def curve(self, name: str, values: "Tensor") -> None:
        """Log one metric at steps 1, 2, ..."""
        self._log((name, float(value), step) for step, value in enumerate(values, start=1))

    def history(self, name: str) -> dict[int, float]:
        """A metric's values by step."""
        return {point.step: point.value for point in self.client.get_metric_history(self.id, name)}

    def metric(self, name: str) -> float | None:
        """The last value of a metric, if it was logged."""
        return self.client.get_run(self.id).data.metrics.get(name)

    def tag(self, name: str) -> str | None:
        """A tag, if it is set."""
        return self.client.get_run(self.id).data.tags.get(name)

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        self.client.log_batch(self.id, tags=[RunTag(key, value) for key, value in values.items()])

    def figure(self, name: str, figure: "Figure") -> None:
        """Keep a figure as `figures/<name>.png`."""
        self.client.log_figure(self.id, figure, f"figures/{name}.png", save_kwargs={"dpi": 120})

    def text(self, path: str, content: str) -> None:
        """Keep a text as the artifact `path`."""
        self.client.log_text(self.id, content, path)

    def file(self, path: Path, folder: str) -> None:
        """Keep a file as `<folder>/<its name>`."""
        self.client.log_artifact(self.id, str(path), folder)

    def table(self, name: str, **columns: Iterable[object]) -> None:
        """Keep columns of equal length as `results/<name>.csv`."""
        content = io.StringIO()
        writer = csv.writer(content, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        self.text(f"results/{name}.csv", content.getvalue())

    def arrays(self, name: str, values: Mapping[str, np.ndarray]) -> None:
        """Keep arrays as `results/<name>.npz`."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.npz"
            np.savez_compressed(path, **values)  # type: ignore[arg-type]
            self.file(path, "results")

    def has(self, path: str) -> bool:
        """Whether this run has an artifact `path`."""
        return any(item.path == path for item in self.client.list_artifacts(self.id, path.rpartition("/")[0]))

    @contextmanager
    def artifact(self, path: str) -> Iterator[Path | None]:
        """A copy of an artifact, for as long as the context lasts; None if this run has none of this path."""
        with tempfile.TemporaryDirectory() as folder:
            yield self.fetch(path, Path(folder))

    def fetch(self, path: str, folder: Path) -> Path | None:
        """Copy the artifact `path` to `folder`, under its own name; None if this run has none."""
        if not self.has(path):
            return None
        folder.mkdir(parents=True, exist_ok=True)
        return Path(self.client.download_artifacts(self.id, path, str(folder)))

    def data(self, splits: "Splits", name: str) -> None:
        """Log the three splits as MLflow datasets."""
        for context, images in vars(splits).items():
            pixels, labels = images.pixels.numpy(), images.labels.numpy()
            dataset = mlflow.data.numpy_dataset.from_numpy(pixels, targets=labels, name=f"{name}_{context}")
            tag = mlflow.entities.InputTag(key="mlflow.data.context", value=context)
            entity = mlflow.entities.DatasetInput(dataset._to_mlflow_entity(), tags=[tag])
            self.client.log_inputs(self.id, [entity])

    def model(self, network: "nn.Module", example: "Tensor") -> None:
        """Keep the network's rate mode as an MLflow model; it takes and returns arrays."""
        import torch

        kept = self.client.get_run(self.id).outputs
        if self.resumed and kept and any(self._is_ready(output.model_id) for output in kept.model_outputs):
            return
        network = network.eval()
        with torch.no_grad():
            outputs = network(example)
        mlflow.pytorch.log_model(
            network,
            name="model",
            signature=mlflow.models.infer_signature(example.numpy(), outputs.numpy()),
            pip_requirements=[f"{name}=={version(name)}" for name in MODEL_PACKAGES],
            serialization_format="pickle",
        )

    def _is_ready(self, model_id: str) -> bool:
        return str(self.client.get_logged_model(model_id).status) == "READY"

    def _log(self, points: Iterator[tuple[str, float, int]]) -> None:
        now = time.time_ns() // 1_000_000
        known: dict[str, dict[int, float]] = {}
        new = []
        for name, value, step in points:
            if self.resumed and name not in known:
                known[name] = self.history(name)
            if step not in known.get(name, ()):
                new.append(Metric(name, value, now, step))
        for begin in range(0, len(new), _AT_ONCE):
            self.client.log_batch(self.id, new[begin : begin + _AT_ONCE])


def _of_store(uri: str, run_id: str, experiment: str, resumed: bool) -> Run:
    return Run(MlflowClient(uri), run_id, experiment, resumed=resumed)


def connect(uri: str) -> MlflowClient:
    """Point MLflow to a tracking server or database, which is made if it is not there.

    Raises:
        ParameterError: it cannot be used.
    """
    mlflow.set_tracking_uri(uri)
    database = database_file(uri)
    # two processes that create or migrate one SQLite file destroy it
    alone = _locks_beside(database).hold("migration") if database else nullcontext()
    try:
        with alone:
            client = MlflowClient()
            client.search_experiments(max_results=1)
            if database:
                _let_readers_and_a_writer_work_together(database)
    except Exception as error:
        raise ParameterError(f"tracking.uri={uri}: cannot be used ({str(error).splitlines()[0][:160]})") from None
    return client


@functools.cache  # an object of each file a process
def _locks_beside(database: Path) -> Locks:
    return Locks(database.with_name(f"{database.name}.lock"))


def _let_readers_and_a_writer_work_together(database: Path) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA journal_mode=WAL")  # the file remembers it
    connection.close()


def open_run(client: MlflowClient, experiment: str, name: str, tags: Mapping[str, str]) -> Run:
    """A new run, in an experiment of this name that is made if need be; with SQLite, artifacts go beside the database."""
    found = client.get_experiment_by_name(experiment)
    if found and found.lifecycle_stage != "active":
        raise ParameterError(f"tracking.experiment={experiment}: is deleted; restore it in MLflow or take another name")
    experiment_id = found.experiment_id if found else _new_experiment(client, experiment)
    run = client.create_run(experiment_id, run_name=name, tags=dict(tags))
    return Run(client, run.info.run_id, experiment)


def _new_experiment(client: MlflowClient, name: str) -> str:
    database = database_file(mlflow.get_tracking_uri())
    location = (database.parent / "mlruns" / name).as_uri() if database else None
    tags = {"mlflow.experimentKind": "custom_model_development"}
    try:
        return client.create_experiment(name, artifact_location=location, tags=tags)
    except mlflow.exceptions.MlflowException:  # another process was faster
        found = client.get_experiment_by_name(name)
        if found is None:
            raise ParameterError(f"tracking.experiment={name}: cannot be made") from None
        return found.experiment_id


def find_run(client: MlflowClient, id_or_name: str) -> Run:
    """An earlier run, by its id or its name; raises `ParameterError`."""
    try:
        run = client.get_run(id_or_name)
    except mlflow.exceptions.MlflowException:
        found = named(client, experiment_ids(client), id_or_name, f"run {id_or_name}")
        if found is None:
            where = mlflow.get_tracking_uri()
            raise ParameterError(f"run {id_or_name}: not found in {where}; `mlflow ui` shows the ids") from None
        run = found
    return Run(client, run.info.run_id, client.get_experiment(run.info.experiment_id).name)


def named(client: MlflowClient, experiment_ids: list[str], name: str, asked: str) -> Entity | None:
    """The run of this name; None if there is none.

    Raises:
        ParameterError: several have it; the message begins with `asked`.
    """
    quote = '"' if "'" in name else "'"
    wanted = f"attributes.run_name = {quote}{name}{quote}"
    found = list(pages(partial(client.search_runs, experiment_ids, wanted)))
    if len(found) > 1:
        ids = ", ".join(run.info.run_id for run in found)
        raise ParameterError(f"{asked}: {len(found)} runs have this name; give an id: {ids}")
    return found[0] if found else None


def experiment_ids(client: MlflowClient) -> list[str]:
    """Of all experiments that are not deleted."""
    return [experiment.experiment_id for experiment in pages(client.search_experiments)]


def pages(search: Callable[..., Any]) -> Iterator[Any]:
    """Everything that a search finds, call by call; `search` takes a page token."""
    token = None
    while True:
        page = search(page_token=token)
        token = page.token
        yield from page
        if not token:
            return
