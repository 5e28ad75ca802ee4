"""Finished runs found in any tracking store, as plain records."""

import functools
import gc
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from ratespike.analysis import Record
from ratespike.analysis.runs import RATE_ACCURACY, SPIKING_ACCURACY, SPIKING_ACCURACY_AT, ReadCurve
from ratespike.analysis.values import parse
from ratespike.parameters import ParameterError, nearest
from ratespike.tracking.runs import named, pages
from ratespike.tracking.sweeps import PARENT

PAGE = 1000  # runs that one call gives
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
        debug: runs on a slice of the data too.

    Raises:
        ParameterError: no such experiment or sweep.
    """
    ids = _experiment_ids(client, experiments)
    parents = [_parent(client, ids, sweep) for sweep in sweeps]
    filters = [f"{COMPARABLE} and tags.`{PARENT}` = '{parent}'" for parent in parents] or [COMPARABLE]
    wanted = {name: parse(str(value)) for name, value in (tags or {}).items()}
    records = []
    with _no_cyclic_garbage_collection():
        for run in (run for text in filters for run in _runs(client, ids, text)):
            own = run.data.tags
            if (debug or DEBUG not in own) and all(name in own and parse(own[name]) == wanted[name] for name in wanted):
                records.append(_record(run))
    return records


def curves(client: MlflowClient) -> ReadCurve:
    """A function that reads the accuracy curve of a run, and remembers the last ones."""

    @functools.lru_cache(CURVES_KEPT)
    def read(run_id: str) -> dict[int, float]:
        return {point.step: point.value for point in client.get_metric_history(run_id, SPIKING_ACCURACY_AT)}

    return read


def _runs(client: MlflowClient, experiment_ids: list[str], filter_string: str) -> Iterator[Run]:
    return pages(functools.partial(client.search_runs, experiment_ids, filter_string, max_results=PAGE))


def _experiment_ids(client: MlflowClient, names: Sequence[str]) -> list[str]:
    known = {item.name: item.experiment_id for item in pages(functools.partial(client.search_experiments, max_results=PAGE))}
    for name in names:
        if name not in known:
            raise ParameterError(f"experiments={name}: no such experiment; {nearest(name, known)}")
    return [known[name] for name in names or known]


def _parent(client: MlflowClient, experiment_ids: list[str], sweep: str) -> str:
    """The id of a sweep's parent run, given that or its name."""
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
    children = _runs(client, experiment_ids, f"tags.`{PARENT}` LIKE '%'")
    parents = list(dict.fromkeys(run.data.tags[PARENT] for run in children))
    return [client.get_run(parent).info.run_name for parent in parents[:SWEEPS_NAMED]]


def _record(run: Run) -> Record:
    """Only what is compared, with one string for all equal ones: thousands of runs fit in memory."""
    info, data = run.info, run.data
    return Record(
        id=info.run_id,
        name=info.run_name,
        started=info.start_time,
        duration=(info.end_time - info.start_time) / 1000 if info.end_time else None,
        parameters={sys.intern(name): sys.intern(value) for name, value in data.params.items()},
        metrics={
            sys.intern(name): value
            for name, value in data.metrics.items()
            if name.startswith("test/") or name == "train/seconds"
        },
    )


@contextmanager
def _no_cyclic_garbage_collection() -> Iterator[None]:
    """Reading from a database makes millions of objects and no garbage in cycles; searching them for it takes twice as long."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
