"""Printing that ends no program; `tests/system/test_odd_places.py` pipes whole programs to `head`."""

import io
import os
import sys

import pytest

from ratespike.execution.printing import print_whoever_reads


def piped(monkeypatch: pytest.MonkeyPatch, name: str, encoding: str = "utf-8", unbuffered: bool = False) -> int:
    """Have a standard stream be a pipe, as Python makes it; returns the end that is read."""
    read, write = os.pipe()
    raw = io.FileIO(write, "wb", closefd=False)
    buffer = raw if unbuffered else io.BufferedWriter(raw)
    monkeypatch.setattr(sys, name, io.TextIOWrapper(buffer, encoding, write_through=unbuffered))  # type: ignore[arg-type]
    return read


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_what_is_printed_behind_the_end_of_the_reader_is_lost(
    monkeypatch: pytest.MonkeyPatch, name: str, unbuffered: bool
) -> None:
    read = piped(monkeypatch, name, unbuffered=unbuffered)
    print("before", file=getattr(sys, name))
    print_whoever_reads()
    print("read", file=getattr(sys, name), flush=True)
    assert os.read(read, 100) == b"before\nread\n"
    os.close(read)
    with pytest.raises(BrokenPipeError):
        os.write(getattr(sys, name).fileno(), b"nobody reads")
    for _ in range(2):
        print("lost", file=getattr(sys, name), flush=True)


def test_letters_that_the_terminal_lacks_are_question_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    read = piped(monkeypatch, "stdout", encoding="ascii")
    print_whoever_reads()
    print("Zürich", flush=True)
    assert os.read(read, 100) == b"Z?rich\n"


def test_streams_that_are_closed_or_another_programs_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    own = io.StringIO()
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", own)
    print_whoever_reads()
    assert sys.stdout is None
    assert sys.stderr is own
