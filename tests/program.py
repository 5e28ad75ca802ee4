"""Programs in processes of their own, and what they leave in their database."""

import io
import os
import random
import runpy
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hydra.core.global_hydra import GlobalHydra

T = TypeVar("T")
ROOT = Path(__file__).parents[1]  # of the repository
CONF = ROOT / "conf"
SMALL = (  # a run that takes little longer than its imports: eight steps of training an epoch
    *("tracking.experiment=mnist", "+debug=fast", "data.train_images=200", "data.validation_images=20", "data.test_images=20"),
    *("data.batch_size=25", "trainer.max_epochs=2"),
    *(f"network.layers.conv{number}.filters=8" for number in (1, 2, 3)),
)
PATIENCE = 900  # seconds, for what takes some on a quiet machine: only a program that hangs needs longer


def start(folder: Path, *arguments: str, program: str = "train.py") -> subprocess.Popen[str]:
    """Start a program in a folder; its process leads a group of its own, and Ctrl-C (SIGINT) interrupts it."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "HYDRA"))}
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    environment["TMPDIR"] = str(temporary)  # leases of devices are there: a sweep of this user does not make this one wait
    environment.setdefault("RAY_TMPDIR", tempfile.gettempdir())  # paths of Ray's sockets have to be short
    command = [sys.executable, program, *arguments]
    with interruptible_children():
        return subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )


@contextmanager
def interruptible_children() -> Iterator[None]:
    """Processes that begin inside do not ignore SIGINT.

    A shell makes what it starts with `&` ignore it, and children inherit that: the tests may have been started so.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def wait_until(happened: Callable[[], T], process: subprocess.Popen[Any] | None = None, seconds: float = PATIENCE) -> T:
    """Wait until a condition has a true value, and return that; fail if `process` ends or the time is over before."""
    deadline = time.monotonic() + seconds
    while not (value := _unless_migrating(happened)):
        if process is not None and process.poll() is not None:
            pytest.fail(f"the program ended with exit code {process.returncode}: {process.communicate()}")
        if time.monotonic() > deadline:
            output = _killed(process) if process is not None else "no output"
            pytest.fail(f"it did not happen within {seconds} s; {output}")
        time.sleep(0.05)
    return value


def _unless_migrating(happened: Callable[[], T]) -> T | None:
    """The value of a condition; None while the database that it reads has no tables yet."""
    try:
        return happened()
    except sqlite3.OperationalError:
        return None


def _killed(process: subprocess.Popen[Any]) -> tuple[Any, Any]:
    """The output of a process, which is killed with its group so that it does not outlive its test."""
    os.killpg(process.pid, signal.SIGKILL)
    return process.communicate()


class Held:
    """Trainings that stand still in their second epoch; `train_held.py` beside the checkout's programs does that.

    Attributes:
        hold: the file for as long as which they stand still.
    """

    def __init__(self, checkout: Path):
        self._checkout = checkout
        self.hold = checkout / "hold"

    def processes(self) -> list[int]:
        """The ids of the processes that stand still or have done so."""
        return [int(path.suffix[1:]) for path in self._checkout.glob("held.*")]

    def release(self) -> None:
        """Let them go on, and forget them."""
        self.hold.unlink(missing_ok=True)
        for path in self._checkout.glob("held.*"):
            path.unlink()


def free_port() -> int:
    """A port of loopback that nobody listens to, below those that the kernel gives to connections by itself.

    So no other process is given it between this call and its use, however late that is.
    """
    first_of_kernel = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = range(10_000, first_of_kernel) or range(10_000, 2**16)  # some hosts leave the kernel all ports
    while True:
        port = random.SystemRandom().choice(ports)  # whatever the seed of a test
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def run(folder: Path, *arguments: str, program: str = "train.py") -> tuple[int, str, str]:
    """Run a program to its end: exit code, standard output, standard error."""
    process = start(folder, *arguments, program=program)
    try:
        out, error = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        pytest.fail(f"{program} did not end within {PATIENCE} s: {_killed(process)}")
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


def tags(folder: Path, run_id: str) -> dict[str, str]:
    return {str(key): str(value) for key, value in query(folder, "select key, value from tags where run_uuid = ?", run_id)}


def names(folder: Path) -> dict[str, str]:
    """Run ids by name."""
    return {str(name): str(run_id) for name, run_id in query(folder, "select name, run_uuid from runs")}


def metrics(folder: Path, run_id: str) -> dict[tuple[object, object], object]:
    """All values by name and step, but for speeds; each is logged once."""
    rows = query(folder, "select key, step, value from metrics where run_uuid = ?", run_id)
    assert len(rows) == len({(key, step) for key, step, _ in rows})
    return {(key, step): value for key, step, value in rows if "second" not in str(key)}
