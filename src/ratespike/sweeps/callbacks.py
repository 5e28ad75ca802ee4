"""A multirun from its first check to its last table; Hydra's sweeper and launcher run the jobs in between.

`multirun` is a context around Hydra's main function. Inside, Hydra calls one of two callbacks before the first job: `Sweep`
checks all jobs and opens the parent run that they are shown below; `Evaluations`, whose runs have no parent in common, only
checks. When the context ends, however it ends, the parent run is concluded: Hydra calls no callback after an interruption.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from ratespike.execution.devices import remember_gpus
from ratespike.execution.job_process import INTERRUPTED
from ratespike.parameters import ParameterError
from ratespike.pipeline.saved_settings import refuse_another_training
from ratespike.sweeps.errors import JobFailedError, RefusedError, UnfinishedError
from ratespike.sweeps.objective import Objective, objectives
from ratespike.sweeps.planning import SweepPlan, check_multirun, plan
from ratespike.tracking import address

if TYPE_CHECKING:
    from ratespike.pipeline.assembly import Components
    from ratespike.tracking.runs import Run

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report its use over the network
os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # and of lines that resemble each other, as those of jobs do, show one

_KNOWN_ERRORS = (HydraException, OmegaConfBaseException, ParameterError, JobFailedError)


@dataclass(frozen=True)
class OpenSweep:
    """A sweep whose parent run is RUNNING.

    Attributes:
        parent: the run that the jobs are shown below.
        root: where relative paths start.
        expected: configuration hashes of its jobs; None if they are not known before, as in a search.
        goals: what a search is after; empty for a sweep.
        register: the name by which the registry gets its best run; None if it does not.
        tracked: keeps the parent run's status until it is closed.
    """

    parent: "Run"
    root: Path
    expected: tuple[str, ...] | None
    goals: tuple[Objective, ...]
    register: str | None
    tracked: ExitStack


@dataclass
class Multirun:
    """What a program knows of the multirun that it may be.

    Attributes:
        trained: the settings of the network that evaluations are of; empty for a training.
        root: where relative paths start.
        has_begun: whether its jobs have been checked and may run.
        sweep: its parent run; None before it begins, and for evaluations.
    """

    trained: Mapping[str, Any]
    root: Path
    has_begun: bool = False
    sweep: OpenSweep | None = None


_current: ContextVar[Multirun] = ContextVar("multirun")  # how Hydra's callbacks find the context that they are called in


@contextmanager
def multirun(trained: Mapping[str, Any], root: Path) -> Iterator[None]:
    """Conclude the multirun that Hydra runs inside, if it runs one.

    Args:
        trained: the settings of the network that evaluations are of; empty for a training.
        root: where relative paths start.

    Raises:
        UnfinishedError: jobs have not finished, or the launcher gave up.
        KeyboardInterrupt: somebody interrupted it; how many jobs had finished is printed.
    """
    current = Multirun(trained, root)
    token = _current.set(current)
    try:
        yield
    except BaseException as cause:
        if not current.has_begun:
            raise
        reason = _reason(cause)
        if current.sweep is not None:
            _conclude(current.sweep, reason)
        if reason is cause:
            raise
        raise reason from cause
    else:
        if current.sweep is not None:
            _conclude(current.sweep, None)
    finally:
        _current.reset(token)


class Sweep(Callback):
    """Checks all jobs of a sweep before the first one starts, and opens the parent run that they are shown below."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        current = _current.get()
        try:
            current.sweep = _open_sweep(config, current.root)
        except Exception as error:
            raise RefusedError(error) from error
        current.has_begun = True
        with read_write(config), open_dict(config):
            config.hydra.overrides.task.append(f"tracking.parent={current.sweep.parent.id}")
            # here, as Hydra refuses a configuration of ours that extends Optuna's, which has a defaults list
            if config.objective and not any("max_failure_rate" in given for given in config.hydra.overrides.hydra):
                config.hydra.sweeper.max_failure_rate = 1.0  # Optuna's: a trial that diverges would end the search for good


