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
from multiprocessing import resource_tracker
from typing import Any

import cloudpickle

from ratespike.parameters import ParameterError

INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended
_PATIENCE = 60  # seconds that a job has to end when the process that waits for it is gone
_PRELOAD = ["ratespike.pipeline.run", "ratespike.simulation.event_driven"]  # imported once, for all jobs of this process


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
    resource_tracker.ensure_running()  # which begins with unblocked signals, and leaves them so
    try:
        with _postponed(signal.SIGINT, signal.SIGTERM), _blocked(signal.SIGINT, signal.SIGUSR2):
            process.start()
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
def _postponed(*numbers: signal.Signals) -> Iterator[None]:
    """Signals that Python handles take effect at the end; only a main thread can say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    heeded = [number for number in numbers if signal.getsignal(number) not in (signal.SIG_IGN, None)]  # None: not Python's
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)


@contextmanager
def _blocked(*numbers: signal.Signals) -> Iterator[None]:
    """Signals that processes do not notice that begin inside."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pickled: bytes) -> None:
    try:
        interrupt_on_termination()
        # not SIGUSR2, which SLURM sends to all processes of a job; submitit, in the one that waits, answers
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
        threading.Thread(target=_end_with_parent, daemon=True).start()
        task, job, environment = cloudpickle.loads(pickled)
        os.environ.clear()  # that of the fork server is of an earlier job
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
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    os.kill(os.getpid(), signal.SIGKILL)
