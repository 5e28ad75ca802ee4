"""Programs in processes of their own, and what they leave in their database."""

import io
import os
import runpy
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hydra.core.global_hydra import GlobalHydra

T = TypeVar("T")
ROOT = Path(__file__).parents[1]  # of the repository
CONF = ROOT / "conf"


def start(folder: Path, *arguments: str, program: str = "train.py") -> subprocess.Popen[str]:
    """Start a program in a folder; its process leads a group of its own."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "HYDRA"))}
    command = [sys.executable, program, *arguments]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def wait_until(happened: Callable[[], T], process: subprocess.Popen[Any] | None = None, seconds: float = 300) -> T:
    """Wait for so long at most, and while `process` lives, until a condition has a true value, which is returned."""
    deadline = time.monotonic() + seconds
    while not (value := _unless_migrating(happened)):
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"it did not happen within {seconds} s"
        time.sleep(0.05)
    return value


def _unless_migrating(happened: Callable[[], T]) -> T | None:
    """What a condition says; None while the database that it asks has no tables yet."""
    try:
        return happened()
    except sqlite3.OperationalError:
        return None


def free_port() -> int:
    """A port of loopback that nobody listens to."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def run(folder: Path, *arguments: str, program: str = "train.py") -> tuple[int, str, str]:
    """Run a program to its end: exit code, standard output, standard error."""
    process = start(folder, *arguments, program=program)
    out, error = process.communicate(timeout=600)
    return process.returncode, out, error


def run_here(folder: Path, *arguments: str, program: str = "train.py") -> tuple[int, str, str]:
    """The same in this process, which spares the imports, for a program that is to end before it starts a run."""
    out, error = io.StringIO(), io.StringIO()
    on_termination = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(error):
        for name in {"HYDRA_FULL_ERROR", *os.environ}:
            if name.startswith(("MLFLOW_TRACKING", "HYDRA")):
                patch.setenv(name, "")
                patch.delenv(name)
        patch.setenv("RATESPIKE_CUDA_VISIBLE_DEVICES", "")  # which the program may set
        patch.setattr(sys, "argv", [program, *arguments])
        patch.chdir(folder)
        GlobalHydra.instance().clear()
        try:
            runpy.run_path(str(folder / program), run_name="__main__")
            code: object = 0
        except SystemExit as end:
            code = end.code
        finally:
            signal.signal(signal.SIGTERM, on_termination)
            GlobalHydra.instance().clear()
    if isinstance(code, str):
        return 1, out.getvalue(), f"{error.getvalue()}{code}\n"
    assert code is None or isinstance(code, int)
    return code or 0, out.getvalue(), error.getvalue()


def query(folder: Path, sql: str, *values: str) -> list[tuple[object, ...]]:
    """Ask the database in a folder."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        return database.execute(sql, values).fetchall()


def run_ids(folder: Path) -> list[str]:
    """All runs, the oldest first."""
    return [str(row[0]) for row in query(folder, "select run_uuid from runs order by start_time")]


def status(folder: Path, run_id: str) -> object:
    """A run's status."""
    return query(folder, "select status from runs where run_uuid = ?", run_id)[0][0]


def metrics(folder: Path, run_id: str) -> dict[tuple[object, object], object]:
    """All values by name and step, but for speeds; each is logged once."""
    rows = query(folder, "select key, step, value from metrics where run_uuid = ?", run_id)
    assert len(rows) == len({(key, step) for key, step, _ in rows})
    return {(key, step): value for key, step, value in rows if "second" not in str(key)}
