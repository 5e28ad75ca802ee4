"""Printing that ends no program: a terminal may lack letters, and a reader such as `head` goes away before the end."""

import io
import os
import sys

from typing_extensions import Buffer


def print_whoever_reads() -> None:
    """Have this process print `?` for letters that its terminal lacks, and go on without a reader who went away.

    Python would raise an error in both cases, and a training that somebody has piped to `head` would end in its first epoch.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)  # None if it was closed before the program began
        if type(stream) is io.TextIOWrapper:
            setattr(sys, name, _outlasting_reader(stream))


def _outlasting_reader(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """A stream that writes to the same place."""
    stream.flush()
    raw = _Outlasting(stream.fileno(), "wb", closefd=False)
    buffer = raw if stream.write_through else io.BufferedWriter(raw)
    return io.TextIOWrapper(
        buffer,  # type: ignore[arg-type]
        encoding=stream.encoding,
        errors="replace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _Outlasting(io.FileIO):
    """A pipe; whatever is written behind the end of its reader goes nowhere."""

    def write(self, data: Buffer, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return super().write(data)
