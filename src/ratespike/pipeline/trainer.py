"""Lightning's trainer as the configuration wants it, at work in all processes of a job."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, RichProgressBar
from pytorch_lightning.strategies.launchers.multiprocessing import _MultiProcessingLauncher
from torch import distributed

from ratespike.config.job import Job
from ratespike.config.schemas import RunConfig
from ratespike.execution.distributed import in_all_ranks, n_nodes, n_ranks
from ratespike.execution.job_process import interrupt_on_termination
from ratespike.pipeline import summary


class _EndWell(Callback):
    """Makes a process that trains or tests with others end as one that does it alone.

    Lightning answers SIGTERM by telling the other processes, for which those wait that are not asked. PyTorch lets threads of
    gloo abort a process that ends before its connections do.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _quietly, ()

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


def _quietly() -> _EndWell:
    """What unpickles the callback: the first thing of ours that a process does that Lightning has started."""
    summary.quiet()
    return _EndWell()


def use_trainer(job: Job[RunConfig], callbacks: list[Callback], stage: Callable[[Trainer], object]) -> None:
    """Do a stage of a job, a training or a test, with a trainer of its own in each process that the job has."""

    def here() -> None:
        summary.quiet()  # in SLURM's other processes too
        trainer = _trainer(job, callbacks)
        with _ending_its_processes(trainer):
            stage(trainer)

    in_all_ranks(here)


def _trainer(job: Job[RunConfig], callbacks: list[Callback]) -> Trainer:
    """A new one, which shows a progress bar unless the job is one of a multirun."""
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
def _ending_its_processes(trainer: Trainer) -> Iterator[None]:
    """Whatever ends what is inside ends the processes that the trainer has started; Python would wait for them."""
    try:
        yield
    except BaseException:
        if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
            trainer.strategy.launcher.kill(signal.SIGKILL)
        raise
