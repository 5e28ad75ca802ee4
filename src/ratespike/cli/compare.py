"""The comparison of finished runs: read it top to bottom, it is the whole program.

find the runs -> group and compare them -> write tables and figures -> print the foremost groups
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratespike.config.job import Job
from ratespike.config.schemas import CompareConfig
from ratespike.parameters import ParameterError, flat
from ratespike.tracking import address

if TYPE_CHECKING:
    from ratespike.analysis import Record, Report
    from ratespike.analysis.paired import Predictions
    from ratespike.tracking.runs import Client

_DRAWN_BEFORE = ("accuracy_against_*.png", "gap_against_*.png", "heat_map.png")  # by an earlier comparison


def compare_runs(job: Job[CompareConfig]) -> None:
    """Find the runs, group them over their seeds, write tables and figures, print the foremost groups.

    Raises:
        ParameterError: an option that cannot be, no run that it finds, a folder that cannot be written to.
    """
    config = job.config
    _check(config)
    uri = address.resolve(config.tracking.uri, job.root)
    address.check(uri, exists=True)
    if config.paired is not None:
        _compare_paired(_names(config.paired), uri)
        return
    from ratespike.analysis import report, select, terminal
    from ratespike.tracking import search
    from ratespike.tracking.bring_in import bring_in_all
    from ratespike.tracking.store import connect

    client = connect(uri)
    bring_in_all(client, job.root)
    records = select(_find(client, config, uri), dict(flat(config.where)))
    steps = sorted(set(config.steps))
    result = report(records, steps, search.curves(client), config.heat_map, config.device)
    folder = job.root / config.folder
    try:
        _write(result, folder)
    except OSError as error:
        raise ParameterError(f"folder={config.folder}: cannot be written to ({error})") from None
    terminal.show(result.comparison, steps, config.rows)
    terminal.say(f"all of it: {folder}/groups.md, runs.csv and {len(result.figures)} figures")


def _check(config: CompareConfig) -> None:
    """Raise `ParameterError` for what is wrong whatever runs there are."""
    from ratespike.analysis.pareto import costs

    if any(step < 1 for step in config.steps):
        raise ParameterError(f"steps={config.steps}: must be whole numbers at least 1")
    if config.paired is not None and len(_names(config.paired)) not in (1, 2):
        raise ParameterError(f"paired={config.paired}: must be one or two runs, by id or name")
    costs(config.device)
    if config.heat_map is not None and not len(config.heat_map) == len(set(config.heat_map)) == 2:
        raise ParameterError(f"heat_map={config.heat_map}: must be the names of two parameters, or null")


def _compare_paired(names: list[str], uri: str) -> None:
    """Print the differences of one or two runs on the same images."""
    from ratespike.analysis import terminal
    from ratespike.analysis.paired import paired_rows
    from ratespike.tracking.store import connect

    client = connect(uri)
    runs = [_predictions(client, name) for name in names]
    terminal.show_paired([run.name for run in runs], paired_rows(runs))


def _predictions(client: "Client", name: str) -> "Predictions":
    """The answers that a run has kept; raises `ParameterError` if it has none."""
    import numpy as np

    from ratespike.analysis.paired import Predictions
    from ratespike.tracking.runs import PREDICTIONS
    from ratespike.tracking.store import find_run

    run = find_run(client, name)
    with run.artifact(PREDICTIONS) as path:
        if path is None:
            raise ParameterError(f"paired={name}: that run has no {PREDICTIONS}; it is not finished, or of an earlier version")
        _, labels, rates, spikes = np.loadtxt(path, dtype=np.int64, delimiter=",", skiprows=1, ndmin=2).T
    return Predictions(run.name, labels, rates, spikes)


def _find(client: "Client", config: CompareConfig, uri: str) -> "list[Record]":
    """The finished runs that the options name; raises `ParameterError` if there is none."""
    from ratespike.tracking.search import finished_runs

    experiments = _names(config.experiments)
    sweeps = _names(config.sweeps)
    tags = dict(flat(config.tags))
    records = finished_runs(client, experiments, sweeps, tags)
    if records:
        return records
    message = f"no finished run, tested on rates and spikes, in {uri}"
    if experiments:
        message += f" experiments={experiments}"
    if sweeps:
        message += f" sweeps={sweeps}"
    for name, value in tags.items():
        message += f" tags.{name}={value}"
    n_on_slices = len(finished_runs(client, experiments, sweeps, tags, debug=True))
    if n_on_slices:
        message += f"; {n_on_slices} on slices of the data (tag ratespike.debug) are no results"
    raise ParameterError(message)


def _names(value: Any) -> list[str]:
    """None, a name or a list of names, as a list."""
    if value is None:
        return []
    if isinstance(value, list):
        return list(map(str, value))
    return [str(value)]


def _write(result: "Report", folder: Path) -> None:
    """Write all files, and remove figures that an earlier comparison drew and this one did not."""
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in _DRAWN_BEFORE:
        for old in folder.glob(pattern):
            old.unlink()
    (folder / "groups.md").write_text(result.markdown, encoding="utf-8")
    (folder / "runs.csv").write_text(result.csv, encoding="utf-8")
    for name, figure in result.figures.items():
        figure.savefig(folder / f"{name}.png", dpi=120)