class Evaluations(Callback):
    """Checks all evaluations of a multirun before the first one starts."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        current = _current.get()

        def has_same_training(_: "Components", plain: Mapping[str, Any]) -> None:
            refuse_another_training(plain, current.trained)

        try:
            planned = plan(config)
            if not planned.are_all:
                raise ParameterError("hydra/sweeper: an evaluation has no objective to search for; list the values instead")
            check_multirun(config, planned, has_same_training, current.root)
        except Exception as error:
            raise RefusedError(error) from error
        remember_gpus()
        current.has_begun = True


def _open_sweep(config: DictConfig, root: Path) -> OpenSweep:
    """Check all jobs, then open the parent run; raises `ParameterError` if a job cannot run."""
    if config.resume is not None:
        raise ParameterError(f"resume={config.resume}: goes on with a single run; the command of a sweep resumes by itself")
    planned = plan(config)
    if "register" in planned.swept:
        raise ParameterError("register: a sweep registers its best run by one name; give one")
    goals = objectives(config.objective, config.hydra.sweeper)

    def measures_goals(components: "Components", _: Mapping[str, Any]) -> None:
        for goal in goals:
            goal.check(components.neurons, components.splits.classes)

    configurations = check_multirun(config, planned, measures_goals, root)

    from ratespike.pipeline import summary
    from ratespike.pipeline.fingerprint import config_hash, data_content
    from ratespike.tracking import store
    from ratespike.tracking.bring_in import bring_in_all
    from ratespike.tracking.status import track
    from ratespike.tracking.sweeps import SweepContext, open_parent

    summary.quiet()
    remember_gpus()
    hashes = tuple(config_hash(plain, data_content(plain, root)) for plain in configurations)
    context = SweepContext(
        sweep=_sweep_hash(planned, hashes),
        swept=planned.swept,
        longest=_longest_simulation(planned, configurations),
        experiment=config.tracking.experiment,
    )
    client = store.connect(address.resolve(config.tracking.uri, root))
    tracked = ExitStack()
    with store.refusals_in_one_line(client):
        bring_in_all(client, root)
        parent = open_parent(client, planned.name, context)
        tracked.enter_context(track(parent, root, system_metrics=False))
    return OpenSweep(parent, root, hashes if planned.are_all else None, goals, config.register, tracked)


def _sweep_hash(planned: SweepPlan, hashes: tuple[str, ...]) -> str:
    """The same for the same jobs, so that the same command finds its parent run again; of a search, for the same overrides."""
    identity = sorted(hashes) if planned.are_all else [hashes[0], *planned.overrides]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]


def _longest_simulation(planned: SweepPlan, configurations: list[dict[str, Any]]) -> int:
    """The largest `n_steps` of all jobs; 0 if the jobs are not known before, or if `n_steps` is not swept."""
    if not planned.are_all or "n_steps" not in planned.swept:
        return 0
    return max(int(configuration["n_steps"]) for configuration in configurations)


def _conclude(sweep: OpenSweep, reason: BaseException | None) -> None:
    """Settle the parent run: FINISHED, KILLED by an interruption, or FAILED with the reason.

    Args:
        sweep: whose jobs have ended.
        reason: what ended them early; None if they ran to their end.

    Raises:
        UnfinishedError: not all jobs have finished.
        ParameterError: all have, and the best run cannot be registered.
    """
    from ratespike.sweeps.finish import finish, register_best
    from ratespike.tracking.store import refusals_in_one_line

    try:
        with (
            refusals_in_one_line(sweep.parent.client),
            sweep.tracked,
        ):  # gives the run the status that what leaves it stands for
            n_finished, n_jobs = finish(sweep.parent, sweep.root, sweep.expected, sweep.goals, ended_early=reason is not None)
            if isinstance(reason, KeyboardInterrupt):
                print(f"interrupted: {n_finished} of {n_jobs} jobs have finished; the same command goes on", file=sys.stderr)
            if reason is not None:
                raise reason
    except BaseException as error:
        if error is not reason:
            raise
    if reason is None and sweep.register is not None:
        register_best(sweep.parent, sweep.register)


def _reason(cause: BaseException) -> BaseException:
    """What ended a multirun that had begun, as an interruption or an error whose message says what to do."""
    if isinstance(cause, SystemExit) and cause.code == INTERRUPTED:
        return KeyboardInterrupt()
    if isinstance(cause, SystemExit) and isinstance(cause.code, str):
        return UnfinishedError(cause.code.removeprefix("error: "))
    if isinstance(cause, (SystemExit, KeyboardInterrupt, *_KNOWN_ERRORS)):
        return cause
    first_line = next(iter(str(cause).strip().splitlines()), "")[:300]
    why = f"{type(cause).__name__}: {first_line}"
    return UnfinishedError(f"the launcher gave up ({why}); mend that and give the same command again")
