"""The training stage of a run: a finished training is found, an interrupted one is resumed, else one begins."""

import shutil
import tempfile
import time
import zipfile
from pathlib import Path

from pytorch_lightning.callbacks import Callback, EMAWeightAveraging
from torch import nn

from ratespike.config.job import Job
from ratespike.config.schemas import RunConfig
from ratespike.execution.locks import locks_below
from ratespike.pipeline.checkpoint import load_weights, read_checkpoint, write_checkpoint
from ratespike.pipeline.classifier import Classifier
from ratespike.pipeline.datamodule import DataModule
from ratespike.pipeline.epoch_callbacks import Checkpoints, KeepEpochs
from ratespike.pipeline.trainer import use_trainer
from ratespike.tracking import shared
from ratespike.tracking.runs import BEST, LAST, Run


def fit(job: Job[RunConfig], run: Run, converted: nn.Module | None, classifier: Classifier, datamodule: DataModule) -> None:
    """Bring the network to the best epoch of its training, and that epoch's checkpoint into the run's artifacts.

    A network that was converted has been trained before; its weights are kept in the same way.

    In a sweep, a finished training of another run serves as well, whether it belongs to this sweep or an earlier one. Jobs that
    need the same training wait for the first of them.
    """
    with locks_below(job.root).hold(f"training {run.tag(shared.TRAINING_HASH)}"):
        if not run.tag(shared.TRAINED):
            is_of_multirun = job.number is not None
            if not (is_of_multirun and shared.take_training(run, BEST)):
                if converted is None:
                    _train(job, run, classifier, datamodule)
                else:
                    _keep(converted, run, classifier)
            run.tags({shared.TRAINED: "true"})
    with run.artifact(BEST) as path:
        if path is None:
            raise FileNotFoundError(f"run {run.id} has lost its artifact {BEST}")
        load_weights(classifier.network, read_checkpoint(path), f"run {run.id}")


def _keep(converted: nn.Module, run: Run, classifier: Classifier) -> None:
    """Make a checkpoint of a network that needs no training."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(BEST).name
        write_checkpoint(path, converted, classifier.description)
        run.file(path, str(Path(BEST).parent))


def _train(job: Job[RunConfig], run: Run, classifier: Classifier, datamodule: DataModule) -> None:
    """Train from the first epoch, or from the one that follows the last that the run has kept."""
    folder = job.root / "outputs" / "trainings" / run.id
    last_epoch = _kept_epoch(run, folder) if run.resumed else None
    best = Checkpoints(folder, Path(BEST).stem, **_choice(classifier))
    # Lightning's `save_last` saves with a new best one alone: a training on a plateau would go back to it.
    latest = Checkpoints(folder, Path(LAST).stem)
    averaging = classifier.optimizer.weight_averaging
    callbacks: list[Callback] = [EMAWeightAveraging(decay=averaging)] if averaging else []
    began = time.perf_counter()
    use_trainer(
        job,
        [*callbacks, best, latest, KeepEpochs(run, best, latest)],
        lambda trainer: trainer.fit(classifier, datamodule, ckpt_path=last_epoch, weights_only=True),
        job.config.trainer.precision,
    )
    run.metrics({"train/seconds": time.perf_counter() - began})
    shutil.rmtree(folder)  # the run's artifacts hold it all


def _choice(classifier: Classifier) -> dict[str, str]:
    """Which epoch is the best one, as `ModelCheckpoint` takes it.

    Where rates are held, the last one: earlier ones are more accurate because they are held less.
    """
    return {"monitor": "val/rate_accuracy" if classifier.held_rates is None else "epoch", "mode": "max"}


def _kept_epoch(run: Run, folder: Path) -> Path | None:
    """The checkpoint of the last epoch that an interrupted run has kept, copied to `folder`; None if there is no whole one."""
    run.fetch(BEST, folder)
    last_epoch = run.fetch(LAST, folder)
    if last_epoch is None or not zipfile.is_zipfile(last_epoch):  # a kill may have cut the copy short
        return None
    return last_epoch
