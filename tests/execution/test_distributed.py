"""The processes of one job; `tests/system/test_slurm.py` has those that SLURM starts."""

import multiprocessing
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from program import PATIENCE, free_port
from torch import distributed as process_groups

from ratespike.config.job import Job
from ratespike.config.schemas import Config, TrainerConfig
from ratespike.execution import distributed
from ratespike.parameters import ParameterError

STAGES = {"first": 1.0, "second": 10.0}


def make_job(trainer: TrainerConfig, root: Path) -> Job[Config]:
    return Job(Config(trainer=trainer), {}, [], root)


def add_up(folder: Path, stage: str, summand: float) -> None:
    """A stage: the processes compute a sum together, which each of them writes."""
    total = torch.tensor(summand + distributed.rank())
    process_groups.all_reduce(total)
    (folder / f"{stage} of {distributed.rank()}").write_text(str(float(total)))


def leave_work_behind() -> None:
    """A stage that leaves work to gloo's threads, which need the interpreter for it, and gives them no time to do it."""
    sys.setswitchinterval(1000)  # seconds
    for _ in range(20):
        process_groups.all_reduce(torch.zeros(100), async_op=True)


def hang() -> None:
    """A stage that the first process waits for, because the other one has stopped."""
    if distributed.rank() == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    process_groups.all_reduce(torch.zeros(1), async_op=True)


def two_stages(folder: Path, job: Job[Any]) -> None:
    (folder / f"begun by {distributed.rank()}").touch()
    for stage, summand in STAGES.items():
        distributed.in_all_ranks(job, partial(add_up, folder, stage, summand))


def fail(job: Job[Any]) -> None:
    distributed.in_all_ranks(job, leave_work_behind)
    raise ZeroDivisionError


def be_interrupted_beside_one_that_hangs(job: Job[Any]) -> None:
    distributed._LEAVE_WITHIN = 1.0  # seconds
    distributed.in_all_ranks(job, hang)
    raise SystemExit(130)


def task_of_slurm(task: Any, rank: int, folder: Path, port: int) -> None:
    """What `srun` starts twice."""
    os.environ |= {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1", "SLURM_PROCID": str(rank), "SLURM_NTASKS": "2"}
    os.environ |= {"SLURM_JOB_ID": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "SLURM_CPUS_PER_TASK": "1"}
    distributed.divide(task, make_job(TrainerConfig(devices=2, accelerator="cpu"), folder))


def exit_codes(task: Any, folder: Path, wait_for: tuple[int, ...] = (0, 1)) -> list[int | None]:
    """The exit codes of both processes of a job that does `task`; those that are not waited for are killed."""
    context = multiprocessing.get_context("spawn")
    port = free_port()
    processes = [context.Process(target=task_of_slurm, args=(task, rank, folder, port)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for rank in wait_for:
        processes[rank].join(PATIENCE)
    for process in processes:
        process.kill()
        process.join()
    return [process.exitcode for process in processes]


@pytest.mark.slow
def test_the_first_process_does_the_job_and_the_others_its_stages(tmp_path: Path) -> None:
    assert exit_codes(partial(two_stages, tmp_path), tmp_path) == [0, 0]
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    sums = {}
    for stage, summand in STAGES.items():
        for rank in (0, 1):
            sums[f"{stage} of {rank}"] = str(2 * summand + 1)
    assert written == {"begun by 0": "", **sums}


@pytest.mark.slow
def test_no_process_outlives_the_first_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nor does gloo abort one (exit code -6) that has left work to it."""
    assert exit_codes(fail, tmp_path) == [1, 0]
    error = capfd.readouterr().err
    assert "ZeroDivisionError" in error
    assert "process 1 of 2 ends, as the first one has" in error


@pytest.mark.slow
def test_a_process_ends_although_another_one_hangs(tmp_path: Path) -> None:
    codes = exit_codes(be_interrupted_beside_one_that_hangs, tmp_path, wait_for=(0,))
    assert codes == [130, -signal.SIGKILL]


def test_a_job_of_one_process_is_done_as_it_is(tmp_path: Path) -> None:
    done: list[Job[Any]] = []
    job = make_job(TrainerConfig(), tmp_path)
    distributed.divide(done.append, job)
    assert done == [job]
    stages: list[str] = []
    distributed.in_all_ranks(job, lambda: stages.append("here"))
    assert stages == ["here"]


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        (TrainerConfig(devices=1), "trainer.devices=1: SLURM starts 2 processes on each node; give 2"),
        (TrainerConfig(devices=2, strategy="ddp_spawn"), "trainer.strategy=ddp_spawn: SLURM starts the processes; take auto"),
    ],
)
def test_processes_and_devices_go_together(trainer: TrainerConfig, message: str) -> None:
    distributed.check(TrainerConfig(devices=2), 2)
    with pytest.raises(ParameterError, match=message):
        distributed.check(trainer, 2)
