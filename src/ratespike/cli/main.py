"""The entry of every program: Hydra's command line, and bad input in one line before anything is imported."""

import functools
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ratespike.cli.errors import BAD_INPUT, explain
from ratespike.cli.search_path import search_in_plugins
from ratespike.config.invocation import started_by, version
from ratespike.config.job import Job
from ratespike.config.schemas import check
from ratespike.execution import distributed
from ratespike.execution.devices import max_concurrent_jobs
from ratespike.execution.job_process import INTERRUPTED, interrupt_on_termination
from ratespike.execution.printing import print_whoever_reads
from ratespike.parameters import ParameterError, nearest
from ratespike.sweeps.callbacks import multirun
from ratespike.sweeps.errors import JobFailedError, RefusedError, UnfinishedError
from ratespike.sweeps.run_job import run_job

_LONGEST_GROUP = 100  # characters; a file system refuses to look for a name of 256
_OF_HYDRA = tuple(f".hydra/{name}.yaml" for name in ("config", "hydra", "overrides"))

Task = Callable[[Job[Any]], None]
SettingsOf = Callable[[Sequence[str], Path], Mapping[str, Any]]  # (arguments, root) -> settings


@dataclass(frozen=True)
class Program:
    """What the user starts by `python <name>.py` or `ratespike <name>`.

    Attributes:
        config_name: of its configuration, `<config_name>.yaml`.
        task: what it does with a job.
        settings_of: the settings of the trained network that the arguments name, which the configuration is composed of; None
            for a program that needs none.
    """

    config_name: str
    task: Task
    settings_of: SettingsOf | None = None

    @property
    def summary(self) -> str:
        """What it does, in a line."""
        return (self.task.__doc__ or "").partition("\n")[0]


def run_program(program: Program, root: Path, conf: Path) -> None:
    """Run a program with its configuration and the command line's overrides.

    Args:
        program: what to run.
        root: the folder of the database and the outputs, where relative paths start.
        conf: the folder of the configuration.
    """
    if "--version" in sys.argv[1:]:
        print(version())
        return
    wants_traceback = "HYDRA_FULL_ERROR" in os.environ
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing, and the line is ours
    # what lies in conf/hydra/launcher extends the plugins' own
    warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against")
    interrupt_on_termination()
    print_whoever_reads()
    _have_home()

    def job_of_hydra(config: DictConfig) -> list[float] | float | None:
        if wants_traceback:
            return _do_job(program, config, root)
        try:
            return _do_job(program, config, root)
        except (ParameterError, OmegaConfBaseException) as error:
            _remove_output(Path(HydraConfig.get().runtime.output_dir))
            # Hydra reports an exception with lines of its own, an exit it lets pass
            sys.exit(f"error: {explain(error, conf, program.config_name)}")

    sys.argv[1:] = [_with_home(argument) for argument in sys.argv[1:]]
    OmegaConf.register_new_resolver("started_by", started_by, replace=True)  # in the texts of --help
    with _errors_in_one_line(conf, program.config_name, wants_traceback):
        _refuse_values_as_options(sys.argv[1:], search_in_plugins(conf))
        trained = program.settings_of(sys.argv[1:], root) if program.settings_of else {}
        with multirun(trained, root):
            hydra.main(version_base="1.3", config_path=str(conf), config_name=program.config_name)(job_of_hydra)()


def _have_home() -> None:
    """Give a user who has no home folder that of the file system, as Docker does: MLflow cannot be imported without one."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/"


def _with_home(argument: str) -> str:
    """An argument such as `data.dir=~/photos` with the user's home, which neither the shell nor Hydra puts there."""
    return re.sub(r"(?<=[=,[])~(?=/)", lambda _: os.path.expanduser("~"), argument)  # noqa: PTH111  # `Path.home` may raise


def _refuse_values_as_options(arguments: Sequence[str], folders: Sequence[Path]) -> None:
    """Raise `ParameterError` for an argument such as `stages=null` or `data=3`, or `=3`, of which Hydra reports its own code.

    Args:
        arguments: of the command.
        folders: where the options of each group are, in a folder with its name.
    """
    for argument in arguments:
        group, equals, chosen = argument.lstrip("+~").partition("=")
        if equals and not group:
            raise ParameterError(f"{argument}: must be <key>=<value>, or <group>=<option>")
        places = [folder / group for folder in folders if group and len(group) < _LONGEST_GROUP and (folder / group).is_dir()]
        values = [option for option in chosen.strip("[]").split(",") if _is_value(option)]
        if places and values:
            options = [path.stem for place in places for path in place.glob("*.yaml")]
            likely = "none" if values[0] == "null" else values[0]
            raise ParameterError(f"{argument}: not an option of {group}; {nearest(likely, options)}")


def _is_value(option: str) -> bool:
    """Whether Hydra reads a number, true, false or null, and no word."""
    try:
        float(option)
    except ValueError:
        return option.strip().lower() in ("null", "true", "false")
    return True


def _remove_output(folder: Path) -> None:
    """Remove what Hydra has written of a job that was refused, and the folders that are empty then."""
    settings = HydraConfig.get()
    for name in (*_OF_HYDRA, f"{settings.job.name}.log"):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # something else is in one of them
        for empty in (folder / ".hydra", folder, folder.parent, folder.parent.parent):
            empty.rmdir()


def _do_job(program: Program, config: DictConfig, root: Path) -> list[float] | float | None:
    """Do the job that Hydra has composed; returns what it has reached if it is one of a search."""
    checked = check(config)
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    settings = HydraConfig.get()
    overrides = list(settings.overrides.task)
    job = Job(checked, plain, overrides, root, _default_settings(program.config_name, GlobalHydra.instance().hydra))
    if settings.mode != RunMode.MULTIRUN:
        distributed.divide(program.task, job)
        return None
    concurrent = max_concurrent_jobs(settings.launcher)
    return run_job(program.task, replace(job, number=settings.job.num, max_concurrent_jobs=concurrent))


@functools.lru_cache(1)  # the jobs of a sweep share them: to compose them takes a tenth of a second
def _default_settings(config_name: str, of_command: object) -> Mapping[str, Any]:
    """The settings of the command without arguments; `of_command` is Hydra's object, by which one command is known."""
    return OmegaConf.to_container(hydra.compose(config_name), resolve=True)  # type: ignore[return-value]


@contextmanager
def _errors_in_one_line(conf: Path, config_name: str, wants_traceback: bool) -> Iterator[None]:
    """Inside, an error of the user's input or the end of a multirun becomes one line; a fault of ours stays a traceback."""
    try:
        yield
    except (*BAD_INPUT, RefusedError) as error:
        reason = error.reason if isinstance(error, RefusedError) else error
        if wants_traceback or not isinstance(reason, BAD_INPUT):
            raise reason from reason.__cause__
        sys.exit(f"error: {explain(reason, conf, config_name)}")
    except (JobFailedError, UnfinishedError) as error:
        is_ours = isinstance(error.__cause__, Exception)  # the launcher's, behind our line
        if wants_traceback and is_ours:
            raise
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
