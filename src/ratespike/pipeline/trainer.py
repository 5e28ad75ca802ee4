"""Lightning's trainer as the configuration wants it, in all processes of a job.

A job has one process, or several that share each batch. Lightning starts these itself (`ddp_spawn`), or SLURM has started them
(`execution.distributed`). However many there are, a stage ends as it does in one process: an error or an interruption in the
first process ends the others too.
"""

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.strategies import DDPStrategy
from torch import distributed
from torch.multiprocessing.spawn import ProcessRaisedException

from ratespike.config.job import Job
from ratespike.config.schemas import RunConfig, TrainerConfig
from ratespike.execution.distributed import in_all_ranks, leave_group, n_nodes, n_ranks
from ratespike.execution.job_process import interrupt_on_termination
from ratespike.execution.memory import keep_freed_memory
from ratespike.execution.printing import print_whoever_reads
from ratespike.execution.room import temporary_folder
from ratespike.parameters import ParameterError
from ratespike.pipeline import summary
from ratespike.pipeline.progress_bar import ProgressBar
from ratespike.pipeline.whole_checkpoints import WholeCheckpoints


def use_trainer(
    job: Job[RunConfig], callbacks: list[Callback], stage: Callable[[Trainer], object], precision: str = "32-true"
) -> None:
    """Do a training or a test, with a new trainer in each process of the job.

    Args:
        job: whose configuration describes the trainer.
        callbacks: of the trainer.
        stage: what to do with the trainer; other processes receive it pickled, so it must not refer to the job.
        precision: of the layers' sums, as Lightning names it; a test is always in single precision.
    """
    trainer_config = job.config.trainer
    is_of_multirun = job.number is not None

    def stage_in_this_process() -> None:  # it is pickled too, hence no `job` in it
        summary.quiet()  # another process of SLURM has not called it yet
        keep_freed_memory()
        with _strategy(trainer_config) as strategy:
            trainer = _trainer(trainer_config, strategy, callbacks, precision, shows_progress=not is_of_multirun)
            with _errors_as_in_one_process(), _killing_processes_on_error(trainer):
                stage(trainer)

    in_all_ranks(job, stage_in_this_process)


def _trainer(
    config: TrainerConfig, strategy: str | DDPStrategy, callbacks: list[Callback], precision: str, *, shows_progress: bool
) -> Trainer:
    """A new trainer for this process."""
    added: list[Callback] = [_EndLikeOneProcess()]
    if shows_progress:
        added.append(ProgressBar())
    return Trainer(
        max_epochs=config.max_epochs,
        accelerator=config.accelerator,
        devices=config.devices,
        num_nodes=n_nodes(),
        strategy=strategy,
        precision=precision,  # type: ignore[arg-type]
        plugins=[SLURMEnvironment(auto_requeue=False) if n_ranks() > 1 else LightningEnvironment(), WholeCheckpoints()],
        # MLFlowLogger would end the run after `fit`, before the test, and as FAILED on Ctrl-C
        logger=False,
        callbacks=[*callbacks, *added],
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        enable_progress_bar=shows_progress,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # it would repeat images to make parts equal; our batches are divided already
        deterministic="warn",
    )


@contextmanager
def _strategy(config: TrainerConfig) -> Iterator[str | DDPStrategy]:
    """How several processes share a stage inside, as Lightning's trainer takes it."""
    if n_ranks() > 1:
        yield "ddp"
    elif config.devices > 1 or config.strategy != "auto":
        with temporary_folder() as folder:
            yield _OnThisHost(folder / "processes")
    else:
        yield "auto"


class _OnThisHost(DDPStrategy):
    """Starts the processes of a stage on this host, where they find each other by a file and speak over loopback.

    By PyTorch's default the first of them waits for the others at a port that the whole network reaches.

    Args:
        meeting: the file, which is not there yet.
    """

    def __init__(self, meeting: Path):
        super().__init__(start_method="spawn")
        self._meeting = meeting

    def setup_distributed(self) -> None:
        self.set_world_ranks()
        for library in ("GLOO", "NCCL"):
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", "lo")
        store = distributed.FileStore(str(self._meeting), self.world_size)  # type: ignore[attr-defined]
        backend = self._get_process_group_backend()
        distributed.init_process_group(backend, store=store, rank=self.global_rank, world_size=self.world_size)
        super().setup_distributed()  # which finds the group made


class _EndLikeOneProcess(Callback):
    """Makes each process of a stage answer signals, and end, as a process does that is alone."""

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        # PyTorch sends SIGINT to the processes that it has started when the one that started them dies. A shell may have made
        # that one ignore the signal, which they have inherited.
        if trainer.world_size > 1:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    # Lightning answers SIGTERM from a signal handler that waits for the other processes, which may wait for something else.
    # It sets this handler before these two hooks.
    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        interrupt_on_termination()

    def on_test_start(self, trainer: Trainer, module: LightningModule) -> None:
        interrupt_on_termination()

    def teardown(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        if n_ranks() == 1:  # those of SLURM have further stages, and leave at their end
            leave_group()

    def __reduce__(self) -> tuple[Callable[[], "_EndLikeOneProcess"], tuple[Any, ...]]:
        return _unpickled, ()


def _unpickled() -> _EndLikeOneProcess:
    """The callback in a process that Lightning has started, of which this is the first function of ours."""
    summary.quiet()
    print_whoever_reads()
    return _EndLikeOneProcess()


@contextmanager
def _killing_processes_on_error(trainer: Trainer) -> Iterator[None]:
    """Whatever ends the inside early kills the processes that the trainer has started; Python would wait for them."""
    try:
        yield
    except BaseException:
        launcher = trainer.strategy.launcher
        if launcher is not None:
            launcher.kill(signal.SIGKILL)
        raise


@contextmanager
def _errors_as_in_one_process() -> Iterator[None]:
    """A `ParameterError` in a process that Lightning has started, whose traceback is all that arrives, is one here too."""
    try:
        yield
    except ProcessRaisedException as error:
        ours = re.search(r"^ratespike\.[\w.]+Error: (.*)$", str(error), re.MULTILINE)
        if ours is None:
            raise
        raise ParameterError(ours[1]) from None
