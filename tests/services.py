"""Servers that tests start on loopback, on free ports, and end again."""

import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_END_WITHIN = 60  # seconds
_LISTENS = "0A"  # as the kernel writes it


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


def addresses_listened_to(group: int) -> set[str]:
    """The addresses at which the processes of a group wait for connections."""
    inodes = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            if os.getpgid(int(process.name)) == group:
                inodes |= {file.readlink().name.removeprefix("socket:[").rstrip("]") for file in (process / "fd").iterdir()}
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == _LISTENS and rest[5] in inodes:
                words = bytes.fromhex(local.partition(":")[0])  # of 32 bits, each in the order of this host
                in_order = b"".join(words[place : place + 4][::-1] for place in range(0, len(words), 4))
                found.add(socket.inet_ntop(family, in_order))
    return found


@contextmanager
def answering(answer: bytes, *, then_wait: bool = False) -> Iterator[str]:
    """The address of a server that answers every request with these bytes, and then hangs or closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        open_ones = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                open_ones.append(connection)
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

        def talk(connection: socket.socket) -> None:
            with suppress(OSError):  # who asked has gone
                if connection.recv(4096):  # nothing, if only somebody knocks
                    connection.sendall(answer)
                    if not then_wait:
                        connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        for connection in open_ones:
            connection.close()
