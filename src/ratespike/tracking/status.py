"""The status of a run, and whether a run that says RUNNING is alive.

A process that dies leaves its run RUNNING for ever. So a living one gives two signs: it holds a lock of the run, which the
kernel releases when the process dies, however that happens; and it writes a heartbeat, a tag, for other hosts, which do
not see the lock.
"""

import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException

from ratespike.execution.locks import locks_below
from ratespike.parameters import ParameterError
from ratespike.tracking.runs import Entity, Run

HOST = "ratespike.host"
HEARTBEAT = "ratespike.heartbeat"  # seconds since 1970
ERROR = "ratespike.error"
_BEAT_EVERY = 30  # seconds
_DEAD_AFTER = 180  # seconds without a heartbeat
_LONGEST_ERROR = 5000  # characters that MLflow keeps of a tag


@contextmanager
def track(run: Run, root: Path, system_metrics: bool) -> Iterator[None]:
    """Have the run RUNNING inside; behind, it is FINISHED, KILLED by an interruption, or FAILED with its error as a tag.

    Args:
        run: becomes MLflow's active run of this process; a stage of a training does within its training's.
        root: the folder below which the locks are.
        system_metrics: whether MLflow logs the load of processors and memory.

    Raises:
        ParameterError: another process is at work on the run.
    """
    locks = locks_below(root)
    if not locks.take(_lock(run.id), wait=False):
        raise ParameterError(f"run {run.id} is still running, in another process")
    status = "KILLED"  # by whatever interrupts the lines below, at any of them
    try:
        # Not as a context: MLflow would write a status of its own before ours.
        mlflow.start_run(run.id, log_system_metrics=system_metrics, nested=True)
        with _heartbeat(run):
            yield
        if run.tag(ERROR):  # of an earlier attempt
            run.client.delete_tag(run.id, ERROR)
        status = "FINISHED"
    except Exception as error:
        status = "FAILED"
        run.tags({ERROR: f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]})
        raise
    finally:
        mlflow.end_run(status)
        run.client.set_terminated(run.id, status)
        locks.release(_lock(run.id))


def is_alive(run: Entity, root: Path) -> bool:
    """Whether a process is at work on a run.

    Args:
        run: as MLflow has just returned it. Its lock says whether it is alive if it is of this host, else its heartbeat.
        root: the folder below which the locks are.
    """
    if run.info.status != "RUNNING":
        return False
    tags = run.data.tags
    if tags.get(HOST) in (None, _host(root)):
        return locks_below(root).held_elsewhere(_lock(run.info.run_id))
    return time.time() - float(tags.get(HEARTBEAT, 0)) < _DEAD_AFTER


def signs_of_life(root: Path) -> dict[str, str]:
    """The tags of a run that begins now, by which other processes see that it is alive."""
    return {HOST: _host(root), HEARTBEAT: _now()}


@contextmanager
def _heartbeat(run: Run) -> Iterator[None]:
    """Renew the run's heartbeat inside, in a thread."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(_BEAT_EVERY):
            with suppress(MlflowException):  # a server that is away may come back
                run.tags({HEARTBEAT: _now()})

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _now() -> str:
    return str(int(time.time()))


def _host(root: Path) -> str:
    """A name that processes have in common if they see each other's locks."""
    return f"{platform.node()}:{root.stat().st_dev}:{root}"


def _lock(run_id: str) -> str:
    """The name of a run's lock."""
    return f"run {run_id}"
