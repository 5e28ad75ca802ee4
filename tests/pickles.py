"""Which files hold a pickle: as they are, compressed, within a zip archive, or as a NumPy array of objects."""

import gzip
import io
import pickletools
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

_NUMPY = b"\x93NUMPY"


def with_pickles(folder: Path) -> set[Path]:
    """The files below a folder that hold a pickle."""
    return {path for path in folder.rglob("*") if path.is_file() and any(_pickles(path.read_bytes()))}


def _pickles(content: bytes) -> Iterator[bool]:
    """For each piece of a file whether it begins with a pickle."""
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
        for unpack in (gzip.decompress, zlib.decompress):
            try:
                yield from _pickles(unpack(content))
            except (OSError, EOFError, zlib.error):
                continue
        yield _begins_with_pickle(content)


def _begins_with_pickle(content: bytes) -> bool:
    """Whether bytes begin with opcodes of any of pickle's protocols, up to the last one; the first needs an empty stack."""
    try:
        opcodes = [opcode for opcode, _, _ in pickletools.genops(content)]
    except (ValueError, UnicodeDecodeError, IndexError):
        return False
    return not opcodes[0].stack_before
