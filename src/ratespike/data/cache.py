"""What was made of a data set's files, kept on disk and found again by the files' content.

A file whose size and times have not changed is not read again to learn its content: the second start is immediate. A changed
file changes the content of its set, for which everything is made anew. The folder of the cache may be deleted at any time.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from ratespike.parameters import ParameterError

MOST_DEFLATED = 1100  # times: nothing that gzip or zip has packed unpacks to more than 1032 times its size
_LARGE = 2**30  # bytes, which take a second to read; of a larger file the log says why nothing happens
_DAY = 24 * 60 * 60  # s
_MAKING = "making-"  # begins the names of folders that are not complete
_SIZES = "sizes.json"  # in a folder that is complete: how many bytes each of its files has
_Known = dict[str, tuple[list[int], str]]  # by the name of a file, its state and a hash of its content
_logger = logging.getLogger(__name__)


class Cache:
    """Folders of files that were made of other files.

    Args:
        folder: where they are kept; made when it is needed.

    Example:
        >>> folder = Path(getfixture("tmp_path"))
        >>> _ = (folder / "a.txt").write_text("hello")
        >>> cache = Cache(folder / "cache")
        >>> made = cache.made("length", folder, [folder / "a.txt"], lambda place: (place / "length").write_text("5"))
        >>> (made / "length").read_text()
        '5'
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def content(self, folder: Path, files: Sequence[str | Path]) -> str:
        """A hash of the names and the content of files; one that cannot be read counts as empty.

        Args:
            folder: above all of them, or the only one.
            files: in any order.
        """
        return _hash_of(self._known(folder, files))

    def made(self, how: str, folder: Path, files: Sequence[str | Path], make: Callable[[Path], object]) -> Path:
        """The folder that was made of files; made now if it was not, or if what was made is damaged.

        Args:
            how: changes when something else is made of the same files.
            folder: above all of them.
            files: in any order.
            make: writes files into an empty folder. If it raises, nothing is kept.

        Raises:
            ParameterError: no room on the disk, no permission to write, or files that changed while they were read.
        """
        known = self._known(folder, files)
        place = self._folder / _hash(json.dumps([how, _hash_of(known)]))
        try:
            if not _is_whole(place):
                self._folder.mkdir(parents=True, exist_ok=True)
                self._remove_abandoned()
                with tempfile.TemporaryDirectory(dir=self._folder, prefix=_MAKING, ignore_cleanup_errors=True) as working:
                    make(Path(working))
                    _check_unchanged(folder, known)
                    _finish(Path(working), place)
        except OSError as error:
            advice = "make room, or let it be written"
            raise ParameterError(f"the cache {self._folder} cannot be written ({error.strerror}); {advice}") from None
        return place

    def check_room(self, size: int, what: str) -> None:
        """Raise `ParameterError` if so many bytes, which `what` takes unpacked, do not fit on the disk."""
        self._folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._folder).free
        if size > free:
            raise ParameterError(f"{what} takes {size:,} bytes unpacked; the disk of {self._folder} has {free:,}")

    def _known(self, folder: Path, files: Sequence[str | Path]) -> _Known:
        """The states and contents of files, by their names below `folder`; only changed files are read."""
        above = folder if folder.is_dir() else folder.parent
        remembered = self._folder / "content" / f"{_hash(str(above.resolve()))}.json"
        before = _read_json(remembered)
        known: _Known = {}
        unknown: list[tuple[str, list[int], str]] = []
        start = f"{above}{os.sep}"
        for given in files:
            path = os.fspath(given)
            name, state = path.removeprefix(start), _state(path)
            entry = before.get(name)
            if isinstance(entry, list) and len(entry) == 2 and entry[0] == state and entry[1]:
                known[name] = (state, str(entry[1]))
            else:
                unknown.append((name, state, path))
        with ThreadPoolExecutor() as threads:
            contents = threads.map(_content_of_file, [path for _, _, path in unknown])
            for (name, state, _), content in zip(unknown, contents, strict=True):
                known[name] = (state, content)
        if unknown:
            _remember(remembered, before | known)
        return known

    def _remove_abandoned(self) -> None:
        """Remove what programs left that were killed while they made something: nothing was written there for a day."""
        for folder in self._folder.glob(f"{_MAKING}*"):
            with suppress(OSError):  # another process finishes it, or removes it too
                written = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
                if time.time() - written > _DAY:
                    shutil.rmtree(folder)


def _hash_of(known: _Known) -> str:
    return _hash(json.dumps(sorted((name, content) for name, (_, content) in known.items())))


def _remember(path: Path, known: Mapping[str, object]) -> None:
    """Write a file that others may read at the same time. Where nothing can be written, the next start takes longer."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as working:
            written = Path(working) / path.name
            written.write_text(json.dumps(known), encoding="utf-8")
            written.replace(path)


def _check_unchanged(folder: Path, known: _Known) -> None:
    """Raise `ParameterError` if what was made may be of other files than those whose content is known."""
    changed = [name for name, (state, _) in known.items() if _state(os.path.join(folder, name)) != state]  # noqa: PTH118  # as below
    if changed:
        raise ParameterError(f"{len(changed)} files changed while they were read, such as {changed[0]}; start again")


def _finish(working: Path, place: Path) -> None:
    """Give a folder its name, unless another process has made the same one meanwhile; a damaged one gives way."""
    (working / _SIZES).write_text(json.dumps(_sizes(working)), encoding="utf-8")
    try:
        working.rename(place)
    except OSError:
        if not _is_whole(place):
            shutil.rmtree(place)
            working.rename(place)


def _is_whole(place: Path) -> bool:
    """Whether a folder holds what was made, and no file has been removed or cut."""
    sizes = _read_json(place / _SIZES)
    return bool(sizes) and sizes == _sizes(place)


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir() if path.name != _SIZES}


def _state(path: str) -> list[int]:
    """What changes when a file is written: its size, and the times of its last changes, of which one cannot be set.

    Empty if there is no such file, as behind a broken link.
    """
    try:
        status = os.stat(path)  # noqa: PTH116  # a `Path` takes three times as long, of each of many files
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _content_of_file(path: str) -> str:
    """A hash of all its bytes; empty if it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > _LARGE:
                _logger.info("%s: its %.1f GiB are read, once, to know it by its content", path, size / 2**30)
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _read_json(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _hash(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:24]
