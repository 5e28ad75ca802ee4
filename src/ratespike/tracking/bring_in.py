"""Results that wait in a folder, because their store was away, are brought into it: once, however often it is tried."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from ratespike.execution.locks import locks_below
from ratespike.tracking import changes
from ratespike.tracking.changes import apply, not_logged_before
from ratespike.tracking.models import keep_waiting_model
from ratespike.tracking.runs import Run, first_line
from ratespike.tracking.waiting import Waiting, folder_below

_AT_ONCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}


def bring_in_all(client: MlflowClient, root: Path) -> None:
    """Bring in what waits below a root of runs of this store, on which no process is at work.

    Prints a line for each, also for one that the store does not take, as a run that was deleted there.
    """
    folders = sorted(folder_below(root).glob("*"))
    if not folders:
        return
    locks = locks_below(root)
    for folder in folders:
        run_id = folder.name
        if not locks.take(run_lock(run_id), wait=False):
            continue
        try:
            if _is_in(client, run_id):
                bring_in(client, Waiting(root, run_id))
        except (MlflowException, OSError) as error:
            reason = f"{client.tracking_uri} does not take them ({first_line(error)})"
            print(f"results of run {run_id} still wait in {folder}: {reason}", file=sys.stderr)
        finally:
            locks.release(run_lock(run_id))


def bring_in(client: MlflowClient, waiting: Waiting) -> None:
    """Bring in what waits of a run; a process that is killed here leaves it all, and the next one repeats it.

    Raises:
        MlflowException, OSError: the store does not take it.
    """
    if not waiting.has_begun:  # another process has brought it in just now
        return
    run_id = waiting.run_id
    if waiting.artifacts.is_dir() and any(waiting.artifacts.iterdir()):
        client.log_artifacts(run_id, str(waiting.artifacts))
    ends = []
    for change in waiting.changes():
        if changes.END in change:  # the last one: behind the model, which makes the run RUNNING
            ends.append(change)
        elif changes.METRICS in change:
            new = not_logged_before(client, run_id, change[changes.METRICS])
            apply(client, run_id, {**change, changes.METRICS: new})
        else:
            apply(client, run_id, change)
    keep_waiting_model(Run(client, run_id, ""), waiting)
    for end in ends[-1:]:
        apply(client, run_id, end)
    waiting.end()
    print(f"results of run {run_id}, which waited in {waiting.folder}, are in {client.tracking_uri}", file=sys.stderr)


@contextmanager
def at_once() -> Iterator[None]:
    """Inside, MLflow asks a tracking server once, and does not wait until it comes back."""
    before = {name: os.environ.get(name) for name in _AT_ONCE}
    os.environ.update(_AT_ONCE)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def run_lock(run_id: str) -> str:
    """The name of the lock that a process has which is at work on a run."""
    return f"run {run_id}"


def _is_in(client: MlflowClient, run_id: str) -> bool:
    """Whether a store has this run: others may wait for another store."""
    try:
        client.get_run(run_id)
    except MlflowException:
        return False
    return True
