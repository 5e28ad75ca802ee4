"""The GPUs and processor cores of a host, divided among jobs that run at the same time.

Each job leases its GPUs, or a share of the cores, before it starts and gives them back at its end. A lease is a lock that all
processes of the user on this host see (`execution.locks`): it holds between sweeps, whichever launcher has started the jobs,
and the kernel ends it with the process. SLURM and Ray divide devices among jobs themselves; there, nothing is leased.
"""

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

_LOOK_AGAIN = 0.1  # seconds between two looks for free devices
_REPORT_AFTER = 2.0  # seconds of waiting
_SCHEDULERS = ("SlurmLauncher", "RayLauncher", "RayAWSLauncher")  # launchers that divide devices themselves
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_VISIBLE_BEFORE = "RATESPIKE_CUDA_VISIBLE_DEVICES"  # what it was where the sweep began


def max_concurrent_jobs(launcher: Mapping[str, Any]) -> int | None:
    """How many jobs a launcher of Hydra runs on this host at the same time; None if a scheduler gives each job its devices.

    Args:
        launcher: Hydra's configuration of it.
    """
    target = str(launcher["_target_"])
    if target.endswith(_SCHEDULERS):
        return None
    cores = n_cores()
    if "submitit" in target:  # it starts all jobs; as many run as the cores allow
        return max(1, cores // int(launcher.get("cpus_per_task") or 1))
    workers = int(launcher.get("n_jobs", 1))  # as joblib counts: -1 is all cores, -2 all but one
    if workers > 0:
        return workers
    return max(1, cores + 1 + workers)


@contextmanager
def leased(n_devices: int, accelerator: str, max_concurrent_jobs: int) -> Iterator[None]:
    """Have `n_devices` GPUs for this process alone inside; where there are none, an equal share of the cores.

    It waits until they are free. PyTorch sees only those GPUs, if it has not used one before. A share of the cores depends on
    nothing but the number of jobs, because the last digits of a training depend on its number of threads.

    Args:
        n_devices: how many GPUs, or how many processes on the cores.
        accelerator: as Lightning names it; `cpu` wants no GPU.
        max_concurrent_jobs: how many jobs divide the cores.
    """
    gpus = _gpus() if accelerator != "cpu" else []
    _limit_threads(n_devices, max_concurrent_jobs)
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
    """Keep, for the jobs of this sweep, which GPUs this process may use: submitit's local launcher hides all from them."""
    os.environ[_VISIBLE_BEFORE] = os.environ.get(_VISIBLE, "all")


@contextmanager
def lease(devices: Sequence[str], n: int) -> Iterator[list[str]]:
    """Have `n` of the devices for this process alone inside; it waits until they are free.

    Args:
        devices: names that all processes of this user on this host use for the same devices.
        n: how many of them.

    Returns:
        The names of those that this process has.

    Raises:
        ValueError: there are fewer than `n`.
    """
    if n > len(devices):
        raise ValueError(f"{n} devices wanted of {len(devices)}: {', '.join(devices)}")
    locks = _locks()
    with locks.hold("queue"):  # so that jobs that want few do not overtake one that wants many
        taken = _wait_for_free(locks, devices, n)
    try:
        yield taken
    finally:
        _release(locks, taken)


def _wait_for_free(locks: Locks, devices: Sequence[str], n: int) -> list[str]:
    """The names of `n` devices, taken as soon as so many are free at once."""
    report_at = time.monotonic() + _REPORT_AFTER
    has_reported = False
    while True:
        taken = _take_free(locks, devices, n)
        if len(taken) == n:
            return taken
        _release(locks, taken)
        if time.monotonic() > report_at and not has_reported:
            print(f"waiting for {n} of {', '.join(devices)}: other jobs have them", file=sys.stderr, flush=True)
            has_reported = True
        time.sleep(_LOOK_AGAIN)


def _take_free(locks: Locks, devices: Sequence[str], n: int) -> list[str]:
    """The names of up to `n` devices that were free, and are taken now."""
    taken: list[str] = []
    for device in devices:
        if len(taken) < n and locks.take(device, wait=False):
            taken.append(device)
    return taken


def _release(locks: Locks, devices: Sequence[str]) -> None:
    for device in devices:
        locks.release(device)


def _limit_threads(n_processes: int, max_concurrent_jobs: int) -> None:
    """Give this job's share of the cores to PyTorch's threads, and an equal part of that to processes that it starts."""
    import torch

    share = n_cores() // max_concurrent_jobs
    threads = max(1, min(share, torch.get_num_threads()))  # which is below the number of cores if OMP_NUM_THREADS says so
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(max(1, threads // n_processes))


def _gpus() -> list[str]:
    """The GPUs that this process may use, by number or by the names in CUDA_VISIBLE_DEVICES."""
    import torch

    is_hidden = os.environ.get("SUBMITIT_EXECUTOR") == "local"  # submitit has set CUDA_VISIBLE_DEVICES to nothing
    visible = os.environ.get(_VISIBLE_BEFORE if is_hidden else _VISIBLE, "all")
    if visible != "all":
        return [name for name in map(str.strip, visible.split(",")) if name not in ("", "-1")]  # -1 stands for none
    if is_hidden:
        del os.environ[_VISIBLE]
    return [str(number) for number in range(torch.cuda.device_count())]


def n_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


@cache
def _locks() -> Locks:
    """The locks of this user on this host: one object for each process."""
    return Locks(Path(tempfile.gettempdir()) / f"ratespike-{os.getuid()}.devices")
