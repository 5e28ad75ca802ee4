"""One job in several processes, which SLURM starts: each of them runs this whole program.

The first process, of rank 0, does the job. Only it knows MLflow. The others are its followers: they wait for a stage, which is
a training or a test in which all processes take part, until there are no more. A stage reaches them as a pickled function, so
nothing else in the program depends on how many processes a job has. Whichever process ends first closes its connections to
the others, and these end as well.
"""

import datetime
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import cloudpickle

from ratespike.config.job import Job
from ratespike.config.schemas import RunConfig, TrainerConfig
from ratespike.parameters import ParameterError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

NOT_JOINED = 3  # the exit code of a process that has not found the others
_NEXT_STAGE_WITHIN = datetime.timedelta(days=365)  # followers wait while the first process waits for another job's training
_LEAVE_WITHIN = 30.0  # seconds


def n_ranks() -> int:
    """How many tasks `srun` has started, of which this process is one or descends from one; 1 without `srun`."""
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))  # not SLURM_NTASKS, which a batch script has too


def n_nodes() -> int:
    """The number of hosts that the tasks run on; 1 without `srun`."""
    return int(os.environ.get("SLURM_STEP_NUM_NODES", 1))


def rank() -> int:
    """This task's number, from 0; 0 without `srun`."""
    if n_ranks() == 1:
        return 0
    return int(os.environ["SLURM_PROCID"])


def check(trainer: TrainerConfig, tasks_per_node: int) -> None:
    """Check that a job uses exactly the processes that SLURM starts.

    Raises:
        ParameterError: it has another number of devices, or a strategy that starts processes of its own.
    """
    if trainer.devices != tasks_per_node:
        raise ParameterError(
            f"trainer.devices={trainer.devices}: SLURM starts {tasks_per_node} processes on each node; give {tasks_per_node}, "
            "or hydra.launcher.tasks_per_node=1"
        )
    if trainer.strategy != "auto":
        raise ParameterError(f"trainer.strategy={trainer.strategy}: SLURM starts the processes; take auto")


def divide(task: Callable[[Job[Any]], None], job: Job[Any]) -> None:
    """Do a job in the first of its processes, while the others take part in its stages.

    Args:
        task: does the job; it calls `in_all_ranks` for what all processes are to do.
        job: the same in every process.

    Raises:
        ParameterError: the job's number of devices is not the number of processes.
    """
    config = job.config
    if isinstance(config, RunConfig):
        _use_cores_of_slurm()
    if n_ranks() == 1 or not isinstance(config, RunConfig):
        task(job)
        return
    check(config.trainer, n_ranks() // n_nodes())
    with _joined(config.trainer) as group:
        if rank() == 0:
            task(replace(job, send_stage=partial(_send, group)))
            _send(group, None)  # not after an error: followers then notice that the connection is closed
        else:
            _follow(group)


def in_all_ranks(job: Job[Any], stage: Callable[[], object]) -> None:
    """Do a training or a test in all processes of a job; only the first of them calls this.

    Args:
        job: the job that `divide` has given to its task.
        stage: a function that can be pickled, so it must not refer to the job, which holds connections.
    """
    if job.send_stage is not None:
        job.send_stage(stage)
    stage()


def leave_group() -> None:
    """Close this process's connections to the others of PyTorch's process group, if it is in one.

    A process has to do so before it ends, or gloo's threads may abort it. Closing waits for operations under way, and these
    for every process that takes part, which one that hangs never does. Hence the time limit, after which the process may
    end nevertheless.
    """
    from torch import distributed

    if distributed.is_initialized():
        leaving = threading.Thread(target=distributed.destroy_process_group, daemon=True)
        leaving.start()
        leaving.join(_LEAVE_WITHIN)


def _use_cores_of_slurm() -> None:
    if "SLURM_CPUS_PER_TASK" in os.environ:
        import torch

        torch.set_num_threads(int(os.environ["SLURM_CPUS_PER_TASK"]))


@contextmanager
def _joined(trainer: TrainerConfig) -> Iterator["ProcessGroup"]:
    """Connect the processes of the job inside; the group is the one that stages are sent through."""
    from torch import distributed

    _connect(trainer)
    try:
        yield distributed.new_group(backend="gloo", timeout=_NEXT_STAGE_WITHIN)
    finally:
        leave_group()


def _connect(trainer: TrainerConfig) -> None:
    """Make PyTorch's default process group, that of trainings and tests; end this process if it does not find the others."""
    import torch
    from torch import distributed

    # Lightning reads these variables, too, when a trainer is made: both have to come to the same address.
    os.environ.setdefault("MASTER_PORT", str(_port()))
    os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(n_ranks() // n_nodes()))  # Lightning refuses to go on without it
    address = f"tcp://{_first_host()}:{os.environ['MASTER_PORT']}"
    has_gpu = torch.cuda.is_available() and trainer.accelerator != "cpu"
    backend = "nccl" if has_gpu else "gloo"
    try:
        # The backend is named because Lightning averages integers in a group without one, which gloo refuses.
        distributed.init_process_group(backend, init_method=address, rank=rank(), world_size=n_ranks())
    except RuntimeError as error:
        print(f"process {rank()} of {n_ranks()} does not find the others at {address}: {error}", file=sys.stderr)
        sys.exit(NOT_JOINED)


def _port() -> int:
    """A port for this job, another one for each attempt: the processes of the attempt before may not have ended yet."""
    attempt = int(os.environ.get("SLURM_RESTART_COUNT", 0))
    return 15_000 + (int(os.environ["SLURM_JOB_ID"]) + 1009 * attempt) % 10_000


def _first_host() -> str:
    """The host of the first process: `MASTER_ADDR`, or the first one of SLURM's list."""
    if "MASTER_ADDR" in os.environ:
        return os.environ["MASTER_ADDR"]
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

    return SLURMEnvironment(auto_requeue=False).main_address


def _send(group: "ProcessGroup", stage: Callable[[], object] | None) -> None:
    """Send a stage to the followers, or None, after which they end."""
    from torch import distributed

    distributed.broadcast_object_list([cloudpickle.dumps(stage)], src=0, group=group)


def _follow(group: "ProcessGroup") -> None:
    """Take part in one stage after the other, until the first process sends None or has ended."""
    from torch import distributed

    while True:
        received: list[Any] = [None]
        try:
            distributed.broadcast_object_list(received, src=0, group=group)
        except RuntimeError:
            print(f"process {rank()} of {n_ranks()} ends, as the first one has", file=sys.stderr)
            return
        stage = cloudpickle.loads(received[0])
        if stage is None:
            return
        stage()
