"""The jobs of a multirun before any of them starts: which they are, and that each of them can run."""

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from ratespike.config.naming import asked_for, job_name, key_of, short_names
from ratespike.config.schemas import TrainerConfig, check
from ratespike.execution import distributed
from ratespike.parameters import ParameterError
from ratespike.sweeps.hydra_internals import BASIC_SWEEPER, jobs_of_basic_sweeper
from ratespike.tracking import address

if TYPE_CHECKING:
    from ratespike.pipeline.assembly import Components

CheckJob = Callable[["Components", Mapping[str, Any]], None]  # of a job that is built, and of its configuration


@dataclass(frozen=True)
class SweepPlan:
    """What a multirun is going to do.

    Attributes:
        jobs: each job's overrides; of a sweeper that decides as it goes, some with every option that it may choose from, and
            with the ends of every range.
        are_all: whether these are all jobs that there will be.
        swept: keys of the overrides that differ between jobs.
        overrides: the sweep's, as a person reads them.
    """

    jobs: Sequence[Sequence[str]]
    are_all: bool
    swept: tuple[str, ...]
    overrides: tuple[str, ...]

    @property
    def name(self) -> str:
        """What is swept over which values, such as `sweep tau_rc=0.01,0.02`."""
        names = short_names(self.swept, self.swept)
        words = ["sweep"]
        for override in self.overrides:
            key = key_of(override)
            if key in names:
                words.append(f"{names[key]}={override.partition('=')[2]}")
        return " ".join(words)


def plan(config: DictConfig) -> SweepPlan:
    """Read the jobs from Hydra's own configuration of a multirun."""
    sweeper = config.hydra.sweeper
    written_down = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]  # in a +sweep= file
    overrides = (*written_down, *asked_for(config.hydra.overrides.task))
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    parsed = parser.parse_overrides(list(overrides))
    swept = tuple(override.get_key_element().lstrip("+~") for override in parsed if override.is_sweep_override())
    if sweeper._target_ == BASIC_SWEEPER:
        return SweepPlan(jobs_of_basic_sweeper(parsed), True, swept, overrides)
    choices = [_choices(override) for override in parsed]
    return SweepPlan(_few_jobs_with_every_choice(choices), False, swept, overrides)


def check_multirun(config: DictConfig, planned: SweepPlan, check_job: CheckJob, root: Path) -> list[dict[str, Any]]:
    """The configurations of all jobs, each of which the launcher can start and can run.

    Args:
        config: Hydra's, of the whole multirun.
        planned: the jobs.
        check_job: raises `ParameterError` for a job that cannot run for a reason of the caller's.
        root: where relative paths start.

    Raises:
        ParameterError: a launcher that is not installed, a store that cannot be reached, jobs that cannot run.
    """
    launcher = config.hydra.launcher
    _check_is_installed(launcher._target_)
    address.check(address.resolve(config.tracking.uri, root), exists=False)
    configurations = _check_jobs(config, planned, check_job, root)
    _check_ranks(launcher, [TrainerConfig(**configuration["trainer"]) for configuration in configurations])
    return configurations


def _few_jobs_with_every_choice(choices: Sequence[Sequence[str]]) -> list[list[str]]:
    """As few jobs as have each choice of each override; the first job has the first of each.

    Example:
        >>> _few_jobs_with_every_choice([["a=1", "a=2"], ["b=1"]])
        [['a=1', 'b=1'], ['a=2', 'b=1']]
    """
    n_jobs = max(map(len, choices), default=1)
    jobs = []
    for number in range(n_jobs):
        jobs.append([own[min(number, len(own) - 1)] for own in choices])
    return jobs


def _choices(override: Override) -> list[str]:
    """An override with each of the values that it leaves open; of a range with its ends."""
    values = _open_values(override)
    if not values:
        return [str(override.input_line)]
    key = override.get_key_element()
    return [f"{key}={value}" for value in values]


def _open_values(override: Override) -> list[Any]:
    """The values that an override sweeps over; of an interval or a range its ends; none for a single value."""
    if override.is_interval_sweep():
        interval = override.value()
        assert isinstance(interval, IntervalSweep)
        return [interval.start, interval.end]
    if not override.is_discrete_sweep():
        return []
    sweep = override.value()
    assert isinstance(sweep, ChoiceSweep | RangeSweep)
    if isinstance(sweep, RangeSweep) and not sweep.shuffle:
        return list(_ends(sweep))
    values = list(override.sweep_string_iterator())
    return sorted(values) if sweep.shuffle else values


def _ends(sweep: RangeSweep) -> tuple[float, float]:
    """The least and the largest value that a search draws, which is `stop` where the steps reach it."""
    assert sweep.start is not None and sweep.stop is not None
    n_steps = int((sweep.stop - sweep.start) / sweep.step + 1e-9)
    return sweep.start, sweep.start + n_steps * sweep.step


def _check_jobs(config: DictConfig, planned: SweepPlan, check_job: CheckJob, root: Path) -> list[dict[str, Any]]:
    """Compose, check and build each job; raises `ParameterError`: how many cannot run, and why the first one cannot."""
    loader = GlobalHydra.instance().config_loader()
    # Hydra too composes all jobs before the first starts; only our own checks are added
    composed = [_without_hydra(loader.load_sweep_config(config, list(job))) for job in planned.jobs]
    configurations = []
    wrong = []
    for job, overrides in zip(composed, planned.jobs, strict=True):
        plain: dict[str, Any] = OmegaConf.to_container(job, resolve=True)  # type: ignore[assignment]
        configurations.append(plain)
        try:
            checked = check(job)
            from ratespike.pipeline.assembly import build_components  # imports torch: not before the values are in their ranges

            check_job(build_components(checked, root), plain)
        except ParameterError as error:
            wrong.append(f"{job_name(overrides, planned.swept, plain)}: {error}")
    if wrong:
        n_jobs = len(planned.jobs)
        which = f"{len(wrong)} of {n_jobs} jobs cannot run; the first, " if n_jobs > 1 else ""
        raise ParameterError(which + wrong[0])
    return configurations


def _without_hydra(config: DictConfig) -> DictConfig:
    job = copy.deepcopy(config)
    with read_write(job), open_dict(job):
        del job["hydra"]
    return job


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
        raise ParameterError(f"hydra/launcher: {launcher} is not installed; pip install hydra-{package[1]}-launcher")
