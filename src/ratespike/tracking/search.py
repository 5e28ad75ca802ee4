"""Finished runs of any tracking store, as plain records that `ratespike.analysis` compares."""

import functools
import gc
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from ratespike.analysis import Record
from ratespike.analysis.runs import RATE_ACCURACY, SPIKING_ACCURACY, SPIKING_ACCURACY_AT, ReadCurve
from ratespike.analysis.values import parse
from ratespike.parameters import ParameterError, nearest
from ratespike.tracking.runs import Entity
from ratespike.tracking.store import named, pages
from ratespike.tracking.sweeps import PARENT

PAGE = 1000  # runs that one call returns
DEBUG = "ratespike.debug"
COMPARABLE = f"attributes.status = 'FINISHED' and metrics.`{RATE_ACCURACY}` >= 0 and metrics.`{SPIKING_ACCURACY}` >= 0"
CURVES_KEPT = 1000
SWEEPS_NAMED = 20  # in an error message


def finished_runs(
    client: MlflowClient,
    experiments: Sequence[str] = (),
    sweeps: Sequence[str] = (),
    tags: Mapping[str, object] | None = None,
    *,
    debug: bool = False,
) -> list[Record]:
    """The finished runs that were tested on rates and on spikes.

    Args:
        client: of any tracking store.
        experiments: by name; empty for all.
        sweeps: ids or names of the parent runs of sweeps; empty for all runs, children or not.
        tags: values that tags must have; numbers are compared as numbers.
        debug: whether runs on a slice of the data count too.

    Raises:
        ParameterError: no such experiment or sweep.
    """
    wanted_tags = {name: parse(str(value)) for name, value in (tags or {}).items()}
    records = []
    with _no_cyclic_garbage_collection():
        for run in _comparable_runs(client, experiments, sweeps):
            is_slice = DEBUG in run.data.tags
            if (debug or not is_slice) and _has_tags(run, wanted_tags):
                records.append(_record(run))
    return records


def latest_parameters(client: MlflowClient, experiment_id: str, limit: int) -> list[dict[str, str]]:
    """The parameters of the finished runs of an experiment that were tested on rates and on spikes, of the latest ones alone.

    Args:
        client: of any tracking store.
        experiment_id: the experiment's.
        limit: how many runs at most.
    """
    latest_first = ["attributes.start_time DESC"]
    found = client.search_runs([experiment_id], COMPARABLE, max_results=limit, order_by=latest_first)
    return [run.data.params for run in found]


def curves(client: MlflowClient) -> ReadCurve:
    """A function that reads the accuracy curve of a run, by its id, and caches the latest ones."""

    @functools.lru_cache(CURVES_KEPT)
    def read(run_id: str) -> dict[int, float]:
        return {point.step: point.value for point in client.get_metric_history(run_id, SPIKING_ACCURACY_AT)}

    return read


def _comparable_runs(client: MlflowClient, experiments: Sequence[str], sweeps: Sequence[str]) -> Iterator[Entity]:
    """The runs of some experiments, or those below the parents of some sweeps."""
    experiment_ids = _experiment_ids(client, experiments)
    if not sweeps:
        yield from _runs(client, experiment_ids, COMPARABLE)
        return
    for sweep in sweeps:
        parent = _parent(client, experiment_ids, sweep)
        yield from _runs(client, experiment_ids, f"{COMPARABLE} and tags.`{PARENT}` = '{parent}'")


def _runs(client: MlflowClient, experiment_ids: list[str], filter_string: str) -> Iterator[Entity]:
    return pages(functools.partial(client.search_runs, experiment_ids, filter_string, max_results=PAGE))


def _experiment_ids(client: MlflowClient, names: Sequence[str]) -> list[str]:
    """The ids of experiments by name, or of all of them; raises `ParameterError` for an unknown name."""
    known = {}
    for experiment in pages(functools.partial(client.search_experiments, max_results=PAGE)):
        known[experiment.name] = experiment.experiment_id
    for name in names:
        if name not in known:
            raise ParameterError(f"experiments={name}: no such experiment; {nearest(name, known)}")
    return [known[name] for name in names or known]


def _parent(client: MlflowClient, experiment_ids: list[str], sweep: str) -> str:
    """The id of a sweep's parent run, by its id or its name; raises `ParameterError` if there is none."""
    try:
        return str(client.get_run(sweep).info.run_id)
    except MlflowException:
        found = named(client, experiment_ids, sweep, f"sweeps={sweep}")
    if found is not None:
        return str(found.info.run_id)
    known = _sweep_names(client, experiment_ids)
    hint = nearest(sweep, known) if known else "there are no sweeps"
    raise ParameterError(f"sweeps={sweep}: no run has this id or name; {hint}")


def _sweep_names(client: MlflowClient, experiment_ids: list[str]) -> list[str]:
    """The names of the first sweeps that are found."""
    children = _runs(client, experiment_ids, f"tags.`{PARENT}` LIKE '%'")
    parents = list(dict.fromkeys(run.data.tags[PARENT] for run in children))
    return [client.get_run(parent).info.run_name for parent in parents[:SWEEPS_NAMED]]


def _has_tags(run: Entity, wanted: Mapping[str, object]) -> bool:
    tags = run.data.tags
    return all(name in tags and parse(tags[name]) == value for name, value in wanted.items())


def _record(run: Entity) -> Record:
    """What is compared of a run, with one string for all equal ones, so that thousands of runs fit in memory."""
    info = run.info
    parameters = {sys.intern(name): sys.intern(value) for name, value in run.data.params.items()}
    metrics = {}
    for name, value in run.data.metrics.items():
        if name.startswith("test/") or name == "train/seconds":
            metrics[sys.intern(name)] = value
    return Record(
        id=info.run_id,
        name=info.run_name,
        started=info.start_time,
        duration=(info.end_time - info.start_time) / 1000 if info.end_time else None,
        parameters=parameters,
        metrics=metrics,
    )


@contextmanager
def _no_cyclic_garbage_collection() -> Iterator[None]:
    """Spare Python the search for garbage inside, which took half of the time.

    Reading from a database makes millions of objects and no garbage in cycles.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
