"""What is made of files is made of what they hold, and can be made again whatever happened to it."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ratespike.data import Cache
from ratespike.parameters import ParameterError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "files" / "a.txt"
    path.parent.mkdir()
    path.write_text("hello")
    os.utime(path, (0, 0))  # a file system's clock may stand still for some milliseconds
    return path


def copy(cache: Cache, source: Path) -> Path:
    """A file in the cache that holds what `source` does."""
    return cache.made("copy", source.parent, [source], lambda place: (place / "copy").write_text(source.read_text())) / "copy"


def test_nothing_is_kept_of_a_file_that_changes_while_it_is_read(source: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")

    def make(place: Path) -> None:
        source.write_text("other")  # as long as before
        (place / "copy").write_text(source.read_text())

    with pytest.raises(ParameterError, match=r"1 files changed while they were read, such as a\.txt; start again"):
        cache.made("copy", source.parent, [source], make)
    source.write_text("hello")
    assert copy(cache, source).read_text() == "hello"


@pytest.mark.parametrize("damage", [lambda path: path.write_text("he"), lambda path: path.unlink()])
def test_what_was_made_is_made_anew_when_it_is_damaged(source: Path, tmp_path: Path, damage: Callable[[Path], object]) -> None:
    cache = Cache(tmp_path / "cache")
    damage(copy(cache, source))
    assert copy(cache, source).read_text() == "hello"


def test_two_that_make_the_same_at_the_same_time(source: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")

    def make(place: Path) -> None:
        copy(cache, source)  # the other one is the first to end
        (place / "copy").write_text("hello")

    made = cache.made("copy", source.parent, [source], make)
    assert (made / "copy").read_text() == "hello"
    assert not list((tmp_path / "cache").glob("making-*"))


def test_a_cache_that_cannot_be_written(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    cache = Cache(tmp_path / "file" / "cache")
    assert cache.content(source.parent, [source]) == Cache(tmp_path / "cache").content(source.parent, [source])
    with pytest.raises(ParameterError, match=r"the cache .*cache cannot be written \(Not a directory\)"):
        copy(cache, source)


def test_what_a_killed_program_left_is_removed_after_a_day(source: Path, tmp_path: Path) -> None:
    left, at_work = tmp_path / "cache" / "making-1", tmp_path / "cache" / "making-2"
    two_days_ago = time.time() - 2 * 24 * 60 * 60
    for folder in (left, at_work):
        folder.mkdir(parents=True)
        (folder / "copy").write_text("hel")
        os.utime(folder, (two_days_ago, two_days_ago))
    os.utime(left / "copy", (two_days_ago, two_days_ago))
    copy(Cache(tmp_path / "cache"), source)
    assert not left.exists()
    assert at_work.exists(), "its file was written a moment ago"


def test_a_large_file_is_known_by_all_of_its_bytes(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ratespike.data.cache._LARGE", 1000)
    cache = Cache(tmp_path / "cache")
    contents = set()
    for changed in (0, 1000, 999_999):
        source.write_bytes(bytes(changed) + b"x" + bytes(1_000_000 - changed))
        os.utime(source, (0, changed))
        with caplog.at_level(logging.INFO):
            contents.add(cache.content(source.parent, [source]))
    assert len(contents) == 3
    assert "a.txt: its 0.0 GiB are read, once" in caplog.text


def test_two_files_of_a_folder_are_read_once(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other, cache = source.with_name("b.txt"), Cache(tmp_path / "cache")
    other.write_text("there")
    for path in (source, other):
        cache.content(source.parent, [path])
    monkeypatch.setattr("ratespike.data.cache._content_of_file", None)
    cache.content(source.parent, [source, other])
    cache.content(source, [source])
