"""The status of a run, and whether a run that says RUNNING is alive.

A process that dies leaves its run RUNNING for ever. So a living one gives two signs: it holds a lock of the run, which the
kernel releases when the process dies, however that happens; and it writes a heartbeat, a tag, for other hosts, which do
not see the lock.

A run whose store goes away ends as others do, in this process; what it has to say then waits (`ratespike.tracking.waiting`).
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
from ratespike.tracking.bring_in import at_once, bring_in, run_lock
from ratespike.tracking.runs import Entity, Run, first_line

HOST = "ratespike.host"
HEARTBEAT = "ratespike.heartbeat"  # seconds since 1970
ERROR = "ratespike.error"
_BEAT_EVERY = 30  # seconds
_DEAD_AFTER = 180  # seconds without a heartbeat
_LAST_BEAT = 5  # seconds for it to end, which does not matter to a run that has
_LONGEST_ERROR = 5000  # characters that MLflow keeps of a tag


@contextmanager
def track(run: Run, root: Path, system_metrics: bool) -> Iterator[None]:
    """Have the run RUNNING inside; behind, it is FINISHED, KILLED by an interruption, or FAILED with its error as a tag.

    Args:
        run: becomes MLflow's active run of this process; a stage of a training does within its training's.
        root: the folder below which the locks are.
        system_metrics: whether MLflow logs the load of processors and memory.

    Raises:
        ParameterError: another process is at work on the run; or the store went away and is not back at the end, so that the
            results wait.
    """
    locks = locks_below(root)
    if not locks.take(run_lock(run.id), wait=False):
        raise ParameterError(f"run {run.id} is still running, in another process")
    status = "KILLED"  # by whatever interrupts the lines below, at any of them
    try:
        run.begin_work(root)
        # Not as a context: MLflow would write a status of its own before ours.
        mlflow.start_run(run.id, log_system_metrics=system_metrics, nested=True)
        with _heartbeat(run):
            yield
        if run.tag(ERROR):  # of an earlier attempt
            run.remove_tag(ERROR)
        status = "FINISHED"
    except Exception as error:
        status = "FAILED"
        with suppress(ParameterError):  # there is no room for it
            run.tags({ERROR: f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]})
        raise
    finally:
        try:
            _end(run, status)
        finally:
            locks.release(run_lock(run.id))


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
        return locks_below(root).held_elsewhere(run_lock(run.info.run_id))
    return time.time() - float(tags.get(HEARTBEAT, 0)) < _DEAD_AFTER


def signs_of_life(root: Path) -> dict[str, str]:
    """The tags of a run that begins now, by which other processes see that it is alive."""
    return {HOST: _host(root), HEARTBEAT: _now()}


def _end(run: Run, status: str) -> None:
    """Give the run its last status, in the store or where its results wait; then bring them in, if the store is back.

    Raises:
        ParameterError: it is not, though the run is FINISHED.
    """
    try:
        run.end(status, lambda: mlflow.end_run(status))
    except ParameterError:  # no room for it: then what ended the run says so
        if status == "FINISHED":
            raise
    if not run.is_waiting or run.waiting is None:
        return
    with at_once():
        if mlflow.active_run() is not None:
            with suppress(MlflowException):
                mlflow.end_run(status)  # in this process
        try:
            bring_in(run.client, run.waiting)
        except (MlflowException, OSError) as error:
            if status == "FINISHED":
                reason = f"{run.client.tracking_uri}: {first_line(error)}"
                how = "the next command with this tracking.uri brings them in"
                raise ParameterError(f"results of run {run.id} wait in {run.waiting.folder} ({reason}); {how}") from None


@contextmanager
def _heartbeat(run: Run) -> Iterator[None]:
    """Renew the run's heartbeat inside, in a thread."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(_BEAT_EVERY):
            with suppress(MlflowException):  # a server that is away may come back
                run.client.set_tag(run.id, HEARTBEAT, _now())

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_LAST_BEAT)


def _now() -> str:
    return str(int(time.time()))


def _host(root: Path) -> str:
    """A name that processes have in common if they see each other's locks."""
    return f"{platform.node()}:{root.stat().st_dev}:{root}"
