"""Leases of devices: never two jobs on one, whatever starts them and however they end."""

import itertools
import json
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
from program import PATIENCE, query, run

from ratespike.execution.devices import lease
from ratespike.execution.job_process import run_in_own_process

pytestmark = pytest.mark.system

DEVICES = ("0", "1", "2")
N_JOBS = 8
KILLED = 2  # the number of the job that dies


def names_of_devices(folder: Path) -> list[str]:
    """Of a host that only this test knows."""
    return [f"{folder} {device}" for device in DEVICES]


def at_work(job: tuple[int, str]) -> None:
    """Have a device until all devices have been had, and write when that was."""
    number, name_of_folder = job
    folder = Path(name_of_folder)
    with lease(names_of_devices(folder), 1) as (device,):
        began = time.monotonic()
        (folder / f"{number}.began").write_text(device)
        _wait_until_all_devices_are_had(folder)
        if number == KILLED:
            os.kill(os.getpid(), signal.SIGKILL)
        (folder / f"{number}.done").write_text(json.dumps({"device": device, "time": [began, time.monotonic()]}))


def _wait_until_all_devices_are_had(folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while len(list(folder.glob("*.began"))) < len(DEVICES):
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.05)


def job(number: int, folder: str) -> int:
    return run_in_own_process(at_work, (number, folder))


def with_joblib(folder: Path) -> Sequence[int]:
    jobs = [joblib.delayed(job)(number, str(folder)) for number in range(N_JOBS)]
    return list(joblib.Parallel(n_jobs=4, backend="loky")(jobs))


def with_submitit(folder: Path) -> Sequence[int]:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # its processes cannot import a test
    executor = submitit.LocalExecutor(folder=folder / "log")
    executor.update_parameters(timeout_min=15, tasks_per_node=1)
    jobs: list[Any] = [executor.submit(job, number, str(folder)) for number in range(N_JOBS)]
    return [job.result() for job in jobs]


@pytest.mark.parametrize("launch", [with_joblib, with_submitit])
def test_never_two_jobs_on_one_device(tmp_path: Path, launch: Callable[[Path], Sequence[int]]) -> None:
    expected = [0] * N_JOBS
    expected[KILLED] = -signal.SIGKILL
    assert list(launch(tmp_path)) == expected
    times: dict[str, list[list[float]]] = {device: [] for device in names_of_devices(tmp_path)}
    for path in tmp_path.glob("*.done"):
        done = json.loads(path.read_text())
        times[done["device"]].append(done["time"])
    assert sum(map(len, times.values())) == N_JOBS - 1
    for of_device in times.values():
        for (_, ended), (began, _) in itertools.pairwise(sorted(of_device)):
            assert ended <= began, "two jobs had one device at the same time"
    with lease(names_of_devices(tmp_path), len(DEVICES)) as taken:  # also the one of the job that has died
        assert len(taken) == len(DEVICES)


@pytest.mark.parametrize(
    ("launcher", "seeds"),
    [(("hydra/launcher=joblib", "hydra.launcher.n_jobs=3"), "0,1,2,3"), (("hydra/launcher=submitit_local",), "4,5,6,7")],
)
def test_each_job_of_a_sweep_sees_a_gpu_of_its_own(
    checkout: Path, launcher: tuple[str, ...], seeds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GPUs need not be there: without CUDA they are names."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    data = ("data.train_images=200", "data.test_images=20", "data.validation_images=20")
    code, _, error = run(checkout, "-m", "+experiment=mnist", "+debug=fast", *data, "n_steps=2", f"seed={seeds}", *launcher)
    assert code == 0, error
    rows = query(
        checkout,
        "select t.value, r.start_time, r.end_time from runs r join tags t on t.run_uuid = r.run_uuid "
        "where t.key = 'ratespike.cuda_visible_devices' and instr(?, substr(r.name, -1))",
        seeds,
    )
    assert len(rows) == 4
    assert {gpu for gpu, _, _ in rows} <= {"5", "7"}
    for gpu in ("5", "7"):
        times = sorted((int(str(began)), int(str(ended))) for seen, began, ended in rows if seen == gpu)
        for (_, ended), (began, _) in itertools.pairwise(times):
            assert ended <= began, "two jobs saw one GPU at the same time"
