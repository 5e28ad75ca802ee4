"""The console command `ratespike <program> <settings>`: the programs without a clone of the repository.

The database, the outputs and relative paths belong to the current folder. The configuration comes with the package, with the
options of installed plugins and of a folder that `--config-dir` names.
"""

import sys
from pathlib import Path

from ratespike.cli.main import run_program
from ratespike.cli.programs import PROGRAMS
from ratespike.config.invocation import version
from ratespike.parameters import nearest


def main() -> None:
    """Run the program that the first argument names with the settings behind it; exits with 1 where there is none such."""
    name, *settings = sys.argv[1:] or [""]
    if name in PROGRAMS:
        sys.argv[1:] = settings
        run_program(PROGRAMS[name], root=Path.cwd(), conf=_conf())
    elif name == "--version":
        print(version())
    elif name in ("--help", "-h"):
        print(_usage())
    elif not name:
        sys.exit(_usage())
    else:
        sys.exit(f"error: ratespike {name}: no such program; {nearest(name, PROGRAMS)}")


def _usage() -> str:
    lines = ["ratespike <program> <settings>", ""]
    for name, program in PROGRAMS.items():
        lines.append(f"  {name:10}{program.summary}")
    lines += ["", "ratespike <program> --help lists a program's settings, ratespike --version the version."]
    return "\n".join(lines)


def _conf() -> Path:
    """The configuration that comes with the package; of a package installed in editable mode that of its repository."""
    package = Path(__file__).parents[1]
    packed = package / "conf"
    return packed if packed.is_dir() else package.parents[1] / "conf"
