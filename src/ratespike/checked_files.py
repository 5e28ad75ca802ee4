"""Files that may be damaged, or a stranger's: what is asked of them before their content is used."""

import hashlib
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ratespike.available_memory import check_fits
from ratespike.parameters import ParameterError

_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, MemoryError, OverflowError),
    *(NotImplementedError, RuntimeError, KeyError, TypeError, SyntaxError, tokenize.TokenError),  # of names and of headers
)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits.

    Args:
        path: of the file.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_archive(path: Path) -> None:
    """Check a file of `torch.save`: PyTorch writes a checksum of each tensor, and does not look at it when it reads.

    Args:
        path: of the file; one that is no zip archive, as PyTorch wrote them until 2020, has no checksums.

    Raises:
        ParameterError: a part of it is not what was written, or it claims to hold more than it does.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            claimed = sum(info.file_size for info in members)
            if claimed > path.stat().st_size:  # PyTorch compresses nothing
                raise ParameterError(_damaged(path, f"it claims to hold {claimed} bytes, more than its size"))
            # PyTorch reads nothing of what looks like a folder, and takes what was in memory for the numbers
            if any(
                (info.compress_type, info.external_attr, info.internal_attr, info.volume) != (0, 0, 0, 0) for info in members
            ):
                raise ParameterError(_damaged(path, "it is no archive as PyTorch writes it"))
            wrong = archive.testzip()
    except _DAMAGED as error:
        if isinstance(error, ParameterError):
            raise
        raise ParameterError(_damaged(path, str(error) or type(error).__name__)) from None
    if wrong is not None:
        raise ParameterError(_damaged(path, f"the checksum of {wrong[:60]!r} is wrong"))


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` file by name; arrays of Python objects are refused.

    Args:
        path: of the file.

    Raises:
        ParameterError: no such file, a damaged one, one of another format, or one that memory does not hold.

    Example:
        >>> path = getfixture("tmp_path") / "a.npz"
        >>> np.savez(path, a=np.arange(3))
        >>> read_npz(path)
        {'a': array([0, 1, 2])}
        >>> damaged = path.write_bytes(path.read_bytes()[:-1])
        >>> read_npz(path)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ratespike.parameters.ParameterError: ...a.npz: is damaged, or no .npz file (File is not a zip file); take another copy
    """
    try:
        with zipfile.ZipFile(path) as archive:
            check_fits(sum(info.file_size for info in archive.infolist()), str(path))
        with np.load(path, allow_pickle=False) as file:
            return {name: np.asarray(file[name]) for name in file.files}
    except FileNotFoundError:
        raise ParameterError(f"{path}: no such file") from None
    except _DAMAGED as error:
        if isinstance(error, ParameterError):
            raise
        raise ParameterError(_damaged(path, str(error) or type(error).__name__, ", or no .npz file")) from None


def _damaged(path: Path, reason: str, otherwise: str = "") -> str:
    return f"{path}: is damaged{otherwise} ({' '.join(reason.split())[:160]}); take another copy"
