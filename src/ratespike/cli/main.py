"""The entry of every command: Hydra's command line, and bad input in one line before anything is imported."""

import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ratespike.config.job import Job
from ratespike.config.schemas import check
from ratespike.execution import distributed
from ratespike.execution.devices import max_concurrent_jobs
from ratespike.execution.job_process import INTERRUPTED, interrupt_on_termination
from ratespike.parameters import ParameterError, nearest
from ratespike.sweeps import callbacks
from ratespike.sweeps.run_job import JobFailedError, run_job

_BAD_INPUT = (HydraException, OmegaConfBaseException, ParameterError)


def command(
    config_name: str,
    task: Callable[[Job[Any]], None],
    root: Path,
    before: Callable[[Sequence[str], Path], None] = lambda arguments, root: None,
) -> None:
    """Run `task` with the configuration `conf/<config_name>.yaml` below `root` and the command line's overrides.

    `before` sees the arguments first and may add to what the configuration is composed of.
    """

    def run(config: DictConfig) -> list[float] | float | None:
        checked = check(config)
        plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
        settings = HydraConfig.get()
        overrides = list(settings.overrides.task)
        if settings.mode != RunMode.MULTIRUN:
            distributed.divide(task, Job(checked, plain, overrides, root))
            return None
        concurrent = max_concurrent_jobs(settings.launcher)
        return run_job(task, Job(checked, plain, overrides, root, settings.job.num, concurrent))

    def run_or_exit(config: DictConfig) -> list[float] | float | None:
        try:
            return run(config)
        except ParameterError as error:
            sys.exit(f"error: {error}")  # Hydra reports an exception with lines of its own, an exit it lets pass

    interrupt_on_termination()
    # what lies in conf/hydra/launcher extends the plugins' own
    warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against")
    wants_traceback = "HYDRA_FULL_ERROR" in os.environ
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing, and the line is ours
    job = run if wants_traceback else run_or_exit
    try:
        before(sys.argv[1:], root)
        hydra.main(version_base="1.3", config_path=str(root / "conf"), config_name=config_name)(job)()
    except (*_BAD_INPUT, callbacks.RefusedError) as error:
        reason = error.reason if isinstance(error, callbacks.RefusedError) else error
        if wants_traceback or not isinstance(reason, _BAD_INPUT):
            raise reason from reason.__cause__
        sys.exit(f"error: {_explain(reason, root, config_name)}")
    except JobFailedError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        if wants_traceback or not callbacks.has_begun():
            raise
        why = f"{type(error).__name__}: {_first_line(error)}"
        sys.exit(f"error: the launcher gave up ({why}); mend that and give the same command again")
    finally:
        callbacks.end()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")[:300]


def _explain(error: Exception, root: Path, config_name: str) -> str:
    """The error's message, with the nearest names where a name was not found."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error.__cause__, OmegaConfBaseException):
        lines.append(str(error.__cause__).splitlines()[0])
    text = " ".join(line for line in lines if not re.match(r"full_key|object_type|reference_type|To append|See http", line))
    option = re.search(r"Could not find '([\w/]+)/([^/']+)'", text)
    if option:
        told, _, available = text.partition(" Available options")
        options = [path.stem for path in (root / "conf" / option[1]).glob("*.yaml")]
        if option[1].startswith("hydra/"):
            options = available.partition(":")[2].partition(" Config")[0].split()
            told += ", or its extra is not installed (docs/many_devices.md)"
        return f"{told}: {nearest(option[2], options)}"
    key = re.search(r"Could not override '([^']+)'", text)
    if key and config_name == "config" and (root / "conf" / key[1]).is_dir():  # groups of a training's
        return f"{key[1]}: is not among the defaults; give +{key[1]}= with a plus"
    if key and not key[1].startswith("hydra."):
        parent, _, name = key[1].rpartition(".")
        return f"{text}: {nearest(name, _keys(root, config_name, parent))}"
    return text


def _keys(root: Path, config_name: str, parent: str) -> list[str]:
    """The keys that the configuration has by default under `parent`, or at the top where it has no such group."""
    with hydra.initialize_config_dir(str(root / "conf"), version_base="1.3"):
        config = hydra.compose(config_name)
    group = OmegaConf.select(config, parent) if parent else config
    return [str(key) for key in (group if isinstance(group, DictConfig) else config)]
