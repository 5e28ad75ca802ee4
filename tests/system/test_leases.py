"""Leases of devices: never two jobs on one, whatever starts them and however they end."""

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import pytest
import submitit
from program import query, run

from ratespike.execution.devices import lease
from ratespike.execution.job_process import run_in_own_process

pytestmark = pytest.mark.system

DEVICES = ("0", "1", "2")
N_JOBS, KILLED = 8, 2  # the number of the job that dies
HELD = 1.5  # seconds, longer than processes take to start one after the other


def at_work(job: tuple[int, str, str]) -> None:
    """Takes a device of a host that has `DEVICES` and writes when it had it; the names differ between tests."""
    number, folder, host = job
    with lease([f"{host} {device}" for device in DEVICES], 1) as (device,):
        began = time.monotonic()
        (Path(folder) / f"{number}.began").write_text(device)
        time.sleep(HELD)
        if number == KILLED:
            os.kill(os.getpid(), signal.SIGKILL)
        (Path(folder) / f"{number}.done").write_text(f"{device.split()[-1]} {began} {time.monotonic()}")


def job(number: int, folder: str, host: str) -> int:
    return run_in_own_process(at_work, (number, folder, host))


def with_joblib(folder: Path) -> Sequence[int]:
    jobs = [joblib.delayed(job)(number, str(folder), str(folder)) for number in range(N_JOBS)]
    return list(joblib.Parallel(n_jobs=4, backend="loky")(jobs))


def with_submitit(folder: Path) -> Sequence[int]:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # its processes cannot import a test
    executor = submitit.LocalExecutor(folder=folder / "log")
    executor.update_parameters(timeout_min=5, tasks_per_node=1)
    jobs: list[Any] = [executor.submit(job, number, str(folder), str(folder)) for number in range(N_JOBS)]
    return [job.result() for job in jobs]


@pytest.mark.parametrize("launch", [with_joblib, with_submitit])
def test_never_two_jobs_on_one_device(tmp_path: Path, launch: Callable[[Path], Sequence[int]]) -> None:
    codes = launch(tmp_path)
    assert list(codes) == [-signal.SIGKILL if number == KILLED else 0 for number in range(N_JOBS)]
    of_killed = (tmp_path / f"{KILLED}.began").read_text().split()[-1]
    used: dict[str, list[tuple[float, float]]] = {device: [] for device in DEVICES}
    for path in tmp_path.glob("*.done"):
        device, began, ended = path.read_text().split()
        used[device].append((float(began), float(ended)))
    assert sum(map(len, used.values())) == N_JOBS - 1 and all(used.values())
    for times in map(sorted, used.values()):
        for (_, ended), (began, _) in itertools.pairwise(times):
            assert ended <= began
    died = (tmp_path / f"{KILLED}.began").stat().st_mtime + HELD
    later = [path for path in tmp_path.glob("*.began") if path.stat().st_mtime >= died]
    assert of_killed in {path.read_text().split()[-1] for path in later}


@pytest.mark.parametrize("launcher", ["hydra/launcher=joblib hydra.launcher.n_jobs=3", "hydra/launcher=submitit_local"])
def test_each_job_of_a_sweep_sees_a_gpu_of_its_own(checkout: Path, launcher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretended ones: without CUDA they are names."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    slices = ("data.train_images=200", "data.test_images=20", "data.validation_images=20")
    launched = launcher.split()
    seeds = "0,1,2,3" if len(launched) == 2 else "4,5,6,7"
    code, _, error = run(checkout, "-m", "+experiment=mnist", "+debug=fast", *slices, "n_steps=2", f"seed={seeds}", *launched)
    assert code == 0, error
    rows = query(
        checkout,
        "select t.value, r.start_time, r.end_time from runs r join tags t on t.run_uuid = r.run_uuid "
        "where t.key = 'ratespike.cuda_visible_devices' and instr(?, substr(r.name, -1))",
        seeds,
    )
    assert {device for device, _, _ in rows} == {"5", "7"} and len(rows) == 4
    for device in ("5", "7"):
        times = sorted((int(str(began)), int(str(ended))) for name, began, ended in rows if name == device)
        assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(times))
