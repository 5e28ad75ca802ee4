"""The GPUs and processor cores of a host, divided among jobs that run at the same time."""

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from ratespike.execution.locks import Locks

_LOOK_AGAIN, _SAY_SO_AFTER = 0.1, 2.0  # seconds
_OF_SCHEDULERS = ("SlurmLauncher", "RayLauncher", "RayAWSLauncher")
_VISIBLE, _VISIBLE_BEFORE = "CUDA_VISIBLE_DEVICES", "RATESPIKE_CUDA_VISIBLE_DEVICES"


def max_concurrent_jobs(launcher: Mapping[str, Any]) -> int | None:
    """How many jobs a launcher of Hydra runs on this host at the same time; None if a scheduler gives each job its devices.

    Args:
        launcher: Hydra's configuration of it.
    """
    target = str(launcher["_target_"])
    if target.endswith(_OF_SCHEDULERS):
        return None
    cores = _cores()
    if "submitit" in target:  # starts all its jobs
        return max(1, cores // int(launcher.get("cpus_per_task") or 1))
    workers = int(launcher.get("n_jobs", 1))  # joblib's: -1 is all cores, -2 all but one
    return workers if workers > 0 else max(1, cores + 1 + workers)


@contextmanager
def leased(n_devices: int, accelerator: str, max_concurrent_jobs: int) -> Iterator[None]:
    """Have `n_devices` GPUs for this process alone inside; where there are none, an equal share of the cores.

    It waits until they are free; PyTorch, which must not have used a GPU before, sees only those. The lease is a lock that the
    kernel releases when the process dies. How large a share is depends on nothing else that the host does, because the last
    digits of a training depend on its number of threads.

    Args:
        n_devices: how many GPUs, or processes.
        accelerator: as Lightning names it; `cpu` wants no GPU.
        max_concurrent_jobs: how many jobs divide the cores.
    """
    import torch

    gpus = _gpus() if accelerator != "cpu" else []
    threads = max(1, min(_cores() // max_concurrent_jobs, torch.get_num_threads()))  # OMP_NUM_THREADS may say less
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(max(1, threads // n_devices))  # of each process of `ddp_spawn`
    if gpus:
        with lease([f"GPU {gpu}" for gpu in gpus], min(n_devices, len(gpus))) as names:
            os.environ[_VISIBLE] = ",".join(name.removeprefix("GPU ") for name in names)
            yield
    elif max_concurrent_jobs > 1:
        with lease([f"share {number} of the cores" for number in range(max_concurrent_jobs)], 1):
            yield
    else:
        yield


def remember_gpus() -> None:
    """Keep which GPUs this process may use for its jobs: submitit's local executor hides them all."""
    os.environ[_VISIBLE_BEFORE] = os.environ.get(_VISIBLE, "all")


@contextmanager
def lease(devices: Sequence[str], n: int) -> Iterator[list[str]]:
    """Names of `n` of the devices, which no other process of this user on this host has inside; waits for them.

    Raises:
        ValueError: there are not so many.
    """
    if n > len(devices):
        raise ValueError(f"{n} devices wanted of {len(devices)}: {', '.join(devices)}")
    locks, began = _locks(), time.monotonic()
    with locks.hold("queue"):  # who wants many is not overtaken by those who want few
        while len(mine := _take_free(locks, devices, n)) < n:
            _release(locks, mine)
            if began and time.monotonic() - began > _SAY_SO_AFTER:
                print(f"waiting for {n} of {', '.join(devices)}: other jobs have them", file=sys.stderr, flush=True)
                began = 0.0
            time.sleep(_LOOK_AGAIN)
    try:
        yield mine
    finally:
        _release(locks, mine)


def _take_free(locks: Locks, devices: Sequence[str], n: int) -> list[str]:
    """Up to `n` devices."""
    mine: list[str] = []
    for device in devices:
        if len(mine) < n and locks.take(device, wait=False):
            mine.append(device)
    return mine


def _release(locks: Locks, devices: Sequence[str]) -> None:
    for device in devices:
        locks.release(device)


def _gpus() -> list[str]:
    """The GPUs that this process may use, as the CUDA driver names them, and as somebody has who pretends to have some."""
    import torch

    hidden = os.environ.get("SUBMITIT_EXECUTOR") == "local"
    visible = os.environ.get(_VISIBLE_BEFORE if hidden else _VISIBLE, "all")
    if visible != "all":
        return [name for name in map(str.strip, visible.split(",")) if name not in ("", "-1")]
    if hidden:
        del os.environ[_VISIBLE]
    return [str(number) for number in range(torch.cuda.device_count())]


def _cores() -> int:
    return len(os.sched_getaffinity(0))


@cache
def _locks() -> Locks:
    return Locks(Path(tempfile.gettempdir()) / f"ratespike-{os.getuid()}.devices")
