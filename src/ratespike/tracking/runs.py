"""One MLflow run and its status, and everything that is kept of it."""

import csv
import hashlib
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import mlflow.data.numpy_dataset
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient
from omegaconf import OmegaConf

from ratespike.parameters import ParameterError
from ratespike.tracking.address import database_file

if TYPE_CHECKING:  # an unknown run is told before torch is imported
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from ratespike.data import Splits
    from ratespike.metrics import Results

PACKAGES = ("ratespike", "torch", "pytorch-lightning", "hydra-core", "mlflow", "torchmetrics", "numpy")
MODEL_PACKAGES = ("ratespike", "torch", "numpy")
NOT_IN_HASH = ("tracking", "resume")  # where a result is kept does not change it


class Run:
    """One MLflow run. Its status is ours alone: RUNNING until the end of `track`."""

    def __init__(self, client: MlflowClient, run_id: str, experiment: str):
        self.client, self.id, self.experiment = client, run_id, experiment

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics by their full names."""
        now = _milliseconds()
        self.client.log_batch(self.id, [Metric(key, float(value), now, step) for key, value in values.items()])

    def curve(self, name: str, values: "Tensor") -> None:
        """Log one metric at steps 1, 2, ..."""
        now = _milliseconds()
        points = [Metric(name, float(value), now, step) for step, value in enumerate(values, start=1)]
        for begin in range(0, len(points), 1000):  # the most that one call takes
            self.client.log_batch(self.id, points[begin : begin + 1000])

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

    def file(self, path: Path, folder: str) -> None:
        """Keep a file as `<folder>/<its name>`."""
        self.client.log_artifact(self.id, str(path), folder)

    def checkpoint(self, name: str, folder: Path) -> Path | None:
        """Fetch `checkpoints/<name>.ckpt` into `folder`; None if this run has none yet."""
        if not any(item.path == f"checkpoints/{name}.ckpt" for item in self.client.list_artifacts(self.id, "checkpoints")):
            return None
        folder.mkdir(parents=True, exist_ok=True)
        return Path(self.client.download_artifacts(self.id, f"checkpoints/{name}.ckpt", str(folder)))

    def results(self, results: "Results") -> None:
        """Log the comparison: final metrics, the curve, and the table `results/spiking_accuracy.csv`."""
        self.metrics({f"test/{name}": value for name, value in results.final().items()})
        self.curve("test/spiking_accuracy_at", results.spiking_accuracy)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "spiking_accuracy.csv"
            with path.open("w", newline="") as file:
                table = csv.writer(file)
                table.writerow(["n_steps", "spiking_accuracy", "rate_accuracy", "agreement", "synaptic_operations"])
                columns = results.spiking_accuracy, results.agreement, results.synaptic_operations.cumsum(0)
                for step, (accuracy, agreement, operations) in enumerate(zip(*columns, strict=True), start=1):
                    table.writerow([step, accuracy.item(), results.rate_accuracy, agreement.item(), operations.item()])
            self.file(path, "results")

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


def connect(uri: str) -> MlflowClient:
    """Point MLflow to a tracking server or database, which is made if it is not there.

    Raises:
        ParameterError: it cannot be used.
    """
    mlflow.set_tracking_uri(uri)
    try:
        client = MlflowClient()
        client.search_experiments(max_results=1)
    except Exception as error:
        raise ParameterError(f"tracking.uri={uri}: cannot be used ({str(error).splitlines()[0][:160]})") from None
    return client


def open_run(client: MlflowClient, experiment: str, name: str) -> Run:
    """A new run, in an experiment of this name that is made if need be; with SQLite, artifacts go beside the database."""
    found = client.get_experiment_by_name(experiment)
    if found is None:
        database = database_file(mlflow.get_tracking_uri())
        location = (database.parent / "mlruns" / experiment).as_uri() if database else None
        tags = {"mlflow.experimentKind": "custom_model_development"}
        experiment_id = client.create_experiment(experiment, artifact_location=location, tags=tags)
    else:
        experiment_id = found.experiment_id
    return Run(client, client.create_run(experiment_id, run_name=name).info.run_id, experiment)


def find_run(client: MlflowClient, run_id: str) -> Run:
    """An earlier run, by its id; raises `ParameterError`."""
    try:
        run = client.get_run(run_id)
    except mlflow.exceptions.MlflowException:
        raise ParameterError(f"run {run_id}: not found in {mlflow.get_tracking_uri()}; `mlflow ui` shows the ids") from None
    return Run(client, run_id, client.get_experiment(run.info.experiment_id).name)


@contextmanager
def track(run: Run, system_metrics: bool) -> Iterator[None]:
    """The run is RUNNING inside; then FINISHED, KILLED by Ctrl-C, or FAILED with its error as a tag."""
    status = "FAILED"
    try:
        with mlflow.start_run(run.id, log_system_metrics=system_metrics):
            try:
                yield
                status = "FINISHED"
            except (KeyboardInterrupt, SystemExit):
                status = "KILLED"
                raise
            except Exception as error:
                run.tags({"ratespike.error": f"{type(error).__name__}: {error}"[:5000]})
                raise
    finally:
        run.client.set_terminated(run.id, status)


def describe(run: Run, plain: Mapping[str, Any], root: Path, is_slice: bool) -> None:
    """Log the configuration as parameters and artifact, and where and with what the run was made."""
    import torch

    parameters = dict(_flat(plain))
    run.client.log_batch(run.id, params=[Param(key, str(value)) for key, value in parameters.items()])
    run.client.log_text(run.id, OmegaConf.to_yaml(dict(plain)), "config.yaml")
    tags = {
        "ratespike.config_hash": config_hash(plain),
        "ratespike.hardware": f"{platform.machine()}, {os.cpu_count()} CPUs, {torch.cuda.device_count()} GPUs",
        "ratespike.packages": " ".join(f"{name}=={version(name)}" for name in PACKAGES),
    }
    if commit := _git_commit(root):
        tags["mlflow.source.git.commit"] = commit
    if is_slice:
        tags["ratespike.debug"] = "true"
    run.tags(tags)


def config_hash(plain: Mapping[str, Any]) -> str:
    """The same for two runs that must give the same result."""
    kept = {key: value for key, value in plain.items() if key not in NOT_IN_HASH}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000


def _git_commit(root: Path) -> str | None:
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
