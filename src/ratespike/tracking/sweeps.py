"""A sweep in MLflow: a parent run, and a run below it for each job.

The parent's tags say what the jobs need to know of their sweep, because a job may run in another process, on another host or
days later. Each job's run has a tag with the hash of its configuration, by which the same command finds it again.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from ratespike.parameters import ParameterError
from ratespike.tracking.runs import Entity, Run
from ratespike.tracking.store import open_run, pages

SWEEP = "ratespike.sweep"
SWEPT = "ratespike.swept"
LONGEST = "ratespike.longest_n_steps"
PARENT = "mlflow.parentRunId"
CONFIG_HASH = "ratespike.config_hash"
_RUNS_PER_CALL = 1000


@dataclass(frozen=True)
class SweepContext:
    """What a job knows of the sweep that it belongs to.

    Attributes:
        sweep: the sweep's hash.
        swept: the overrides' keys that differ between its jobs.
        longest: the largest `n_steps` of its jobs; 0 if that is not known.
        experiment: the parent's, in which its jobs are too.
    """

    sweep: str
    swept: tuple[str, ...]
    longest: int
    experiment: str


def open_parent(client: MlflowClient, name: str, context: SweepContext) -> Run:
    """The parent run of a sweep: the one that an earlier call of the same command has left, or a new one.

    Args:
        client: of the tracking store.
        name: of a new run.
        context: what the jobs are to know.
    """
    experiment = client.get_experiment_by_name(context.experiment)
    if experiment is not None:
        same = f"tags.`{SWEEP}` = '{context.sweep}'"
        for run in client.search_runs([experiment.experiment_id], same, max_results=_RUNS_PER_CALL):
            if PARENT not in run.data.tags:
                # Not as a resumed run: how many jobs have finished is logged anew.
                return Run(client, run.info.run_id, context.experiment)
    tags = {SWEEP: context.sweep, SWEPT: json.dumps(context.swept), LONGEST: str(context.longest)}
    return open_run(client, context.experiment, name, tags)


def sweep_context(client: MlflowClient, parent_id: str) -> SweepContext | None:
    """What the tags of a parent run say; None if it is no sweep's.

    Raises:
        ParameterError: the run is not there, as on a host that has a database of its own.
    """
    try:
        parent = client.get_run(parent_id)
    except MlflowException:
        where = "jobs on other hosts need a server that all of them reach, as tracking.uri=http://<host>:5000"
        raise ParameterError(f"tracking.parent={parent_id}: not found in {client.tracking_uri}; {where}") from None
    tags = parent.data.tags
    if SWEPT not in tags:
        return None
    return SweepContext(
        sweep=tags[SWEEP],
        swept=tuple(json.loads(tags[SWEPT])),
        longest=int(tags[LONGEST]),
        experiment=client.get_experiment(parent.info.experiment_id).name,
    )


def children(client: MlflowClient, parent_id: str, config_hash: str | None = None) -> Sequence[Entity]:
    """The runs below a parent, the oldest first, of one configuration if that is given."""
    experiment = client.get_run(parent_id).info.experiment_id
    wanted = f"tags.`{PARENT}` = '{parent_id}'"
    if config_hash is not None:
        wanted += f" and tags.`{CONFIG_HASH}` = '{config_hash}'"
    oldest_first = ["attributes.start_time"]
    return list(pages(partial(client.search_runs, [experiment], wanted, max_results=_RUNS_PER_CALL, order_by=oldest_first)))


def finished_child(client: MlflowClient, parent_id: str, config_hash: str) -> Entity | None:
    """The finished run of one configuration below a parent; None if there is none, or no such parent."""
    try:
        found = children(client, parent_id, config_hash)
    except MlflowException:
        return None
    for run in found:
        if run.info.status == "FINISHED":
            return run
    return None
