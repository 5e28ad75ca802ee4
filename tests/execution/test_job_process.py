import os
import signal
from pathlib import Path

import pytest

from ratespike.execution.job_process import run_in_own_process
from ratespike.parameters import ParameterError


def test_a_job_that_dies_leaves_the_others_whole(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def work(job: str) -> None:
        if job == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if job == "wrong":
            raise ParameterError("n_steps=0: must be a whole number")
        if job == "broken":
            raise ZeroDivisionError("a bug")
        if job == "terminated":
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        (tmp_path / job).write_text(str(os.getpid()))

    codes = {job: run_in_own_process(work, job) for job in ("killed", "wrong", "broken", "terminated", "done", "done_too")}
    assert codes == {"killed": -signal.SIGKILL, "wrong": 1, "broken": 1, "terminated": 130, "done": 0, "done_too": 0}
    pids = {(tmp_path / job).read_text() for job in ("done", "done_too")}
    assert len(pids) == 2 and str(os.getpid()) not in pids
    error = capfd.readouterr().err
    assert "error: n_steps=0: must be a whole number\n" in error and "ZeroDivisionError: a bug" in error
