"""A sweep from its first check to its last table; Hydra's sweeper and launcher run the jobs in between.

`Sweep` is a Hydra callback. What it opens `end` closes, since Hydra calls no callback after an interruption.
"""

import hashlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict, read_write

from ratespike import ranks
from ratespike.config import Config, RunConfig, TrainerConfig
from ratespike.devices import leased, remember_gpus
from ratespike.own_process import INTERRUPTED, run_in_own_process
from ratespike.parameters import ParameterError
from ratespike.sweep.jobs import check_jobs, plan
from ratespike.sweep.objective import Objective, is_done, objectives, reached
from ratespike.tracking import address

if TYPE_CHECKING:
    from ratespike.command import Job
    from ratespike.tracking.runs import Run

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report its use over the network
os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # and of lines that resemble each other, as those of jobs do, show one


_SLURM_KILLS_AFTER = 600  # seconds, at most; KillWait says


@dataclass(frozen=True)
class _Begun:
    """The sweep of this process: its parent run, tracked, the configuration hashes of its jobs, if known before, its goals."""

    parent: "Run"
    root: Path
    expected: tuple[str, ...] | None
    goals: tuple[Objective, ...]
    tracked: ExitStack


_begun: list[_Begun] = []  # one at most


class RefusedError(SystemExit):
    """Why a sweep does not begin; an exit, because of an exception in a callback Hydra makes a warning and goes on."""

    def __init__(self, reason: Exception):
        super().__init__(f"error: {reason}")
        self.reason = reason


class JobFailedError(Exception):
    """A job of a multirun that is no sweep with a parent run, or of a search, has failed; it has said why."""


