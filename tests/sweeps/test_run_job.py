from importlib.util import find_spec

import pytest

from ratespike.sweeps.run_job import PRELOAD


@pytest.mark.parametrize("name", PRELOAD)
def test_a_module_that_the_fork_server_imports_exists(name: str) -> None:
    """It passes over a name that is not there, and each job would import everything for itself."""
    assert find_spec(name) is not None, f"{name} was renamed: correct PRELOAD"
