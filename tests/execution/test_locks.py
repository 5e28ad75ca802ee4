import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from ratespike.execution.locks import Locks, locks_below
from ratespike.parameters import ParameterError


def hold(path: Path, name: str, ready: Connection) -> None:
    with Locks(path).hold(name):
        ready.send("held")
        signal.pause()


def test_a_lock_excludes_other_processes_until_its_holder_dies(tmp_path: Path) -> None:
    path = tmp_path / "outputs" / "locks"
    locks = Locks(path)
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=hold, args=(path, "a", there))
    process.start()
    there.close()  # so that `recv` raises EOFError if the process ends before it has the lock
    assert here.recv() == "held"
    assert process.pid is not None
    assert locks.held_elsewhere("a")
    assert not locks.take("a", wait=False), "two processes have a lock"
    assert not locks.held_elsewhere("b")
    assert locks.take("b", wait=False), "a lock that nobody has is refused"
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not locks.held_elsewhere("a"), "a dead process has a lock"
    assert locks.take("a", wait=True)
    assert list(path.parent.iterdir()) == [path], "locks leave files behind"


def test_outputs_that_cannot_be_written_to_are_reported_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "outputs").touch()
    with pytest.raises(ParameterError, match=rf"{tmp_path}/outputs cannot be written to \(File exists\)"):
        locks_below(tmp_path)
