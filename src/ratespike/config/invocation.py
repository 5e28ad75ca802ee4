"""How the user starts a program: in a clone of the repository by its script, elsewhere by the console command."""

import shlex
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path


def started_by(program: str) -> str:
    """The words that start a program, for messages that name one.

    Args:
        program: `train`, `evaluate`, `predict`, `export` or `compare`.

    Returns:
        `python train.py` where this process was started by a script that lies beside `train.py`, else `ratespike train`.
    """
    started = Path(sys.argv[0])
    script = started.with_name(f"{program}.py")
    is_clone = started.suffix == ".py" and script.is_file()
    return f"python {script.name}" if is_clone else f"ratespike {program}"


def command_line(program: str, settings: Sequence[str]) -> str:
    """A command that runs a program with some settings, and with the folder of options that this process was given.

    Args:
        program: as for `started_by`.
        settings: its arguments.
    """
    return " ".join([started_by(program), shlex.join([*_folder_of_options(), *settings])])


def _folder_of_options() -> list[str]:
    """Hydra's `--config-dir` as it was given; nothing if it was not."""
    arguments = sys.argv[1:]
    for number, argument in enumerate(arguments):
        if argument in ("--config-dir", "-cd"):
            return arguments[number : number + 2]
        if argument.startswith("--config-dir="):
            return [argument]
    return []


def version() -> str:
    """The version of this package as it is installed."""
    return f"ratespike {metadata.version('ratespike')}"