class Sweep(Callback):
    """Checks all jobs of a sweep before the first one starts, and opens the parent run that they are shown below."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        try:
            parent = _begin(config, root=_root(config))
        except Exception as error:
            raise RefusedError(error) from error
        with read_write(config), open_dict(config):
            config.hydra.overrides.task.append(f"tracking.parent={parent}")
            if config.objective and not any("max_failure_rate" in given for given in config.hydra.overrides.hydra):
                config.hydra.sweeper.max_failure_rate = 1.0  # Optuna's: a trial that diverges would end the search for good


def run_job(task: "Callable[[Job[Any]], None]", job: "Job[Any]") -> list[float] | float | None:
    """One job of a multirun, in a process of its own; whatever happens to it, the others go on.

    Returns:
        What it has reached, if the multirun is a search, whether now or before.

    Raises:
        JobFailedError: it has failed, and no sweep's conclusion will say so. Hydra raises it when the others have ended.
    """
    is_of_sweep = isinstance(job.config, Config)
    code = 0 if is_of_sweep and is_done(job) else _in_own_process(task, job)
    is_search = is_of_sweep and job.config.objective is not None
    value = reached(job) if is_search and code == 0 else None
    if (is_search and value is None) or (code != 0 and not is_of_sweep):
        raise JobFailedError(f"job #{job.number} of this multirun failed; the same command tries it again")
    return value


def _in_own_process(task: "Callable[[Job[Any]], None]", job: "Job[Any]") -> int:
    code = run_in_own_process(partial(_on_its_devices, task), job)
    if code == ranks.NOT_JOINED or (code != 0 and ranks.rank() > 0):
        sys.exit(code)  # SLURM ends the job's other processes then
    if code == INTERRUPTED and "SLURM_JOB_ID" in os.environ:
        _wait_for_slurm()
    if code < 0:
        reason = f"killed by {signal.Signals(-code).name}{' (out of memory?)' if -code == signal.SIGKILL else ''}"
        print(f"#{job.number}: {reason}", file=sys.stderr, flush=True)
        from ratespike.sweep.conclusion import bury

        bury(job, reason)
    return code


def _wait_for_slurm() -> None:
    """Leave it to SLURM what becomes of a job that it has told to end: submitit would take the end for a result."""
    time.sleep(_SLURM_KILLS_AFTER)
    sys.exit(INTERRUPTED)


def _on_its_devices(task: "Callable[[Job[Any]], None]", job: "Job[Any]") -> None:
    if job.at_once is None or not isinstance(job.config, RunConfig):
        ranks.divide(task, job)
        return
    with leased(job.config.trainer.devices, job.config.trainer.accelerator, job.at_once):
        task(job)


def has_begun() -> bool:
    """Whether this process has begun a sweep that it has not concluded."""
    return bool(_begun)


def end() -> None:
    """Conclude the sweep that this process has begun, if it has."""
    if not _begun:
        return
    sweep = _begun.pop()
    from ratespike.sweep.conclusion import UnfinishedError, conclude

    cause = sys.exc_info()[1]
    interrupted = cause is not None
    try:
        with sweep.tracked:
            conclude(sweep.parent, sweep.root, sweep.expected, sweep.goals, interrupted=interrupted)
            if interrupted:
                raise KeyboardInterrupt  # the parent run is KILLED
    except UnfinishedError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(cause.code if isinstance(cause, SystemExit) else INTERRUPTED)


def _begin(config: DictConfig, root: Path) -> str:
    """Check the jobs, open the parent run; its id."""
    if config.resume is not None:
        raise ParameterError(f"resume={config.resume}: goes on with a single run; the command of a sweep resumes by itself")
    _check_is_installed(config.hydra.launcher._target_)
    planned = plan(config)
    goals = objectives(config.objective, config.hydra.sweeper)
    uri = address.resolve(config.tracking.uri, root)
    address.check(uri, exists=False)
    configurations = check_jobs(config, planned.jobs, planned.swept, goals, root)
    _check_ranks(config.hydra.launcher, [TrainerConfig(**configuration["trainer"]) for configuration in configurations])

    from ratespike import terminal
    from ratespike.identity import config_hash
    from ratespike.tracking import runs
    from ratespike.tracking.status import track
    from ratespike.tracking.sweeps import Membership, open_parent

    terminal.quiet()
    remember_gpus()
    hashes = tuple(config_hash(configuration) for configuration in configurations)
    identity = json.dumps([sorted(hashes), *([] if planned.are_all else planned.overrides)])
    longest = max(configuration["n_steps"] for configuration in configurations) if planned.are_all else 0
    sweep = hashlib.sha256(identity.encode()).hexdigest()[:16]
    membership = Membership(sweep, planned.swept, longest, config.tracking.experiment)
    parent = open_parent(runs.connect(uri), planned.name, membership)
    tracked = ExitStack()
    tracked.enter_context(track(parent, root, system_metrics=False))
    _begun.append(_Begun(parent, root, hashes if planned.are_all else None, goals, tracked))
    return parent.id


def _check_ranks(launcher: DictConfig, trainers: Sequence[TrainerConfig]) -> None:
    """Refuse jobs of several processes that nobody would make one job of."""
    tasks = launcher.get("tasks_per_node") or 1
    if ranks.n_ranks() > 1:
        what = f"SLURM has started {ranks.n_ranks()} processes of this sweep"
        raise ParameterError(f"-m: {what}; start one, and hydra/launcher=submitit_slurm starts those of its jobs")
    if tasks > 1 and not launcher._target_.endswith("SlurmLauncher"):
        raise ParameterError(f"hydra.launcher.tasks_per_node={tasks}: only SLURM has such; take trainer.devices={tasks}")
    if tasks > 1:
        for trainer in trainers:
            ranks.check(trainer, tasks)


def _check_is_installed(launcher: str) -> None:
    """Refuse a launcher whose configuration is ours but whose package is not there."""
    package = re.fullmatch(r"hydra_plugins\.hydra_(\w+)_launcher\..*", launcher)
    if package and not util.find_spec(f"hydra_plugins.hydra_{package[1]}_launcher"):
        raise ParameterError(f"hydra/launcher: {launcher} is not installed; pip install -e '.[{package[1]}]'")


def _root(config: DictConfig) -> Path:
    """The folder in which `conf/` lies."""
    (main,) = (source for source in config.hydra.runtime.config_sources if source.provider == "main")
    return Path(main.path).parent
