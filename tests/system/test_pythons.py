"""Python 3.11 to 3.13: what `make` installs, and a training in it. It installs everything anew, so it needs a package index."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from bad_configurations import BASE
from program import PATIENCE, ROOT, query

pytestmark = pytest.mark.weekend

INSTALLING = 4 * PATIENCE  # on some indexes PyTorch comes with gigabytes for GPUs


def interpreter(version: str) -> Path:
    """Of this version, which is in the path or was built by pyenv."""
    built = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}"), *sorted(built.glob(f"{version}.*/bin/python{version}"))]
    for path in found:
        if path is not None and subprocess.run([path, "-c", "import ssl, sqlite3, venv"], capture_output=True).returncode == 0:
            return Path(path)
    pytest.skip(f"there is no Python {version} here")


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_a_clone_trains(version: str, tmp_path: Path) -> None:
    python = interpreter(version)
    listed = subprocess.run(["git", "-C", ROOT, "ls-files"], text=True, capture_output=True, check=True).stdout.splitlines()
    for name in listed:
        if not name.startswith(("data/", "tests/", "experiments/", "docs/images/")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "HYDRA", "PYTHON"))}
    for command in (("make", f"PYTHON={python}", ".venv/.ok"), (".venv/bin/python", "train.py", *BASE)):
        done = subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True, timeout=INSTALLING)
        assert done.returncode == 0, done.stderr
    assert query(tmp_path, "select status from runs") == [("FINISHED",)]
    print(f"\n{done.stdout.splitlines()[-1]}")
