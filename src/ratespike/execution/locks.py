"""Exclusive locks by name between the processes of a host, which the kernel releases when a process dies."""

import fcntl
import functools
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Locks:
    """Locks that are bytes of one file, so that however many names leave nothing behind.

    They belong to a process, whose threads do not exclude each other. Where the file lies on a shared file system that
    supports POSIX record locks (NFS 4 does), they hold between hosts.

    Args:
        path: the file; made if it is not there.
    """

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # never closed: that would release every lock

    def take(self, name: str, *, wait: bool) -> bool:
        """Take a lock; False if another process has it and there is to be no waiting."""
        try:
            fcntl.lockf(self.file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, _byte(name))
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
        """Whether another process has the lock; only for a lock that this one does not have."""
        free = self.take(name, wait=False)
        if free:
            self.release(name)
        return not free


@functools.cache
def locks_below(root: Path) -> Locks:
    """The locks of a repository: one object a process."""
    return Locks(root / "outputs" / "locks")


def _byte(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
