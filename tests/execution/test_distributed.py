"""The processes of one job; `tests/system/test_slurm.py` has those that SLURM starts."""

import multiprocessing
import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from program import free_port
from torch import distributed as process_groups

from ratespike.config.schemas import Config, TrainerConfig
from ratespike.execution import distributed
from ratespike.parameters import ParameterError


def add_up(folder: Path, stage: str, summand: float) -> None:
    """Something that the processes do together."""
    total = torch.tensor(summand + distributed.rank())
    process_groups.all_reduce(total)
    (folder / f"{stage} of {distributed.rank()}").write_text(str(float(total)))


def two_stages(folder: Path, job: object) -> None:
    (folder / f"begun by {distributed.rank()}").touch()
    for stage, summand in (("first", 1.0), ("second", 10.0)):
        distributed.in_all_ranks(partial(add_up, folder, stage, summand))
        if folder.name == "failing":
            raise ZeroDivisionError


def task_of_slurm(rank: int, folder: Path, port: int) -> None:
    os.environ |= {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1", "SLURM_PROCID": str(rank), "SLURM_NTASKS": "2"}
    os.environ |= {"SLURM_JOB_ID": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "SLURM_CPUS_PER_TASK": "1"}
    config = Config(trainer=TrainerConfig(devices=2, accelerator="cpu"))
    distributed.divide(partial(two_stages, folder), SimpleNamespace(config=config))  # type: ignore[arg-type]


def exit_codes(folder: Path) -> list[int | None]:
    context, port = multiprocessing.get_context("spawn"), free_port()
    tasks = [context.Process(target=task_of_slurm, args=(rank, folder, port)) for rank in range(2)]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join(60)
    return [task.exitcode for task in tasks]


def test_the_first_process_does_the_job_and_the_others_its_stages(tmp_path: Path) -> None:
    assert exit_codes(tmp_path) == [0, 0]
    told = {path.name: path.read_text() for path in tmp_path.iterdir()}
    sums = {f"{stage} of {rank}": total for stage, total in (("first", "3.0"), ("second", "21.0")) for rank in (0, 1)}
    assert told == {"begun by 0": "", **sums}


def test_no_process_outlives_the_first_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "failing"
    folder.mkdir()
    assert exit_codes(folder) == [1, 0]
    error = capfd.readouterr().err
    assert "ZeroDivisionError" in error and "process 1 of 2 ends, as the first one has" in error


def test_a_job_that_nobody_divides_is_done_as_it_is() -> None:
    done: list[object] = []
    distributed.divide(done.append, job := SimpleNamespace(config=Config()))  # type: ignore[arg-type, func-returns-value]
    assert done == [job]


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
