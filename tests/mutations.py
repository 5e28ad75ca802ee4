"""Files as a stranger, a disk or a bad line may hand them over: a good one with bytes changed, cut off, put in or doubled."""

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import torch
from bad_configurations import limited

from ratespike.parameters import ParameterError

LARGEST = 2 * 2**30  # bytes that a file may make this process take
LONGEST = 60  # seconds, for a file that takes milliseconds


def mutations(content: bytes, number: int, seed: int) -> Iterator[bytes]:
    """So many files with one to three places changed."""
    draw = random.Random(seed)
    for _ in range(number):
        changed = bytearray(content)
        for _ in range(draw.choice((1, 1, 1, 2, 3))):
            _change(changed, draw)
        yield bytes(changed)


def _change(content: bytearray, draw: random.Random) -> None:
    if not content:
        return
    kind = draw.randrange(8)
    # headers are at the ends of a file, as a rule: most changes in its middle hit numbers
    ends = draw.random() < 0.5
    place = draw.choice((draw.randrange(min(512, len(content))), -1 - draw.randrange(min(512, len(content)))))
    place = place % len(content) if ends else draw.randrange(len(content))
    length = draw.choice((1, 2, 4, 8, 64))
    if kind <= 2:
        content[place] ^= 1 << draw.randrange(8)
    elif kind == 3:
        content[place : place + length] = draw.randbytes(length)
    elif kind == 4:
        content[place : place + length] = draw.choice((b"\x00", b"\xff", b"\x7f")) * length
    elif kind == 5:
        end = len(content) if draw.random() < 0.3 else place + length
        del content[place:end]
    elif kind == 6:
        content[place:place] = content[place : place + length]
    else:
        content[place:place] = draw.randbytes(length)


def survived(content: bytes, number: int, seed: int, use: Callable[[bytes], None], report: Path) -> dict[str, int]:
    """How many mutated files were used, and how many refused by an error of ours; fails on whatever else happens.

    It happens in a process of its own, which may be killed by what it reads.

    Args:
        content: of a good file.
        number: of mutations.
        seed: draws them.
        use: takes a file's content; raises `ParameterError` if it refuses it.
        report: a file that keeps what goes wrong.
    """
    use(content)
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            _try_all(content, number, seed, use, report)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    lines = report.read_text().splitlines()
    counts = {word: lines.count(word) for word in ("used", "refused")}
    assert os.waitstatus_to_exitcode(status) == 0, f"killed by signal, behind {len(lines)} mutations of seed {seed}"
    assert sum(counts.values()) == number, [line for line in lines if line not in counts][:3]
    return counts


def _try_all(content: bytes, number: int, seed: int, use: Callable[[bytes], None], report: Path) -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with report.open("w", buffering=1) as lines:
        for place, mutated in enumerate(mutations(content, number, seed)):
            try:
                with limited(LARGEST, LONGEST):
                    use(mutated)
                lines.write("used\n")
            except ParameterError:
                lines.write("refused\n")
            except BaseException as fault:
                lines.write(f"number {place}: {type(fault).__name__}: {' '.join(str(fault).split())[:300]}\n")
