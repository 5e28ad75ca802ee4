from importlib.util import find_spec
from pathlib import Path

import pytest

from ratespike.config.job import Job
from ratespike.config.schemas import CompareConfig
from ratespike.parameters import ParameterError
from ratespike.sweeps.errors import JobFailedError
from ratespike.sweeps.run_job import PRELOAD, run_job


@pytest.mark.parametrize("name", PRELOAD)
def test_a_module_that_the_fork_server_imports_exists(name: str) -> None:
    """It passes over a name that is not there, and each job would import everything for itself."""
    assert find_spec(name) is not None, f"{name} was renamed: correct PRELOAD"


@pytest.mark.slow  # it starts the fork server
def test_a_failing_job_that_no_sweep_concludes_is_reported_by_an_exception(tmp_path: Path) -> None:
    def fail(job: object) -> None:
        raise ParameterError("steps=0: must be above 0")

    with pytest.raises(JobFailedError, match="job #3 of this multirun has no result"):
        run_job(fail, Job(CompareConfig(), {}, [], tmp_path, number=3))
