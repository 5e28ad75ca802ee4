"""What is written to a run, as plain data: so it can be written to MLflow now, or wait in a file."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.tracking import MlflowClient

Change: TypeAlias = Mapping[str, Any]

METRICS = "metrics"  # lists of [name, value, milliseconds since 1970, step]
PARAMETERS = "parameters"  # value by name
TAGS = "tags"  # value by name
REMOVED_TAG = "removed_tag"
DATA_SET = "data_set"  # [description, split]
END = "end"  # [status, milliseconds since 1970]
_METRICS_PER_CALL = 1000  # MLflow accepts no more


def apply(client: MlflowClient, run_id: str, change: Change) -> None:
    """Write a change to a run; to do so twice is the same as once."""
    metrics = [Metric(*values) for values in change.get(METRICS, ())]
    for begin in range(0, len(metrics), _METRICS_PER_CALL):
        client.log_batch(run_id, metrics[begin : begin + _METRICS_PER_CALL])
    parameters = [Param(name, value) for name, value in change.get(PARAMETERS, {}).items()]
    tags = [RunTag(name, value) for name, value in change.get(TAGS, {}).items()]
    if parameters or tags:
        client.log_batch(run_id, params=parameters, tags=tags)
    if REMOVED_TAG in change and change[REMOVED_TAG] in client.get_run(run_id).data.tags:
        client.delete_tag(run_id, change[REMOVED_TAG])
    if DATA_SET in change:
        description, split = change[DATA_SET]
        dataset: Dataset = Dataset.from_dictionary(description)  # type: ignore[assignment]
        client.log_inputs(run_id, [DatasetInput(dataset, tags=[InputTag("mlflow.data.context", split)])])
    if END in change:
        client.set_terminated(run_id, *change[END])


def not_logged_before(client: MlflowClient, run_id: str, metrics: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """Those at whose steps the run has no value yet."""
    logged: dict[str, set[int]] = {}
    new = []
    for metric in metrics:
        name, _, _, step = metric
        if name not in logged:
            logged[name] = {point.step for point in client.get_metric_history(run_id, name)}
        if step not in logged[name]:
            new.append(metric)
    return new
