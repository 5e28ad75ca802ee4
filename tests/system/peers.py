"""Environments of other libraries, for the tests that compare with them."""

import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path


def environment_with(packages: Sequence[str], folder: Path) -> Path:
    """Make an environment that holds these packages, and finds what they need in this one.

    Args:
        packages: names with their versions.
        folder: where it is made.

    Returns:
        Its interpreter.
    """
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin/python"
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "of_tests.pth").write_text(sysconfig.get_path("purelib"))
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", *packages], check=True
    )
    return python
