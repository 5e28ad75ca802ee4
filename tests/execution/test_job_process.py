import os
import signal
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest
from program import interruptible_children

from ratespike.execution import job_process
from ratespike.execution.job_process import run_in_own_process
from ratespike.parameters import ParameterError


@pytest.fixture
def own_fork_server(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """A fork server of this test: one of earlier tests, and its children, write where those tests' output went."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    yield
    forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.usefixtures("own_fork_server")
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

    expected = {"killed": -signal.SIGKILL, "wrong": 1, "broken": 1, "terminated": 130, "done": 0, "done_too": 0}
    assert {job: run_in_own_process(work, job) for job in expected} == expected
    pids = {(tmp_path / job).read_text() for job in ("done", "done_too")}
    assert len(pids) == 2, "two jobs had the same process"
    assert str(os.getpid()) not in pids, "a job was done in this process"
    error = capfd.readouterr().err
    assert "error: n_steps=0: must be a whole number\n" in error
    assert "ZeroDivisionError: a bug" in error


def test_an_interruption_waits_until_a_process_has_started() -> None:
    reached = []
    with interruptible_children(), pytest.raises(KeyboardInterrupt), job_process._handled_afterwards(signal.SIGINT):
        signal.raise_signal(signal.SIGINT)
        reached.append("the end")
    assert reached == ["the end"]


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with job_process._handled_afterwards(signal.SIGINT):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
