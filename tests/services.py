"""Servers that tests start on loopback, on free ports, and end again."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

_END_WITHIN = 60  # seconds


def found(name: str, package: str, *folders: str) -> str:
    """The path of a program; the test is skipped where it is not installed."""
    path = shutil.which(name, path=os.pathsep.join([*folders, os.environ["PATH"], "/usr/sbin"]))
    if path is None:
        pytest.skip(f"{name} is not installed (Debian's package {package})")
    return path


@contextmanager
def service(command: Sequence[str | Path], log: Path, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """Have a program run inside, in a process group of its own, which is ended afterwards.

    Args:
        command: the program and its arguments.
        log: the file for its output.
        **options: of `subprocess.Popen`.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, **options)  # type: ignore[call-overload]
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=_END_WITHIN)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def listens(port: int) -> bool:
    """Whether a program listens to a port of loopback."""
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0
