"""What pyproject.toml cannot say: a wheel has the configuration, `conf/` of the repository, in the package."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfiguration(build_py):
    """Copies `conf/` into the package, but for an editable installation, which reads that of the repository."""

    def run(self) -> None:
        """Build the package, then copy."""
        if self.editable_mode:
            super().run()
            return
        package = Path(self.build_lib) / "ratespike"
        shutil.rmtree(package, ignore_errors=True)  # an earlier build may have left modules that are gone since
        super().run()
        shutil.copytree("conf", package / "conf")


setup(cmdclass={"build_py": BuildWithConfiguration})
