"""The training stage of a run: a finished training is found, an interrupted one goes on, else one begins."""

import shutil
import time
import zipfile
from pathlib import Path

from ratespike.config.job import Job
from ratespike.config.schemas import Config
from ratespike.execution.locks import locks_below
from ratespike.pipeline.checkpoint import read_checkpoint
from ratespike.pipeline.classifier import Classifier
from ratespike.pipeline.datamodule import DataModule
from ratespike.pipeline.epoch_callbacks import Checkpoints, KeepEpochs
from ratespike.pipeline.trainer import use_trainer
from ratespike.tracking import shared
from ratespike.tracking.runs import BEST, LAST, Run


def train(job: Job[Config], run: Run, classifier: Classifier, datamodule: DataModule) -> None:
    """Bring the network to the best epoch of its training, and that epoch's checkpoint into the run's artifacts.

    In a sweep a finished training of another run, of this sweep or an earlier one, serves as well, and jobs that need the
    same one wait for the first of them.
    """
    with locks_below(job.root).hold(f"training {run.tag(shared.TRAINING_HASH)}"):
        if not run.tag(shared.TRAINED):
            if job.number is None or not shared.take_training(run, BEST):
                _fit(job, run, classifier, datamodule)
            run.tags({shared.TRAINED: "true"})
    with run.artifact(BEST) as path:
        if path is None:
            raise FileNotFoundError(f"run {run.id} has lost its artifact {BEST}")
        classifier.network.load_state_dict(read_checkpoint(path).state)


def _fit(job: Job[Config], run: Run, classifier: Classifier, datamodule: DataModule) -> None:
    folder = job.root / "outputs" / "trainings" / run.id
    last = None
    if run.resumed:
        run.fetch(BEST, folder)
        last = run.fetch(LAST, folder)
        last = last if last is not None and zipfile.is_zipfile(last) else None  # a kill may have cut the copy short
    best = Checkpoints(folder, Path(BEST).stem, monitor="val/rate_accuracy", mode="max")
    latest = Checkpoints(folder, Path(LAST).stem)  # Lightning's `save_last` saves with a new best one alone
    began = time.perf_counter()
    use_trainer(
        job,
        [best, latest, KeepEpochs(run, best, latest)],
        lambda trainer: trainer.fit(classifier, datamodule, ckpt_path=last, weights_only=True),
    )
    run.metrics({"train/seconds": time.perf_counter() - began})
    shutil.rmtree(folder)  # the run's artifacts hold it all
