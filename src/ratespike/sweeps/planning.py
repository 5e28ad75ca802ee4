"""The jobs of a sweep before any of them starts: which they are, and that each of them can run."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from ratespike.config.naming import asked_for, job_name, key_of, short_names
from ratespike.config.schemas import check
from ratespike.parameters import ParameterError

if TYPE_CHECKING:
    from ratespike.pipeline.assembly import Components

Check = Callable[["Components", Mapping[str, Any]], None]  # of a job that is built, and of its configuration
_BASIC = f"{BasicSweeper.__module__}.{BasicSweeper.__qualname__}"


@dataclass(frozen=True)
class Plan:
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
        """What is swept over which values."""
        names = short_names(self.swept, self.swept)
        words = [(key_of(override), override.partition("=")[2]) for override in self.overrides]
        return " ".join(["sweep", *(f"{names[key]}={value}" for key, value in words if key in names)])


def plan(config: DictConfig) -> Plan:
    """Read the sweep from Hydra's own configuration."""
    sweeper = config.hydra.sweeper
    params = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
    overrides = [*params, *asked_for(config.hydra.overrides.task)]
    parsed = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader()).parse_overrides(overrides)
    swept = tuple(override.get_key_element().lstrip("+~") for override in parsed if override.is_sweep_override())
    if sweeper._target_ != _BASIC:
        return Plan(_tries([_choices(override) for override in parsed]), False, swept, tuple(overrides))
    (jobs,) = BasicSweeper.split_arguments(parsed, None)
    return Plan(jobs, True, swept, tuple(overrides))


def _tries(choices: Sequence[Sequence[str]]) -> list[list[str]]:
    """As few jobs as have each choice of each override; the first has the first of each."""
    return [[own[min(number, len(own) - 1)] for own in choices] for number in range(max(map(len, choices), default=1))]


def _choices(override: Override) -> list[str]:
    """An override with each of the values that it leaves open; of a range with its ends."""
    key = override.get_key_element()
    values: list[Any] = []
    if override.is_interval_sweep():
        interval = override.value()
        assert isinstance(interval, IntervalSweep)
        values = [interval.start, interval.end]
    elif override.is_discrete_sweep():
        sweep = override.value()
        assert isinstance(sweep, ChoiceSweep | RangeSweep)
        if isinstance(sweep, RangeSweep) and not sweep.shuffle:
            values = _ends(sweep)
        else:
            values = sorted(override.sweep_string_iterator()) if sweep.shuffle else list(override.sweep_string_iterator())
    return [f"{key}={value}" for value in values] or [str(override.input_line)]


def _ends(sweep: RangeSweep) -> list[float]:
    """The least and the largest value that a search draws, which is `stop` where the steps reach it."""
    assert sweep.start is not None and sweep.stop is not None
    n_steps = int((sweep.stop - sweep.start) / sweep.step + 1e-9)
    return [sweep.start, sweep.start + n_steps * sweep.step]


def check_jobs(config: DictConfig, planned: Plan, further: Check, root: Path) -> list[dict[str, Any]]:
    """Compose, check and build each job, whose configurations it returns.

    Args:
        config: Hydra's, of the whole multirun.
        planned: the jobs.
        further: raises `ParameterError` for a job that cannot run for another reason.
        root: the repository root.

    Raises:
        ParameterError: how many cannot run, and why the first one cannot.
    """
    from ratespike.pipeline.assembly import build_components  # imports torch: not before every job is known to compose

    loader = GlobalHydra.instance().config_loader()
    composed = [_without_hydra(loader.load_sweep_config(config, list(job))) for job in planned.jobs]
    configurations: list[dict[str, Any]] = [OmegaConf.to_container(job, resolve=True) for job in composed]  # type: ignore[misc]
    wrong = []
    for job, overrides, plain in zip(composed, planned.jobs, configurations, strict=True):
        try:
            further(build_components(check(job), root), plain)
        except ParameterError as error:
            wrong.append(f"{job_name(overrides, planned.swept, plain)}: {error}")
    if wrong:
        which = f"{len(wrong)} of {len(planned.jobs)} jobs cannot run; the first, " if len(planned.jobs) > 1 else ""
        raise ParameterError(which + wrong[0])
    return configurations


def _without_hydra(config: DictConfig) -> DictConfig:
    job = copy.deepcopy(config)
    with read_write(job), open_dict(job):
        del job["hydra"]
    return job
