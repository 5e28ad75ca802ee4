"""Room on disks: a full one is reported in one line that names it; temporary folders of killed processes are removed."""

import errno
import functools
import os
import platform
import shutil
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
    place = Path(tempfile.gettempdir())
    _remove_left_folders(place)
    with room_in(place), tempfile.TemporaryDirectory(prefix=f"{_of_this_host()}{os.getpid()}-") as folder:
        yield Path(folder)


@contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    """Inside, temporary files of other libraries are in this folder too."""
    before = tempfile.tempdir
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


@functools.cache  # once in each process
def _remove_left_folders(place: Path) -> None:
    """Remove the temporary folders of processes that were killed."""
    for folder in place.glob(f"{_of_this_host()}*-*"):
        process = folder.name.removeprefix(_of_this_host()).partition("-")[0]
        if process.isdigit() and not Path(f"/proc/{process}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _of_this_host() -> str:
    """The beginning of the names of temporary folders: hosts that share a disk do not see each other's processes."""
    return f"ratespike-{platform.node()}-"
