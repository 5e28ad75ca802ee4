"""Files that are there as a whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A path to write to; what is there at the end of the `with` block becomes the file, unless the block raises.

    Args:
        path: of the file; what was there before stays until then.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with whole_file(f"{folder}/a.txt") as unfinished:
        ...         size = unfinished.write_text("all of it")
        ...     print([(file.name, file.read_text()) for file in Path(folder).iterdir()])
        [('a.txt', 'all of it')]
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.stem}.unfinished{path.suffix}")
    try:
        yield unfinished
        os.replace(unfinished, path)  # noqa: PTH105
    finally:
        unfinished.unlink(missing_ok=True)
