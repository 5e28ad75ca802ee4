"""How much memory there is, asked before a network, a simulation or a data set takes it.

Where memory runs out Linux kills the process, without a word, or another one. So whoever knows how much it is going to need
asks here first.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from ratespike.parameters import ParameterError

_PROC = Path("/proc")
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def available_bytes() -> int | None:
    """The memory that this process can still have; None on a system that does not say.

    It is the least of what the kernel calls available, what the control groups of this process leave, and what `ulimit -v`
    leaves.

    Example:
        >>> available_bytes() > 2**20
        True
    """
    return min(_limits(), default=None)


def check_fits(n_bytes: int, what: str) -> None:
    """Raise `ParameterError` if so much memory is not there.

    Args:
        n_bytes: how much is needed.
        what: is needed for, with the setting to change: it begins the line.

    Example:
        >>> check_fits(2**60, "n_steps=1000000000000")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ratespike.parameters.ParameterError: n_steps=1000000000000: needs 1 EiB of memory; there are ...
    """
    available = available_bytes()
    if available is not None and n_bytes > available:
        raise ParameterError(f"{what}: needs {_in_words(n_bytes)} of memory; there are {_in_words(available)}")


def _in_words(n_bytes: int) -> str:
    """In the largest unit of which there is one, with three digits.

    Example:
        >>> _in_words(3 * 2**29)
        '1.5 GiB'
    """
    place = max(0, min(len(_UNITS) - 1, (max(1, n_bytes).bit_length() - 1) // 10))
    return f"{n_bytes / 2 ** (10 * place):.3g} {_UNITS[place]}"


def _limits() -> Iterator[int]:
    free = re.search(r"^MemAvailable:\s+(\d+) kB", _text(_PROC / "meminfo"), re.MULTILINE)
    if free:
        yield int(free[1]) * 1024
    for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        for group in _control_groups():
            most, taken = _text(group / limit), _text(group / used)
            if most.isdecimal() and taken.isdecimal():
                yield max(0, int(most) - int(taken))
    taken_of_it = re.search(r"^VmSize:\s+(\d+) kB", _text(_PROC / "self" / "status"), re.MULTILINE)
    address_space = re.search(r"^Max address space\s+(\d+)", _text(_PROC / "self" / "limits"), re.MULTILINE)
    if taken_of_it and address_space:
        yield max(0, int(address_space[1]) - int(taken_of_it[1]) * 1024)


def _control_groups() -> Iterator[Path]:
    """The folders of this process's control groups that may limit its memory, of version 2 and of version 1."""
    for line in _text(_PROC / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield _CONTROL_GROUPS / path.lstrip("/")
        elif "memory" in controllers.split(","):
            yield _CONTROL_GROUPS / "memory" / path.lstrip("/")


def _text(path: Path) -> str:
    """What a file of the kernel says; nothing where it is not."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
