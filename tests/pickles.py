"""Which files hold a pickle: as they are, within a zip archive, or as a NumPy array of objects."""

import io
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

_NUMPY = b"\x93NUMPY"


def with_pickles(folder: Path) -> set[Path]:
    """The files below a folder that hold a pickle."""
    return {path for path in folder.rglob("*") if path.is_file() and any(_pickles(path.read_bytes()))}


def _pickles(content: bytes) -> Iterator[bool]:
    """For each piece of a file whether it is a pickle."""
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                yield from _pickles(archive.read(name))
    elif content.startswith(_NUMPY):
        try:
            np.load(io.BytesIO(content), allow_pickle=False)
        except ValueError:
            yield True
    else:
        yield _is_pickle(content)


def _is_pickle(content: bytes) -> bool:
    """Whether bytes are opcodes of any of pickle's protocols, up to the last one."""
    if not content.endswith(b"."):  # the opcode that ends it
        return False
    try:
        return list(pickletools.genops(content))[-1][2] == len(content) - 1
    except (ValueError, UnicodeDecodeError, IndexError):
        return False
