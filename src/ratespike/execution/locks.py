"""Exclusive locks by name between the processes of a host, which the kernel releases when a process dies."""

import fcntl
import functools
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ratespike.parameters import ParameterError


class Locks:
    """Locks in one file: the lock of a name is a lock on one byte of it, so no number of names leaves anything behind.

    They belong to a process, whose threads do not exclude each other. Where the file lies on a shared file system that
    supports POSIX record locks (NFS 4 does), they hold between hosts.

    Args:
        path: the file; it is created if need be.

    Example:
        >>> import tempfile
        >>> locks = Locks(Path(tempfile.mkdtemp()) / "locks")
        >>> with locks.hold("training of LeNet"):
        ...     print("no other process trains LeNet")
        no other process trains LeNet
    """

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # never closed: that would release every lock

    def take(self, name: str, *, wait: bool) -> bool:
        """Take a lock.

        Args:
            name: of the lock; any text.
            wait: for another process that has the lock.

        Returns:
            Whether this process has it now: always, if it was to wait.
        """
        operation = fcntl.LOCK_EX
        if not wait:
            operation |= fcntl.LOCK_NB
        try:
            fcntl.lockf(self.file, operation, 1, _byte(name))
        except (BlockingIOError, PermissionError):
            return False
        return True

    def release(self, name: str) -> None:
        """Give a lock back."""
        fcntl.lockf(self.file, fcntl.LOCK_UN, 1, _byte(name))

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Have the lock inside; waits for it."""
        self.take(name, wait=True)
        try:
            yield
        finally:
            self.release(name)

    def held_elsewhere(self, name: str) -> bool:
        """Whether another process has the lock. Not to be called by a process that has it, which would lose it."""
        if not self.take(name, wait=False):
            return True
        self.release(name)
        return False


@functools.cache
def locks_below(root: Path) -> Locks:
    """The locks of a repository, in `outputs/locks` below its root: one object for each process.

    Raises:
        ParameterError: nothing can be written there.
    """
    folder = root / "outputs"
    try:
        return Locks(folder / "locks")
    except OSError as error:
        raise ParameterError(
            f"{folder} cannot be written to ({error.strerror}), where locks and trainings have to be"
        ) from None


def _byte(name: str) -> int:
    """The position of a name's byte: 56 bits of a hash, so that two names do not meet."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
