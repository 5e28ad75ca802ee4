"""One MLflow run: what is written to it and read from it.

A run that was interrupted can be resumed by another process, which repeats what was under way. What the first one has logged
is then not logged again: a metric has one value at each step.
"""

import csv
import io
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import mlflow
import mlflow.data.numpy_dataset
import numpy as np
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, RunTag
from mlflow.tracking import MlflowClient

from ratespike.analysis import csv_cells
from ratespike.checked_files import sha256

if TYPE_CHECKING:  # an unknown run is reported before torch is imported
    from matplotlib.figure import Figure
    from torch import Tensor

    from ratespike.data import Splits

BEST = "checkpoints/best.ckpt"  # artifact: the epoch that is kept, with the highest accuracy on validation images
FILES_LEFT_OUT = "ratespike.files_left_out"  # tag: how many files of the data could not be read
LAST = "checkpoints/last.ckpt"  # artifact: the last epoch
PREDICTIONS = "results/predictions.csv"  # artifact: of each test image its class and the predicted ones
REPORT = "report.html"  # artifact: what matters of a run or a sweep, on one page
_IMAGES_HASHED = 1000  # at least, where there are so many, for the digest of a split
_METRICS_PER_CALL = 1000  # MLflow accepts no more

Client: TypeAlias = MlflowClient  # for modules that handle runs without importing MLflow
Entity: TypeAlias = mlflow.entities.Run  # what MLflow's searches return


class Run:
    """One MLflow run.

    Args:
        client: of the tracking store.
        run_id: the run's id.
        experiment: its experiment's name.
        resumed: whether an earlier process has begun it; what that one has logged is not logged again.
    """

    def __init__(self, client: MlflowClient, run_id: str, experiment: str, *, resumed: bool = False):
        self.client = client
        self.id = run_id
        self.experiment = experiment
        self.resumed = resumed

    def __reduce__(self) -> tuple[Callable[..., "Run"], tuple[object, ...]]:
        return _unpickled, (self.client.tracking_uri, self.id, self.experiment, self.resumed)

    @property
    def name(self) -> str:
        """The name that people know the run by."""
        return str(self.client.get_run(self.id).info.run_name)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics by their full names, such as `test/rate_accuracy`."""
        now = _milliseconds()
        self._log([Metric(name, float(value), now, step) for name, value in values.items()])

    def curve(self, name: str, values: "Tensor") -> None:
        """Log one metric at steps 1, 2, ...; `values` has one dimension."""
        now = _milliseconds()
        self._log([Metric(name, float(value), now, step) for step, value in enumerate(values, start=1)])

    def history(self, name: str) -> dict[int, float]:
        """A metric's values by step."""
        return {point.step: point.value for point in self.client.get_metric_history(self.id, name)}

    def metric(self, name: str) -> float | None:
        """The last value of a metric; None if it was not logged."""
        return self.client.get_run(self.id).data.metrics.get(name)

    def parameter(self, name: str) -> str | None:
        """A setting's value, by its full name; None if it was not logged."""
        return self.client.get_run(self.id).data.params.get(name)

    def tag(self, name: str) -> str | None:
        """A tag's value; None if it is not set."""
        return self.client.get_run(self.id).data.tags.get(name)

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        self.client.log_batch(self.id, tags=[RunTag(name, value) for name, value in values.items()])

    def figure(self, name: str, figure: "Figure") -> bytes:
        """Keep a figure as `figures/<name>.png`; returns the file's content."""
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=120)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.png"
            path.write_bytes(png.getvalue())
            self.file(path, "figures")
        return png.getvalue()

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
        writer.writerows(map(csv_cells.row, zip(*columns.values(), strict=True)))
        self.text(f"results/{name}.csv", content.getvalue())

    def arrays(self, name: str, values: Mapping[str, np.ndarray]) -> str:
        """Keep arrays as `results/<name>.npz`; returns the file's SHA-256."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.npz"
            np.savez_compressed(path, **values)  # type: ignore[arg-type]
            self.file(path, "results")
            return sha256(path)

    def has(self, path: str) -> bool:
        """Whether the run has an artifact `path`."""
        folder, _, _ = path.rpartition("/")
        return any(item.path == path for item in self.client.list_artifacts(self.id, folder))

    @contextmanager
    def artifact(self, path: str) -> Iterator[Path | None]:
        """A copy of the artifact `path`, which exists for as long as the context lasts; None if the run has none."""
        with tempfile.TemporaryDirectory() as folder:
            yield self.fetch(path, Path(folder))

    def fetch(self, path: str, folder: Path) -> Path | None:
        """Copy the artifact `path` to `folder`, under its own name; None if the run has none."""
        if not self.has(path):
            return None
        folder.mkdir(parents=True, exist_ok=True)
        return Path(self.client.download_artifacts(self.id, path, str(folder)))

    def data(self, splits: "Splits", name: str) -> None:
        """Log the three splits of the data set `name` as MLflow datasets: their sizes and a digest, not the images.

        Files that were left out are counted in a tag, and listed with the reasons.
        """
        if splits.left_out:
            self.tags({FILES_LEFT_OUT: str(len(splits.left_out))})
            self.table("files_left_out", file=splits.left_out, reason=splits.left_out.values())
        for split, images in (("train", splits.train), ("validation", splits.validation), ("test", splits.test)):
            some = images[:: max(1, len(images) // _IMAGES_HASHED)]  # all may be more than fit in memory
            described = mlflow.data.numpy_dataset.from_numpy(
                some.pixels.numpy(), targets=some.labels.numpy(), name=f"{name}_{split}"
            )
            profile = json.dumps({"features_shape": [len(images), *images.shape], "targets_shape": [len(images)]})
            dataset: Dataset = Dataset.from_dictionary(described.to_dict() | {"profile": profile})  # type: ignore[assignment]
            self.client.log_inputs(self.id, [DatasetInput(dataset, tags=[InputTag("mlflow.data.context", split)])])

    def _log(self, metrics: list[Metric]) -> None:
        if self.resumed:
            metrics = self._not_logged_before(metrics)
        for begin in range(0, len(metrics), _METRICS_PER_CALL):
            self.client.log_batch(self.id, metrics[begin : begin + _METRICS_PER_CALL])

    def _not_logged_before(self, metrics: list[Metric]) -> list[Metric]:
        """Those at whose steps the run has no value yet."""
        logged: dict[str, dict[int, float]] = {}
        new = []
        for metric in metrics:
            if metric.key not in logged:
                logged[metric.key] = self.history(metric.key)
            if metric.step not in logged[metric.key]:
                new.append(metric)
        return new


def _unpickled(uri: str, run_id: str, experiment: str, resumed: bool) -> Run:
    return Run(MlflowClient(uri), run_id, experiment, resumed=resumed)


def _milliseconds() -> int:
    """The time since 1970, as MLflow wants it."""
    return time.time_ns() // 1_000_000
