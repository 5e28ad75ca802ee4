"""The processes of one job that SLURM has started: the first does the job, the others take part in its trainings and tests.

Only the first one knows of MLflow. What the others are to do they are told: a function, with everything it needs.
"""

import datetime
import os
import sys
from collections.abc import Callable
from typing import Any

import cloudpickle

from ratespike.config.job import Job
from ratespike.config.schemas import RunConfig, TrainerConfig
from ratespike.parameters import ParameterError

NOT_JOINED = 3  # the exit code of a process that has not found the others
_PATIENCE = datetime.timedelta(days=365)  # the others wait for as long as the first one waits for another job's training
_telling: list[Any] = []  # torch's group of processes that the first one tells what to do; one at most


def n_ranks() -> int:
    """How many tasks `srun` has started, of which this process is one or descends from one; 1 without `srun`."""
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))


def n_nodes() -> int:
    """On how many hosts they are."""
    return int(os.environ.get("SLURM_STEP_NUM_NODES", 1))


def rank() -> int:
    """This one's number among them."""
    return int(os.environ["SLURM_PROCID"]) if n_ranks() > 1 else 0


def check(trainer: TrainerConfig, tasks_per_node: int) -> None:
    """Raise `ParameterError` if a job is to use another number of devices than there are processes for, or to start its own."""
    if trainer.devices != tasks_per_node:
        raise ParameterError(
            f"trainer.devices={trainer.devices}: SLURM starts {tasks_per_node} processes on each node; give {tasks_per_node}, "
            "or hydra.launcher.tasks_per_node=1"
        )
    if trainer.strategy != "auto":
        raise ParameterError(f"trainer.strategy={trainer.strategy}: SLURM starts the processes; take auto")


def divide(task: Callable[[Job[Any]], None], job: Job[Any]) -> None:
    """Do `task(job)` in the first of the job's processes, with the help of the others.

    Raises:
        ParameterError: the job is to use another number of devices than there are processes for.
    """
    if isinstance(job.config, RunConfig):
        _use_cores_of_slurm()
    if n_ranks() == 1 or not isinstance(job.config, RunConfig):
        task(job)
        return
    check(job.config.trainer, n_ranks() // n_nodes())
    _join(job.config.trainer)
    if rank() == 0:
        task(job)
        _tell(None)  # not after an error: the others end then because this process does
    else:
        _follow()
    _leave()


def _use_cores_of_slurm() -> None:
    if "SLURM_CPUS_PER_TASK" in os.environ:
        import torch

        torch.set_num_threads(int(os.environ["SLURM_CPUS_PER_TASK"]))


def _join(trainer: TrainerConfig) -> None:
    import torch
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from torch import distributed

    again = int(os.environ.get("SLURM_RESTART_COUNT", 0))  # the processes of an attempt before may not have ended yet
    os.environ.setdefault("MASTER_PORT", str(15_000 + (int(os.environ["SLURM_JOB_ID"]) + 1009 * again) % 10_000))
    os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(n_ranks() // n_nodes()))  # without which Lightning refuses
    first = SLURMEnvironment(auto_requeue=False)
    where = f"tcp://{first.main_address}:{first.main_port}"
    backend = "nccl" if torch.cuda.is_available() and trainer.accelerator != "cpu" else "gloo"
    try:
        distributed.init_process_group(backend, init_method=where, rank=rank(), world_size=n_ranks())
    except RuntimeError as error:
        print(f"process {rank()} of {n_ranks()} does not find the others at {where}: {error}", file=sys.stderr)
        sys.exit(NOT_JOINED)
    _telling.append(distributed.new_group(backend="gloo", timeout=_PATIENCE))


def _leave() -> None:
    from torch import distributed

    _telling.clear()
    distributed.destroy_process_group()


def in_all_ranks(stage: Callable[[], Any]) -> None:
    """Do a training or a test in all processes of the job; only the first of them calls this."""
    if _telling:
        _tell(stage)
    stage()


def _tell(stage: Callable[[], Any] | None) -> None:
    from torch import distributed

    distributed.broadcast_object_list([cloudpickle.dumps(stage)], src=0, group=_telling[0])


def _follow() -> None:
    from torch import distributed

    while True:
        told: list[Any] = [None]
        try:
            distributed.broadcast_object_list(told, src=0, group=_telling[0])
        except RuntimeError:
            print(f"process {rank()} of {n_ranks()} ends, as the first one has", file=sys.stderr)
            return
        stage = cloudpickle.loads(told[0])
        if stage is None:
            return
        stage()
