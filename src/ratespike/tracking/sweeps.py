"""A sweep's parent run and its children."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from mlflow.entities import Run as Entity
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from ratespike.parameters import ParameterError
from ratespike.tracking.runs import Run, open_run, pages

SWEEP, SWEPT, LONGEST = "ratespike.sweep", "ratespike.swept", "ratespike.longest_n_steps"
PARENT = "mlflow.parentRunId"
CONFIG_HASH = "ratespike.config_hash"


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
    """The parent of this sweep: the one that an earlier call of the same command has left, or a new one."""
    experiment = context.experiment
    found = client.get_experiment_by_name(experiment)
    if found is not None:
        same = client.search_runs([found.experiment_id], f"tags.`{SWEEP}` = '{context.sweep}'", max_results=1000)
        for run in same:
            if PARENT not in run.data.tags:
                return Run(client, run.info.run_id, experiment)  # its counts are told anew
    tags = {SWEEP: context.sweep, SWEPT: json.dumps(context.swept), LONGEST: str(context.longest)}
    return open_run(client, experiment, name, tags)


def sweep_context(client: MlflowClient, parent_id: str) -> SweepContext | None:
    """What the parent run tells its jobs; None if it is no sweep's.

    Raises:
        ParameterError: it is not there, which happens on a host that has a database of its own.
    """
    try:
        parent = client.get_run(parent_id)
    except MlflowException:
        where = "jobs on other hosts need a server that all of them reach, as tracking.uri=http://<host>:5000"
        raise ParameterError(f"tracking.parent={parent_id}: not found in {client.tracking_uri}; {where}") from None
    tags = parent.data.tags
    if SWEPT not in tags:
        return None
    experiment = client.get_experiment(parent.info.experiment_id).name
    return SweepContext(tags[SWEEP], tuple(json.loads(tags[SWEPT])), int(tags[LONGEST]), experiment)


def children(client: MlflowClient, parent_id: str, config_hash: str | None = None) -> Sequence[Entity]:
    """The runs below a parent, of one configuration if that is given."""
    experiment = client.get_run(parent_id).info.experiment_id
    wanted = f"tags.`{PARENT}` = '{parent_id}'"
    if config_hash is not None:
        wanted += f" and tags.`{CONFIG_HASH}` = '{config_hash}'"
    found = partial(client.search_runs, [experiment], wanted, max_results=1000, order_by=["attributes.start_time"])
    return list(pages(found))


def finished_child(client: MlflowClient, parent_id: str, config_hash: str) -> Entity | None:
    """The finished run of one configuration below a parent; None if there is none, or no such parent."""
    try:
        found = children(client, parent_id, config_hash)
    except MlflowException:
        return None
    return next((run for run in found if run.info.status == "FINISHED"), None)
