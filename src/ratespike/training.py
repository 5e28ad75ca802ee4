"""The training stage of a run: a finished training is found, an interrupted one goes on, else one begins."""

import shutil
import signal
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, RichProgressBar
from pytorch_lightning.strategies.launchers.multiprocessing import _MultiProcessingLauncher
from torch import distributed

from ratespike.classifier import Classifier
from ratespike.command import Job
from ratespike.config import Config, RunConfig
from ratespike.datamodule import DataModule
from ratespike.loading import read_checkpoint
from ratespike.own_process import interrupt_on_termination
from ratespike.ranks import in_all_ranks, n_nodes, n_ranks
from ratespike.tracking import shared
from ratespike.tracking.lightning import KeepEpochs
from ratespike.tracking.locks import locks_below
from ratespike.tracking.runs import BEST, LAST, Run


class _EndWell(Callback):
    """Makes a process that trains or tests with others end as one that does it alone.

    Lightning answers SIGTERM by telling the other processes, for which those wait that are not asked. PyTorch lets threads of
    gloo abort a process that ends before its connections do.
    """

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        if trainer.world_size > 1:  # PyTorch tells by SIGINT that the first process has died, which a shell may have ignored
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        interrupt_on_termination()

    def on_test_start(self, trainer: Trainer, module: LightningModule) -> None:
        interrupt_on_termination()

    def teardown(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        if n_ranks() == 1 and distributed.is_initialized():
            distributed.destroy_process_group()


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


def trainer_for(job: Job[RunConfig], *callbacks: Callback) -> Trainer:
    """Lightning's trainer as the configuration wants it; a job of a sweep shows no progress bar."""
    trainer, of_slurm, shown = job.config.trainer, n_ranks() > 1, job.number is None
    strategy = "ddp_spawn" if trainer.strategy == "auto" and trainer.devices > 1 else trainer.strategy
    extra = [_EndWell(), *([RichProgressBar()] if shown else [])]
    return Trainer(
        max_epochs=trainer.max_epochs,
        accelerator=trainer.accelerator,
        devices=trainer.devices,
        num_nodes=n_nodes(),
        strategy="ddp" if of_slurm else strategy,
        plugins=[SLURMEnvironment(auto_requeue=False) if of_slurm else LightningEnvironment()],
        logger=False,
        callbacks=[*callbacks, *extra],
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        enable_progress_bar=shown,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # it would repeat images to make parts equal; our batches are divided already
        deterministic="warn",
    )


@contextmanager
def ending_its_processes(trainer: Trainer) -> Iterator[None]:
    """Whatever ends what is inside ends the processes that the trainer has started; Python would wait for them."""
    try:
        yield
    except BaseException:
        if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
            trainer.strategy.launcher.kill(signal.SIGKILL)
        raise


def _fit(job: Job[Config], run: Run, classifier: Classifier, datamodule: DataModule) -> None:
    folder = job.root / "outputs" / "trainings" / run.id
    last = None
    if run.taken_up:
        run.fetch(BEST, folder)
        last = run.fetch(LAST, folder)
        last = last if last is not None and zipfile.is_zipfile(last) else None  # a kill may have cut the copy short
    best = ModelCheckpoint(
        (folder / BEST).parent, "best", monitor="val/rate_accuracy", mode="max", save_last=True, enable_version_counter=False
    )
    began = time.perf_counter()
    in_all_ranks(partial(_epochs, job, [best, KeepEpochs(run, best)], classifier, datamodule, last))
    run.metrics({"train/seconds": time.perf_counter() - began})
    shutil.rmtree(folder)  # the run's artifacts hold it all


def _epochs(
    job: Job[RunConfig], callbacks: list[Callback], classifier: Classifier, datamodule: DataModule, last: Path | None
) -> None:
    trainer = trainer_for(job, *callbacks)
    with ending_its_processes(trainer):
        trainer.fit(classifier, datamodule, ckpt_path=last, weights_only=True)
