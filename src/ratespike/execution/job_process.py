"""A job of a multirun in a process of its own: what kills it leaves the others whole, and no job inherits another's state.

The process is forked from Python's fork server, a small process that imports once what all jobs need. Three processes take
part: the one that waits for the job, the fork server, and the job's own. All may get the same signal at the same moment, from
Ctrl-C or from a scheduler. The waiting process then interrupts the job, waits for its end, and raises the interruption again.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any

import cloudpickle

from ratespike.execution.printing import print_whoever_reads
from ratespike.parameters import ParameterError

INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended
_END_WITHIN = 60  # seconds that a job has to end when the process that waits for it is gone


def run_in_own_process(task: Callable[[Any], None], job: Any, preload: Sequence[str] = ()) -> int:
    """Run `task(job)` in a new process and wait for its end.

    Whatever ends the waiting, such as Ctrl-C, interrupts the other process, and is raised again when that has ended.

    Args:
        task: is pickled by value, so it may be a function within a function.
        job: its argument, pickled too.
        preload: names of modules that the fork server imports when it starts, so that the jobs need not.

    Returns:
        Its exit code: 0; 1 after an error, which it has printed; 130 if it was interrupted; below 0, the signal that killed it.
    """
    # A worker of joblib has a start method of its own, which children of the fork server do not know.
    multiprocessing.set_start_method("forkserver", force=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    pickled = cloudpickle.dumps((task, job, dict(os.environ)))
    process = context.Process(target=_run_pickled, args=(pickled,))
    try:
        _start(process)
        process.join()
    except BaseException:
        if process.pid is not None and process.is_alive():
            os.kill(process.pid, signal.SIGTERM)  # not SIGINT, which a shell makes background processes ignore
            process.join()
        raise
    return int(process.exitcode or 0)


def interrupt_on_termination() -> None:
    """Treat SIGTERM, by which schedulers and `kill` end a process, as Ctrl-C: Python raises `KeyboardInterrupt`."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _start(process: BaseProcess) -> None:
    """Start the fork server, if this is its first job, and have it fork the process.

    Ctrl-C must not meet a half-started process: nobody would know its number, and it would go on alone. Nor must it meet the
    fork server, which would print a traceback of its imports. The fork server begins with the signal blocked, and the job
    unblocks it. SIGUSR2 stays blocked in both: SLURM sends it to all processes of a job, but submitit answers it, in the
    process that waits. SIGTERM is not blocked: if it did not end the fork server, submitit would wait for a job that SLURM has
    cancelled for ever.
    """
    resource_tracker.ensure_running()  # it unblocks SIGINT when it starts, so it has to start before SIGINT is blocked
    with _handled_afterwards(signal.SIGINT, signal.SIGTERM), _blocked_in_children(signal.SIGINT, signal.SIGUSR2):
        process.start()


@contextmanager
def _handled_afterwards(*signals: signal.Signals) -> Iterator[None]:
    """Handle the signals that come inside when the context ends, by the handlers that Python has for them.

    Python calls handlers in the main thread alone, so in another thread there is nothing to do.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    handlers = {}
    for number in signals:
        has_handler = signal.getsignal(number) not in (signal.SIG_IGN, None)  # None: it is not Python's
        if has_handler:
            handlers[number] = signal.signal(number, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for late in received:
            signal.raise_signal(late)


@contextmanager
def _blocked_in_children(*signals: signal.Signals) -> Iterator[None]:
    """Processes that begin inside inherit that the signals are blocked: they do not reach them until they unblock them."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _run_pickled(pickled: bytes) -> None:
    """What the job's process does: run the task, and end with the exit code that `run_in_own_process` promises."""
    try:
        interrupt_on_termination()
        print_whoever_reads()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
        threading.Thread(target=_end_with_parent, daemon=True).start()
        task, job, environment = cloudpickle.loads(pickled)
        os.environ.clear()  # it is the fork server's, which has that of an earlier job
        os.environ.update(environment)
        task(job)
    except ParameterError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def _end_with_parent() -> None:
    """Wait for the end of the process that waits for this one; then interrupt this one, and kill it if that does not end it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_END_WITHIN)
    os.kill(os.getpid(), signal.SIGKILL)
