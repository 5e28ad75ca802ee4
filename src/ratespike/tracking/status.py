"""A run's status, which is ours alone, and whether a run that says RUNNING is alive."""

import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import mlflow
from mlflow.entities import Run as Entity
from mlflow.exceptions import MlflowException

from ratespike.execution.locks import locks_below
from ratespike.parameters import ParameterError
from ratespike.tracking.runs import Run

HOST = "ratespike.host"
HEARTBEAT = "ratespike.heartbeat"  # seconds since 1970
ERROR = "ratespike.error"
_BEAT_EVERY, _DEAD_AFTER = 30, 180  # seconds


@contextmanager
def track(run: Run, root: Path, system_metrics: bool) -> Iterator[None]:
    """The run is RUNNING inside; then FINISHED, KILLED by an interruption, or FAILED with its error as a tag.

    Raises:
        ParameterError: another process is at work on it.
    """
    if not locks_below(root).take(_lock(run.id), wait=False):
        raise ParameterError(f"run {run.id} is still running, in another process")
    status = "KILLED"  # whatever it is that interrupts, and however often
    try:
        mlflow.start_run(run.id, log_system_metrics=system_metrics)  # as a context it would write a status of its own first
        with _beating(run):
            yield
        if run.tag(ERROR):
            run.client.delete_tag(run.id, ERROR)
        status = "FINISHED"
    except Exception as error:
        status = "FAILED"
        run.tags({ERROR: f"{type(error).__name__}: {error}"[:5000]})
        raise
    finally:
        mlflow.end_run(status)
        run.client.set_terminated(run.id, status)
        locks_below(root).release(_lock(run.id))


def is_alive(run: Entity, root: Path) -> bool:
    """Whether a process is at work on a run: on this host a lock tells, of another host its last sign of life."""
    if run.info.status != "RUNNING":
        return False
    if run.data.tags.get(HOST) in (None, _host(root)):
        return locks_below(root).held_elsewhere(_lock(run.info.run_id))
    return time.time() - float(run.data.tags.get(HEARTBEAT, 0)) < _DEAD_AFTER


@contextmanager
def _beating(run: Run) -> Iterator[None]:
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(_BEAT_EVERY):
            with suppress(MlflowException):  # a server that is away may come back
                run.tags({HEARTBEAT: str(int(time.time()))})

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def signs_of_life(root: Path) -> dict[str, str]:
    """The tags by which other processes tell that a run that begins now is alive."""
    return {HOST: _host(root), HEARTBEAT: str(int(time.time()))}


def _host(root: Path) -> str:
    """Processes that see each other's locks."""
    return f"{platform.node()}:{root.stat().st_dev}:{root}"


def _lock(run_id: str) -> str:
    return f"run {run_id}"
