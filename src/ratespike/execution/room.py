"""Disks that are full, reported in one line that says which folder has no room."""

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ratespike.parameters import ParameterError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class NoRoomError(ParameterError):
    """Something cannot be written for want of room."""


@contextmanager
def room_in(folder: Path) -> Iterator[None]:
    """Inside, where a folder is written to, a full disk is reported as a `NoRoomError` that names it.

    Example:
        >>> with room_in(Path("/outputs")):
        ...     raise OSError(errno.ENOSPC, "No space left on device")
        Traceback (most recent call last):
        ratespike.execution.room.NoRoomError: /outputs is full (No space left on device); make room there
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise NoRoomError(f"{folder} is full ({error.strerror}); make room there") from None


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that exists inside; raises `NoRoomError` where what is written there does not fit."""
    with room_in(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
