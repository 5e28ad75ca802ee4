"""A sweep from its first check to its last table; Hydra's sweeper and launcher run the jobs in between.

`Sweep` is a Hydra callback, `Evaluations` that of evaluations, which have no parent run in common. What they begin `end`
closes, since Hydra calls no callback after an interruption.
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict, read_write

from ratespike.config.schemas import TrainerConfig
from ratespike.execution import distributed
from ratespike.execution.devices import remember_gpus
from ratespike.execution.job_process import INTERRUPTED
from ratespike.parameters import ParameterError
from ratespike.pipeline.saved_settings import offered, refuse_another_training
from ratespike.sweeps.objective import Objective, objectives
from ratespike.sweeps.planning import Check, Plan, check_jobs, plan
from ratespike.tracking import address

if TYPE_CHECKING:
    from ratespike.pipeline.assembly import Components
    from ratespike.tracking.runs import Run

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report its use over the network
os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # and of lines that resemble each other, as those of jobs do, show one


@dataclass(frozen=True)
class _Begun:
    """The sweep of this process: its parent run, tracked, the configuration hashes of its jobs, if known before, its goals."""

    parent: "Run"
    root: Path
    expected: tuple[str, ...] | None
    goals: tuple[Objective, ...]
    tracked: ExitStack


_begun: list[_Begun | None] = []  # the multirun of this process, one at most; None is one of evaluations


class RefusedError(SystemExit):
    """Why a multirun does not begin; an exit, because of an exception in a callback Hydra makes a warning and goes on."""

    def __init__(self, reason: Exception):
        super().__init__(f"error: {reason}")
        self.reason = reason


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


class Evaluations(Callback):
    """Checks all evaluations of a multirun before the first one starts."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        try:
            planned = plan(config)
            if not planned.are_all:
                raise ParameterError("hydra/sweeper: an evaluation has no objective to search for; list the values instead")
            _checked(config, planned, lambda _, plain: refuse_another_training(plain, offered()), _root(config))
        except Exception as error:
            raise RefusedError(error) from error
        remember_gpus()
        _begun.append(None)


def has_begun() -> bool:
    """Whether this process has begun a multirun that it has not concluded."""
    return bool(_begun)


def end() -> None:
    """Conclude the multirun that this process has begun, if it has."""
    sweep = _begun.pop() if _begun else None
    if sweep is None:
        return
    from ratespike.sweeps.finish import UnfinishedError, conclude

    cause = sys.exc_info()[1]
    try:
        with sweep.tracked:
            n_finished, n_jobs = conclude(sweep.parent, sweep.root, sweep.expected, sweep.goals, ended_early=cause is not None)
            if isinstance(cause, SystemExit) and cause.code == INTERRUPTED:
                print(f"interrupted: {n_finished} of {n_jobs} jobs have finished; the same command goes on", file=sys.stderr)
                raise KeyboardInterrupt  # the parent run is KILLED
            if isinstance(cause, Exception):
                raise cause
            if cause is not None:
                raise UnfinishedError(str(cause).removeprefix("error: "))
    except UnfinishedError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _begin(config: DictConfig, root: Path) -> str:
    """Check the jobs, open the parent run; its id."""
    if config.resume is not None:
        raise ParameterError(f"resume={config.resume}: goes on with a single run; the command of a sweep resumes by itself")
    planned = plan(config)
    goals = objectives(config.objective, config.hydra.sweeper)

    def measures_goals(components: "Components", _: Mapping[str, Any]) -> None:
        for goal in goals:
            goal.check(components.neurons)

    configurations = _checked(config, planned, measures_goals, root)

    from ratespike.pipeline import summary
    from ratespike.pipeline.fingerprint import config_hash
    from ratespike.tracking import runs
    from ratespike.tracking.status import track
    from ratespike.tracking.sweeps import SweepContext, open_parent

    summary.quiet()
    remember_gpus()
    hashes = tuple(config_hash(configuration) for configuration in configurations)
    identity = json.dumps(sorted(hashes) if planned.are_all else [hashes[0], *planned.overrides])
    longest = max(configuration["n_steps"] for configuration in configurations) if planned.are_all else 0
    sweep = hashlib.sha256(identity.encode()).hexdigest()[:16]
    context = SweepContext(sweep, planned.swept, longest, config.tracking.experiment)
    parent = open_parent(runs.connect(address.resolve(config.tracking.uri, root)), planned.name, context)
    tracked = ExitStack()
    tracked.enter_context(track(parent, root, system_metrics=False))
    _begun.append(_Begun(parent, root, hashes if planned.are_all else None, goals, tracked))
    return parent.id


def _checked(config: DictConfig, planned: Plan, further: Check, root: Path) -> list[dict[str, Any]]:
    """The configurations of the jobs, each of which the launcher can start and can run; raises `ParameterError`."""
    launcher = config.hydra.launcher
    _check_is_installed(launcher._target_)
    address.check(address.resolve(config.tracking.uri, root), exists=False)
    configurations = check_jobs(config, planned, further, root)
    _check_ranks(launcher, [TrainerConfig(**configuration["trainer"]) for configuration in configurations])
    return configurations


def _check_ranks(launcher: DictConfig, trainers: Sequence[TrainerConfig]) -> None:
    """Refuse jobs of several processes that nobody would make one job of."""
    tasks = launcher.get("tasks_per_node") or 1
    if distributed.n_ranks() > 1:
        what = f"SLURM has started {distributed.n_ranks()} processes of this sweep"
        raise ParameterError(f"-m: {what}; start one, and hydra/launcher=submitit_slurm starts those of its jobs")
    if tasks > 1 and not launcher._target_.endswith("SlurmLauncher"):
        raise ParameterError(f"hydra.launcher.tasks_per_node={tasks}: only SLURM has such; take trainer.devices={tasks}")
    if tasks > 1:
        for trainer in trainers:
            distributed.check(trainer, tasks)


def _check_is_installed(launcher: str) -> None:
    """Refuse a launcher whose configuration is ours but whose package is not there."""
    package = re.fullmatch(r"hydra_plugins\.hydra_(\w+)_launcher\..*", launcher)
    if package and not util.find_spec(f"hydra_plugins.hydra_{package[1]}_launcher"):
        raise ParameterError(f"hydra/launcher: {launcher} is not installed; pip install -e '.[{package[1]}]'")


def _root(config: DictConfig) -> Path:
    """The folder in which `conf/` lies."""
    (main,) = (source for source in config.hydra.runtime.config_sources if source.provider == "main")
    return Path(main.path).parent
