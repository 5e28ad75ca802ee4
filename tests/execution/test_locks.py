import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

from ratespike.execution.locks import Locks


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
    assert here.recv() == "held" and process.pid is not None
    assert locks.held_elsewhere("a") and not locks.take("a", wait=False)
    assert not locks.held_elsewhere("b") and locks.take("b", wait=False)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not locks.held_elsewhere("a") and locks.take("a", wait=True)
    assert list(path.parent.iterdir()) == [path]
