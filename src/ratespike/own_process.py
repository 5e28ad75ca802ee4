"""A job of a sweep in a process of its own: what kills it leaves the others whole, and no job inherits another's state."""

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cloudpickle

from ratespike.parameters import ParameterError

INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended
_PATIENCE = 60  # seconds that a job has to end when the process that waits for it is gone
_PRELOAD = ["ratespike.run", "ratespike.simulation.event_driven"]  # imported once, for all jobs of this process


def run_in_own_process(task: Callable[[Any], None], job: Any) -> int:
    """Run `task(job)` in a new process and wait for its end.

    Whatever ends the waiting, such as Ctrl-C, interrupts the other process, and is raised again when that has ended.

    Returns:
        Its exit code: 0; 1 after an error, which it has printed; 130 if it was interrupted; below 0, the signal that killed it.
    """
    multiprocessing.set_start_method("forkserver", force=True)  # a worker of joblib has one that its children do not know
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    process = context.Process(target=_work, args=(cloudpickle.dumps((task, job, dict(os.environ))),))
    with _ignored(signal.SIGUSR2):  # SLURM sends it to all processes of a job; submitit, in this one, answers
        process.start()
    try:
        process.join()
    except BaseException:
        if process.pid is not None and process.is_alive():
            os.kill(process.pid, signal.SIGTERM)  # a shell lets background processes ignore SIGINT
        process.join()
        raise
    return int(process.exitcode or 0)


def interrupt_on_termination() -> None:
    """Treat SIGTERM, by which schedulers and `kill` end a process, as Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextmanager
def _ignored(number: signal.Signals) -> Iterator[None]:
    """A signal that processes that begin inside ignore; only a main thread can say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


def _work(pickled: bytes) -> None:
    interrupt_on_termination()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    task, job, environment = cloudpickle.loads(pickled)
    os.environ.clear()  # that of the fork server is of an earlier job
    os.environ.update(environment)
    try:
        task(job)
    except ParameterError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    os.kill(os.getpid(), signal.SIGKILL)
