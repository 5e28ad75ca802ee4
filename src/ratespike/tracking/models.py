"""The model of a run, as MLflow keeps it: a file of code and a checkpoint, and nothing that is unpickled.

Loading it with MLflow runs the code, as MLflow's models do. Whoever only wants the network takes the checkpoint
(`fetch_checkpoint`), and then nothing of the model is run.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath

import mlflow
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from ratespike.exchange.whole_file import whole_file
from ratespike.execution.room import room_in, temporary_files_in, temporary_folder
from ratespike.parameters import ParameterError
from ratespike.tracking.runs import Client, Run
from ratespike.tracking.waiting import Waiting

CHECKPOINT_NAME = "network.ckpt"
CHECKPOINT = f"artifacts/{CHECKPOINT_NAME}"  # within a model
_DESCRIPTION = "model.json"  # of a model that waits
_PACKAGES = ("ratespike", "torch", "numpy")  # what each model needs where it is loaded


@dataclass(frozen=True)
class ServableModel:
    """What MLflow is to keep of a trained network.

    Attributes:
        code: the file that MLflow runs where the model is loaded.
        checkpoint: the file of the network, called `CHECKPOINT_NAME`.
        image_shape: channels, height, width.
        mode: whether answers come from `rates` or from `spikes`, where a request does not say.
        n_steps: how many steps of spikes, where a request does not say.
        plugins: the packages that the network's classes come from besides ratespike, as pip names them.
        has_example: whether MLflow is to try the model with a black image, which is kept as its example.
    """

    code: Path
    checkpoint: Path
    image_shape: tuple[int, int, int]
    mode: str
    n_steps: int
    plugins: tuple[str, ...]
    has_example: bool


def keep_model(run: Run, model: ServableModel) -> None:
    """Keep a model with a run, which must be the one that `tracking.status.track` has made the active one of this process."""
    if run.resumed and run.read_or(lambda: model_id(run), None) is not None:
        return
    run.write_or_wait(lambda: _log(model), lambda waiting: _let_wait(model, waiting))


def keep_waiting_model(run: Run, waiting: Waiting) -> None:
    """Keep the model that waits with a run, if one does and the run has none."""
    described = waiting.model / _DESCRIPTION
    if not described.exists() or model_id(run) is not None:
        return
    values = json.loads(described.read_text(encoding="utf-8"))
    paths = {name: waiting.model / values[name] for name in ("code", "checkpoint")}
    lists = {name: tuple(values[name]) for name in ("image_shape", "plugins")}
    mlflow.start_run(run.id)
    try:
        _log(ServableModel(**{**values, **paths, **lists}))
    finally:
        mlflow.end_run("KILLED")  # its process is gone; a status that waits is the last change


def _let_wait(model: ServableModel, waiting: Waiting) -> None:
    """Keep what the model is made of until it is brought in; the description comes last: it says that the files are whole."""
    with room_in(waiting.folder):
        waiting.model.mkdir(exist_ok=True)
        files = {}
        for name in ("code", "checkpoint"):
            source = getattr(model, name)
            shutil.copyfile(source, waiting.model / source.name)
            files[name] = source.name
        described = json.dumps({**asdict(model), **files})
        with whole_file(waiting.model / _DESCRIPTION) as unfinished:
            unfinished.write_text(described, encoding="utf-8")


def _log(model: ServableModel) -> None:
    """Keep a model with MLflow's active run."""
    defaults = {"mode": model.mode, "n_steps": model.n_steps}
    example = np.zeros((1, *model.image_shape), np.float32)
    with temporary_folder() as folder, temporary_files_in(folder):
        mlflow.pyfunc.log_model(
            name="model",
            python_model=str(model.code),
            artifacts={"checkpoint": str(model.checkpoint)},
            signature=_signature(model),
            input_example=(example, defaults) if model.has_example else None,
            pip_requirements=requirements(model.plugins),  # named, as MLflow takes 15 s to infer them
        )


def requirements(plugins: Sequence[str]) -> list[str]:
    """What pip is to install where a model is loaded, in the versions that are installed here.

    Args:
        plugins: the packages that a network's classes come from besides ratespike.
    """
    return [f"{package}=={_released(package)}" for package in (*_PACKAGES, *plugins)]


def model_id(run: Run) -> str | None:
    """The id of the model that a run has kept to the end; None if it has none."""
    outputs = run.client.get_run(run.id).outputs
    if not outputs:
        return None
    for output in outputs.model_outputs:
        model = run.client.get_logged_model(output.model_id)
        if str(model.status) == "READY":
            return str(model.model_id)
    return None


@contextmanager
def fetch_checkpoint(client: Client, location: str) -> Iterator[Path | None]:
    """A copy of the checkpoint of a model, which exists for as long as the context lasts; None if the model has none.

    Args:
        client: of the tracking store.
        location: where the model's files are, as MLflow names it.

    Raises:
        ParameterError: that place cannot be read.
    """
    with temporary_folder() as folder:
        try:
            path = _downloaded(client, location, folder)
        except Exception as error:  # the store says where the model is: whatever the reader of such places raises
            reason = " ".join(str(error).split())[:160]
            raise ParameterError(f"{location}: the model's files cannot be read ({reason})") from None
        yield path


def _downloaded(client: Client, location: str, folder: Path) -> Path | None:
    """A model's checkpoint, copied to a folder; None if the model has none."""
    files = mlflow.artifacts.list_artifacts(artifact_uri=f"{location}/artifacts", tracking_uri=client.tracking_uri)
    if not any(PurePosixPath(file.path).name == CHECKPOINT_NAME for file in files):
        return None
    path = mlflow.artifacts.download_artifacts(
        artifact_uri=f"{location}/{CHECKPOINT}", dst_path=str(folder), tracking_uri=client.tracking_uri
    )
    return Path(path)


def _released(package: str) -> str:
    """The installed version without a mark of its build, such as PyTorch's `+cpu`, which PyPI does not have."""
    return version(package).partition("+")[0]


def _signature(model: ServableModel) -> ModelSignature:
    """What a request and its answer look like."""
    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, *model.image_shape))]),
        outputs=Schema(
            [
                ColSpec(DataType.string, "class"),
                ColSpec(DataType.double, "confidence"),
                ColSpec(DataType.long, "decision_step", required=False),
            ]
        ),
        params=ParamSchema(
            [ParamSpec("mode", DataType.string, model.mode), ParamSpec("n_steps", DataType.long, model.n_steps)]
        ),
    )
