"""What pyproject.toml cannot say: a wheel has the configuration, `conf/` of the repository, in the package."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfiguration(build_py):
    """Copies `conf/` into the package, but for an editable installation, which reads that of the repository."""

    def run(self) -> None:
        """Build the package, then copy."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "ratespike" / "conf"
        shutil.rmtree(target, ignore_errors=True)  # what an earlier build has left
        shutil.copytree("conf", target)


setup(cmdclass={"build_py": BuildWithConfiguration})
