"""A job of a multirun: answered if it has been done before, else done in a process of its own, on its devices."""

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ratespike.config.job import Job
from ratespike.config.schemas import Config, RunConfig
from ratespike.execution import distributed
from ratespike.execution.devices import leased
from ratespike.execution.job_process import INTERRUPTED, run_in_own_process
from ratespike.sweeps.errors import JobFailedError
from ratespike.sweeps.objective import is_done, reached
from ratespike.tracking import address

PRELOAD = ("ratespike.sweeps.imported_by_jobs",)  # by its name: this process does without it
_SLURM_KILLS_AFTER = 600  # seconds, at most; KillWait says


def run_job(task: Callable[[Job[Any]], None], job: Job[Any]) -> list[float] | float | None:
    """One job of a multirun, in a process of its own; whatever happens to it, the others go on.

    Returns:
        The objectives that it has reached, now or before, if the multirun is a search; else None.

    Raises:
        JobFailedError: it has failed, and no sweep's conclusion will say so. Hydra raises it when the others have ended.
    """
    is_of_sweep = isinstance(job.config, Config)
    is_search = is_of_sweep and job.config.objective is not None
    exit_code = 0
    if is_of_sweep:
        address.wait_for_server(address.resolve(job.config.tracking.uri, job.root))
    if not (is_of_sweep and is_done(job)):
        exit_code = _in_own_process(task, job)
    failed = JobFailedError(f"job #{job.number} of this multirun has no result; the same command tries it again")
    if is_search:
        value = reached(job) if exit_code == 0 else None
        if value is None:
            raise failed
        return value
    if exit_code != 0 and not is_of_sweep:
        raise failed
    return None


def _in_own_process(task: Callable[[Job[Any]], None], job: Job[Any]) -> int:
    code = run_in_own_process(partial(_on_its_devices, task), job, PRELOAD)
    if code == distributed.NOT_JOINED or (code != 0 and distributed.rank() > 0):
        sys.exit(code)  # SLURM ends the job's other processes then
    if code == INTERRUPTED and os.environ.get("SUBMITIT_EXECUTOR") == "slurm":
        _wait_for_slurm()
    if code < 0:
        reason = f"killed by {signal.Signals(-code).name}{' (out of memory?)' if -code == signal.SIGKILL else ''}"
        print(f"#{job.number}: {reason}", file=sys.stderr, flush=True)
        from ratespike.sweeps.finish import mark_failed

        mark_failed(job, reason)
    return code


def _wait_for_slurm() -> None:
    """Leave it to SLURM what becomes of a job that it has told to end: submitit would take the end for a result."""
    time.sleep(_SLURM_KILLS_AFTER)
    sys.exit(INTERRUPTED)


def _on_its_devices(task: Callable[[Job[Any]], None], job: Job[Any]) -> None:
    if job.max_concurrent_jobs is None or not isinstance(job.config, RunConfig):
        distributed.divide(task, job)
        return
    with leased(job.config.trainer.devices, job.config.trainer.accelerator, job.max_concurrent_jobs):
        task(job)
