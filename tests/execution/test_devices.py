"""Leases of devices; `tests/system/test_leases.py` has launchers and deaths."""

import itertools
import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ratespike.execution.devices import lease, leased, max_concurrent_jobs, remember_gpus

DEVICES = ("0", "1", "2")


def at_work(folder: Path, number: int) -> None:
    """Writes when it had two of a host's three devices; names differ between tests."""
    with lease([f"{folder} {device}" for device in DEVICES], 2) as names:
        began = time.monotonic()
        time.sleep(0.1)
        (folder / f"{number}").write_text(f"{began} {time.monotonic()} {len(names)}")


def test_who_wants_many_waits_for_them(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    jobs = [context.Process(target=at_work, args=(tmp_path, number)) for number in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    had = sorted(tuple(map(float, path.read_text().split())) for path in tmp_path.iterdir())
    assert len(had) == 3 and all(ended <= began for (_, ended, _), (began, _, _) in itertools.pairwise(had))
    assert {number for _, _, number in had} == {2}


def test_who_wants_more_than_there_are_is_told() -> None:
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
    """GPUs that somebody pretends to have, of names that no other test uses."""
    threads = torch.get_num_threads()
    names = [f"{tmp_path.name}-{number}" for number in range(3)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ", ".join(names))
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    monkeypatch.setenv("RATESPIKE_CUDA_VISIBLE_DEVICES", "")
    yield names
    torch.set_num_threads(threads)


def test_a_job_sees_the_gpus_that_it_has_leased(gpus: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    remember_gpus()
    with leased(2, "auto", max_concurrent_jobs=1):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(gpus[:2])
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # as that does
    with leased(2, "auto", max_concurrent_jobs=1):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(gpus[:2])


def test_a_job_without_gpus_has_a_share_of_the_cores(gpus: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    torch.set_num_threads(8)
    with leased(2, "cpu", max_concurrent_jobs=2):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ", ".join(gpus)
        assert torch.get_num_threads() == 4 and os.environ["OMP_NUM_THREADS"] == "2"
