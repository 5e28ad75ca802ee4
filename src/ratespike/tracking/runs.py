"""One MLflow run: what is written to it and read from it.

A run that was interrupted can be resumed by another process, which repeats what was under way. What the first one has logged
is then not logged again: a metric has one value at each step.

While its store is away, full or locked for too long, a run that is RUNNING goes on: what is written to it waits in a folder
(`ratespike.tracking.waiting`), and what is read from it is what this process knows of it.
"""

import csv
import io
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import mlflow
import mlflow.data.numpy_dataset
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from ratespike.analysis import csv_cells
from ratespike.checked_files import sha256
from ratespike.execution.room import NoRoomError, temporary_folder
from ratespike.parameters import ParameterError
from ratespike.tracking import changes
from ratespike.tracking.artifacts import remove_unfinished
from ratespike.tracking.changes import Change, apply, not_logged_before
from ratespike.tracking.waiting import Waiting

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
_LONGEST_REASON = 200  # characters

T = TypeVar("T")
Client: TypeAlias = MlflowClient  # for modules that handle runs without importing MLflow
Entity: TypeAlias = mlflow.entities.Run  # what MLflow's searches return


class Run:
    """One MLflow run.

    Args:
        client: of the tracking store.
        run_id: the run's id.
        experiment: its experiment's name.
        resumed: whether an earlier process has begun it; what that one has logged is not logged again.
        waiting: where results wait while the store is away; None for a run that is not at work, whose errors are the caller's.
    """

    def __init__(
        self, client: MlflowClient, run_id: str, experiment: str, *, resumed: bool = False, waiting: Waiting | None = None
    ):
        self.client = client
        self.id = run_id
        self.experiment = experiment
        self.resumed = resumed
        self.waiting = waiting
        self._last_seen: Entity | None = None

    def __reduce__(self) -> tuple[Callable[..., "Run"], tuple[object, ...]]:
        return _unpickled, (self.client.tracking_uri, self.id, self.experiment, self.resumed, self.waiting)

    @property
    def is_waiting(self) -> bool:
        """Whether the store has gone away from this run, here or in another of its processes."""
        return self.waiting is not None and self.waiting.has_begun

    def begin_work(self, root: Path) -> None:
        """From now on results wait below `root` while the store is away; what an earlier process left half-written goes."""
        self.waiting = Waiting(root, self.id)
        self._last_seen = self.client.get_run(self.id)
        remove_unfinished(self._last_seen.info.artifact_uri)

    @property
    def name(self) -> str:
        """The name that people know the run by."""
        return str(self.seen().info.run_name)

    @property
    def experiment_id(self) -> str:
        """The id of its experiment."""
        return str(self.seen().info.experiment_id)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics by their full names, such as `test/rate_accuracy`."""
        now = _milliseconds()
        self._log([[name, float(value), now, step] for name, value in values.items()])

    def curve(self, name: str, values: "Tensor") -> None:
        """Log one metric at steps 1, 2, ...; `values` has one dimension."""
        now = _milliseconds()
        self._log([[name, float(value), now, step] for step, value in enumerate(values, start=1)])

    def history(self, name: str) -> dict[int, float]:
        """A metric's values by step."""
        return {point.step: point.value for point in self.client.get_metric_history(self.id, name)}

    def metric(self, name: str) -> float | None:
        """The last value of a metric; None if it was not logged."""
        return self.seen().data.metrics.get(name)

    def parameter(self, name: str) -> str | None:
        """A setting's value, by its full name; None if it was not logged."""
        return self.seen().data.params.get(name)

    def tag(self, name: str) -> str | None:
        """A tag's value; None if it is not set."""
        return self.seen().data.tags.get(name)

    def seen(self) -> Entity:
        """The run as the store has it; while that is away, as it was, with what this process has written since."""
        found = self.read_or(lambda: self.client.get_run(self.id), None)
        if found is not None:
            self._last_seen = found
        if self._last_seen is None:
            raise ParameterError(f"run {self.id}: {self.client.tracking_uri} is away")
        return self._last_seen

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        self._write({changes.TAGS: dict(values)})

    def remove_tag(self, name: str) -> None:
        """Take a tag away."""
        self._write({changes.REMOVED_TAG: name})

    def parameters(self, values: Mapping[str, str]) -> None:
        """Log settings by their full names; MLflow refuses to log one twice, so those that the run has are left as they are."""
        logged = self.seen().data.params if self.resumed else {}
        self._write({changes.PARAMETERS: {name: value for name, value in values.items() if name not in logged}})

    def figure(self, name: str, figure: "Figure") -> bytes:
        """Keep a figure as `figures/<name>.png`; returns the file's content."""
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=120)
        with temporary_folder() as folder:
            path = folder / f"{name}.png"
            path.write_bytes(png.getvalue())
            self.file(path, "figures")
        return png.getvalue()

    def text(self, path: str, content: str) -> None:
        """Keep a text as the artifact `path`."""
        folder, _, name = path.rpartition("/")
        with temporary_folder() as temporary:
            written = temporary / name
            written.write_text(content, encoding="utf-8")
            self.file(written, folder)

    def file(self, path: Path, folder: str) -> None:
        """Keep a file as `<folder>/<its name>`."""
        self.write_or_wait(
            lambda: self.client.log_artifact(self.id, str(path), folder or None), lambda waiting: waiting.add_file(path, folder)
        )

    def table(self, name: str, **columns: Iterable[object]) -> None:
        """Keep columns of equal length as `results/<name>.csv`."""
        content = io.StringIO()
        writer = csv.writer(content, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(map(csv_cells.row, zip(*columns.values(), strict=True)))
        self.text(f"results/{name}.csv", content.getvalue())

    def arrays(self, name: str, values: Mapping[str, np.ndarray]) -> str:
        """Keep arrays as `results/<name>.npz`; returns the file's SHA-256."""
        with temporary_folder() as folder:
            path = folder / f"{name}.npz"
            np.savez_compressed(path, **values)  # type: ignore[arg-type]
            self.file(path, "results")
            return sha256(path)

    def has(self, path: str) -> bool:
        """Whether the run has an artifact `path`."""
        if self._waiting_file(path) is not None:
            return True
        folder, _, _ = path.rpartition("/")
        return any(item.path == path for item in self.client.list_artifacts(self.id, folder))

    @contextmanager
    def artifact(self, path: str) -> Iterator[Path | None]:
        """A copy of the artifact `path`, which exists for as long as the context lasts; None if the run has none."""
        with temporary_folder() as folder:
            yield self.fetch(path, folder)

    def fetch(self, path: str, folder: Path) -> Path | None:
        """Copy the artifact `path` to `folder`, under its own name; None if the run has none."""
        if not self.has(path):
            return None
        folder.mkdir(parents=True, exist_ok=True)
        waits = self._waiting_file(path)
        if waits is not None:
            return Path(shutil.copy(waits, folder))
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
            self._write({changes.DATA_SET: [{**described.to_dict(), "profile": profile}, split]})

    def end(self, status: str, mark_ended: Callable[[], None]) -> None:
        """Give the run its last status.

        Args:
            status: FINISHED, FAILED or KILLED.
            mark_ended: what MLflow does besides in this process.
        """
        end = {changes.END: [status, _milliseconds()]}

        def write() -> None:
            mark_ended()
            apply(self.client, self.id, end)

        self.write_or_wait(write, lambda waiting: waiting.add(end))

    def write_or_wait(self, write: Callable[[], object], wait: Callable[[Waiting], None]) -> None:
        """Write to the store; while that is away, let it wait.

        Args:
            write: does what is to be done, or raises MLflow's or the system's error.
            wait: lets the same wait.

        Raises:
            ParameterError: the results cannot wait either.
        """
        if not self.is_waiting:
            try:
                write()
                return
            except (MlflowException, OSError) as error:
                self._begin_to_wait(error)
        assert self.waiting is not None
        wait(self.waiting)

    def read_or(self, read: Callable[[], T], otherwise: T) -> T:
        """What is read from the store, or something else while that is away."""
        if self.is_waiting:
            return otherwise
        try:
            return read()
        except (MlflowException, OSError) as error:
            self._begin_to_wait(error)
            return otherwise

    def _begin_to_wait(self, error: MlflowException | OSError) -> None:
        """Have results wait from now on; raises the error again for a run that is not at work."""
        if self.waiting is None:
            raise error
        reason = f"{self.client.tracking_uri}: {first_line(error)}"
        try:
            self.waiting.begin()
        except (OSError, NoRoomError) as full:
            raise ParameterError(f"{reason}; results cannot wait either: {full}") from None
        where = f"its results wait in {self.waiting.folder}"
        print(f"\nrun {self.id} goes on without its store; {where} ({reason})", file=sys.stderr, flush=True)

    def _waiting_file(self, path: str) -> Path | None:
        return None if self.waiting is None else self.waiting.file(path)

    def _write(self, change: Change) -> None:
        self.write_or_wait(lambda: apply(self.client, self.id, change), lambda waiting: waiting.add(change))
        if self._last_seen is not None:
            data = self._last_seen.data
            data.tags.update(change.get(changes.TAGS, {}))
            data.params.update(change.get(changes.PARAMETERS, {}))
            data.metrics.update({name: value for name, value, *_ in change.get(changes.METRICS, ())})
            data.tags.pop(change.get(changes.REMOVED_TAG, ""), None)

    def _log(self, metrics: Sequence[Sequence[Any]]) -> None:
        """Log metrics, as a change holds them."""
        if self.resumed:  # those that wait are compared when they are brought in
            metrics = self.read_or(partial(not_logged_before, self.client, self.id, metrics), metrics)
        self._write({changes.METRICS: metrics})


def first_line(error: BaseException) -> str:
    """What an error of MLflow's or the system's says, short enough for a line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:_LONGEST_REASON]


def _unpickled(uri: str, run_id: str, experiment: str, resumed: bool, waiting: Waiting | None) -> Run:
    return Run(MlflowClient(uri), run_id, experiment, resumed=resumed, waiting=waiting)


def _milliseconds() -> int:
    """The time since 1970, as MLflow wants it."""
    return time.time_ns() // 1_000_000
