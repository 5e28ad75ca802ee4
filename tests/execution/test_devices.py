"""Leases of devices; `tests/system/test_leases.py` has launchers and deaths."""

import itertools
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ratespike.execution import devices
from ratespike.execution.devices import lease, leased, max_concurrent_jobs, remember_gpus

DEVICES = ("0", "1", "2")
N_JOBS = 3


@pytest.fixture(autouse=True)
def own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leases of these tests alone: a sweep of this user on this host would make them wait."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # of processes that a test starts
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    devices._locks.cache_clear()
    yield
    devices._locks.cache_clear()


def at_work(folder: Path, number: int) -> None:
    """Have two of a host's three devices for a while, and write when that was."""
    with lease(DEVICES, 2) as names:
        began = time.monotonic()
        time.sleep(0.1)
        (folder / f"{number}.json").write_text(json.dumps({"names": names, "time": [began, time.monotonic()]}))


def test_a_job_that_wants_two_devices_of_three_waits_for_them(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    jobs = [context.Process(target=at_work, args=(tmp_path, number)) for number in range(N_JOBS)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0] * N_JOBS
    written = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    assert [len(set(job["names"])) for job in written] == [2] * N_JOBS
    times = sorted(job["time"] for job in written)
    for (_, ended), (began, _) in itertools.pairwise(times):
        assert ended <= began, "two jobs had two of three devices at the same time"


def test_more_devices_than_there_are_cannot_be_leased() -> None:
    with pytest.raises(ValueError, match="4 devices wanted of 3"), lease(DEVICES, 4):
        pass


@pytest.mark.parametrize(
    ("launcher", "expected"),
    [
        ({"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}, 1),
        ({"_target_": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher", "n_jobs": 3}, 3),
        ({"_target_": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher", "n_jobs": -2}, 3),
        ({"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher", "cpus_per_task": 2}, 2),
        ({"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher", "cpus_per_task": None}, 4),
        ({"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"}, None),
        ({"_target_": "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher"}, None),
    ],
)
def test_how_many_jobs_share_a_host(launcher: dict[str, Any], expected: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3})
    assert max_concurrent_jobs(launcher) == expected


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of three GPUs, which need not be there; no other test uses them."""
    import torch  # not above: the processes of `at_work` import this module

    threads = torch.get_num_threads()
    names = [f"{tmp_path.name}-{number}" for number in range(3)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ", ".join(names))
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    monkeypatch.setenv("RATESPIKE_CUDA_VISIBLE_DEVICES", "")
    yield names
    torch.set_num_threads(threads)


def test_a_job_sees_the_gpus_that_it_has_leased(gpus: list[str]) -> None:
    with leased(2, "auto", max_concurrent_jobs=1):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(gpus[:2])


def test_a_job_of_submitit_sees_gpus_that_submitit_has_hidden(gpus: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    remember_gpus()
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with leased(2, "auto", max_concurrent_jobs=1):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(gpus[:2])


def test_a_job_without_gpus_has_a_share_of_the_cores(gpus: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    torch.set_num_threads(8)
    with leased(2, "cpu", max_concurrent_jobs=2):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ", ".join(gpus), "it changed which GPUs are visible"
        assert torch.get_num_threads() == 4
        assert os.environ["OMP_NUM_THREADS"] == "2"
