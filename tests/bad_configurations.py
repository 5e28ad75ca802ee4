"""Bad and silly command lines, drawn by a seed over every group, option and key of the configuration."""

import os
import random
import resource
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import pytest
from omegaconf import OmegaConf
from program import CONF, run_here

from ratespike.parameters import flat

BASE = (
    *("+experiment=digits", "trainer.accelerator=cpu", "trainer.max_epochs=1", "n_steps=3", "data.batch_size=20"),
    *("data.train_images=60", "data.validation_images=20", "data.test_images=20"),
)
VALUES = (
    *("1e308", "-1e308", "1e-308", "1e400", "nan", "inf", "-inf", "-1", "0", "0.1", "1e9", "1000000", "9223372036854775807"),
    *("18446744073709551616", "99999999999999999999999", "true", "null", "abc", "''", "' '", "[1,2]", "[]", "[a]", "{a: 1}"),
    *("{}", "{type: [1]}", "???", "${seed}", "${nowhere}", "${n_steps}", "${oc.env:HOME}", "Zürich_日本", "'Zürich_日本'"),
    *("~/x", "../../x", "a/b", "'=1+1'", "'<b>&'", "'a%20b'", "'a\\'b\"c'", "x" * 300, "1,2", "a=b", "a b", "$x", "\x01"),
)
LARGEST = 3 * 2**30  # bytes that a refusal may take besides
LONGEST = 120  # seconds: on a busy machine, a hundred times what a refusal takes


def command_lines(number: int, seed: int) -> Iterator[tuple[str, ...]]:
    """So many command lines, behind those of `BASE`; each is wrong in one place as a rule."""
    draw = random.Random(seed)
    options = _options()
    keys = _keys()
    for _ in range(number):
        kind = draw.random()
        group, names = draw.choice(list(options.items()))
        if kind < 0.6:
            chosen, key = draw.choice(keys)
            override = f"{draw.choice(('', '', '', '+', '++'))}{key}={draw.choice(VALUES)}"
            yield (*chosen, override)
        elif kind < 0.75:
            yield (f"{draw.choice(('', '', '+', '~', '++'))}{group}={draw.choice((*names, *VALUES))}",)
        elif kind < 0.8:
            yield (f"~{draw.choice((group, draw.choice(keys)[1]))}",)
        else:
            _, key = draw.choice(keys)
            yield (_scrambled(f"{key}={draw.choice(('3', '0.5', 'abc'))}", draw),)


def _scrambled(word: str, draw: random.Random) -> str:
    """A word with up to three letters in place of others, in front of them, or gone."""
    letters = list(word)
    for _ in range(draw.randint(1, 3)):
        place = draw.randrange(len(letters))
        letters[place] = draw.choice(("", "=", ".", ",", "'", "[", "}", "$", "~", "@", "/", " ", "ü", letters[place] * 2))
    return "".join(letters)


def _options() -> Mapping[str, list[str]]:
    """The options of each group."""
    groups: dict[str, list[str]] = {}
    for path in sorted(CONF.rglob("*.yaml")):
        if path.parent != CONF and "hydra" not in path.parts:
            groups.setdefault(path.parent.name, []).append(path.stem)
    return groups


def _keys() -> list[tuple[tuple[str, ...], str]]:
    """Each key of the configuration, behind the option that has it."""
    schema = OmegaConf.to_container(OmegaConf.load(CONF / "config.yaml"))
    assert isinstance(schema, dict)
    found = [((), str(key)) for key in schema if key not in ("defaults", "hydra")]
    for group, names in _options().items():
        if group in ("experiment", "debug", "sweep", "stages"):
            continue
        for name in names:
            content = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml"))
            assert isinstance(content, dict)
            found += [((f"{group}={name}",), f"{group}.{key}") for key, _ in flat(content) if key != "defaults"]
    return found


@dataclass(frozen=True)
class Outcome:
    """What became of a command line.

    Attributes:
        accepted: whether a run would have begun.
        line: the error line, if not.
    """

    accepted: bool
    line: str


def outcome(checkout: Path, arguments: tuple[str, ...]) -> Outcome:
    """Try a command line in this process, up to the moment at which a run begins; fails unless it is accepted or refused well.

    To refuse it well is one line, exit code 1, no file, within `LARGEST` and `LONGEST`.
    """
    before = files(checkout)
    with pytest.MonkeyPatch.context() as patch, limited():
        patch.setattr("ratespike.pipeline.run.run_experiment", lambda *_: None)
        try:
            code, out, error = run_here(checkout, *BASE, *arguments)
        except BaseException as fault:
            raise AssertionError(f"{arguments}: {type(fault).__name__}: {str(fault)[:300]}") from fault
    if code == 0:
        return Outcome(accepted=True, line="")
    lines = [line for line in error.splitlines() if line]
    assert code == 1, (arguments, code, error)
    assert len(lines) == 1, (arguments, error)
    assert lines[0].startswith("error: "), (arguments, error)
    assert "Traceback" not in out + error, (arguments, error)
    assert files(checkout) <= before, (arguments, files(checkout) - before)
    return Outcome(accepted=False, line=lines[0])


def files(checkout: Path) -> set[Path]:
    """The files that a program has left in a checkout."""
    return {path for name in ("outputs", "mlruns") for path in (checkout / name).rglob("*") if path.is_file()}


@contextmanager
def limited(n_bytes: int = LARGEST, seconds: float = LONGEST) -> Iterator[None]:
    """Inside, this process gets so much more memory and so much time, and an exception beyond them."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    limits = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, _raise)
    resource.setrlimit(resource.RLIMIT_AS, (taken + n_bytes, limits[1]))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.signal(signal.SIGALRM, handler)


def _raise(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"not within {LONGEST} s")
