"""What was made of a data set's files, kept on disk and found again by the files' content.

A file whose size and times have not changed is not read again to learn its content: the second start is immediate. A changed
file changes the content of its set, for which everything is made anew. The folder of the cache may be deleted at any time.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ratespike.parameters import ParameterError

MOST_DEFLATED = 1100  # times: nothing that gzip or zip has packed unpacks to more than 1032 times its size
_READ_WHOLE = 2**30  # bytes; of a larger file the content is known by samples, its size and the time of its last change
_SAMPLES = 256
_BLOCK = 2**20  # bytes


class Cache:
    """Folders of files that were made of other files.

    Args:
        folder: where they are kept; made when it is needed.

    Example:
        >>> folder = Path(getfixture("tmp_path"))
        >>> _ = (folder / "a.txt").write_text("hello")
        >>> cache = Cache(folder / "cache")
        >>> content = cache.content(folder, [folder / "a.txt"])
        >>> made = cache.made(content, lambda place: (place / "length").write_text("5"))
        >>> (made / "length").read_text()
        '5'
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def content(self, folder: Path, files: Sequence[str | Path]) -> str:
        """A hash of the names and the content of files.

        Args:
            folder: above all of them, or the only one.
            files: in any order.
        """
        remembered = self._folder / "content" / f"{_hash(str(folder.resolve()))}.json"
        before = _read_json(remembered)
        known: dict[str, tuple[list[int], str]] = {}
        unknown: list[tuple[str, list[int], str]] = []
        start = f"{folder if folder.is_dir() else folder.parent}{os.sep}"
        for given in files:
            path = os.fspath(given)
            name, state = path.removeprefix(start), _state(path)
            entry = before.get(name)
            if isinstance(entry, list) and len(entry) == 2 and entry[0] == state:
                known[name] = (state, str(entry[1]))
            else:
                unknown.append((name, state, path))
        with ThreadPoolExecutor() as threads:
            contents = threads.map(_content_of_file, [path for _, _, path in unknown])
            for (name, state, _), content in zip(unknown, contents, strict=True):
                known[name] = (state, content)
        if unknown:
            self._write(remembered, json.dumps(known))
        return _hash(json.dumps(sorted((name, content) for name, (_, content) in known.items())))

    def made(self, key: str, make: Callable[[Path], object]) -> Path:
        """The folder that was made for a key; made now if it was not.

        Args:
            key: changes when what it was made of changes.
            make: writes into an empty folder. If it raises, nothing is kept.

        Raises:
            ParameterError: there is no room on the disk.
        """
        place = self._folder / _hash(key)
        if place.is_dir():
            return place
        self._folder.mkdir(parents=True, exist_ok=True)
        working = Path(tempfile.mkdtemp(dir=self._folder, prefix="making-"))
        try:
            make(working)
            _move(working, place)
        except OSError as error:
            raise ParameterError(f"the cache {self._folder} cannot be written ({error.strerror})") from None
        finally:
            shutil.rmtree(working, ignore_errors=True)
        return place

    def check_room(self, size: int, what: str) -> None:
        """Raise `ParameterError` if so many bytes, which `what` takes unpacked, do not fit on the disk."""
        self._folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._folder).free
        if size > free:
            raise ParameterError(f"{what} takes {size:,} bytes unpacked; the disk of {self._folder} has {free:,}")

    def _write(self, path: Path, text: str) -> None:
        """Write a file that others may read at the same time."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(text)
        Path(file.name).replace(path)


def _move(working: Path, place: Path) -> None:
    """Give a folder its name; another process may have made the same one meanwhile."""
    try:
        working.rename(place)
    except OSError:
        if not place.is_dir():
            raise


def _state(path: str) -> list[int]:
    """What changes when a file is written: its size, and the times of its last changes, of which one cannot be set."""
    status = os.stat(path)  # noqa: PTH116  # a `Path` takes three times as long, of each of many files
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _content_of_file(path: str) -> str:
    digest = hashlib.sha256()
    size, changed, _ = _state(path)
    with Path(path).open("rb") as file:
        if size <= _READ_WHOLE:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{size} {changed}".encode())
        for sample in range(_SAMPLES):
            file.seek(sample * (size - _BLOCK) // (_SAMPLES - 1))
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def _read_json(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _hash(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:24]
