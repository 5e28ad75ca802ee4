"""What ends a multirun, for the one who started it and for its parent run."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from hydra.errors import HydraException

from ratespike.execution.job_process import INTERRUPTED
from ratespike.parameters import ParameterError
from ratespike.sweeps import callbacks, finish
from ratespike.sweeps.callbacks import OpenSweep, multirun
from ratespike.sweeps.errors import JobFailedError, UnfinishedError
from ratespike.tracking.runs import Run
from ratespike.tracking.status import ERROR, track
from ratespike.tracking.store import connect
from ratespike.tracking.sweeps import SweepContext, open_parent


def begin(sweep: OpenSweep | None = None) -> None:
    """What Hydra's callbacks do when the jobs have been checked."""
    current = callbacks._current.get()
    current.has_begun = True
    current.sweep = sweep


@pytest.fixture
def sweep(database: str, tmp_path: Path) -> OpenSweep:
    parent = open_parent(connect(database), "sweep", SweepContext("a sweep", ("seed",), 0, "ratespike"))
    tracked = ExitStack()
    tracked.enter_context(track(parent, tmp_path, system_metrics=False))
    return OpenSweep(parent, tmp_path, expected=("a job",), goals=(), register="net", tracked=tracked)


def status(run: Run) -> str:
    return str(run.client.get_run(run.id).info.status)


def test_what_is_raised_before_it_begins_passes() -> None:
    error = ValueError("of the composition")
    with pytest.raises(ValueError) as raised, multirun({}, Path()):
        raise error
    assert raised.value is error and error.__cause__ is None


@pytest.mark.parametrize("cause", [JobFailedError("job #1"), HydraException("a key"), SystemExit(3), KeyboardInterrupt()])
def test_what_the_command_line_knows_passes_as_it_is(cause: BaseException) -> None:
    with pytest.raises(type(cause)) as raised, multirun({}, Path()):
        begin()
        raise cause
    assert raised.value is cause
    assert cause.__cause__ is None, "an exception is not its own cause"


def test_an_interrupted_job_interrupts_the_multirun() -> None:
    with pytest.raises(KeyboardInterrupt), multirun({}, Path()):
        begin()
        raise SystemExit(INTERRUPTED)


def test_a_launcher_that_gives_up_is_named_with_its_first_line() -> None:
    cause = ValueError("n_jobs == 0 has no meaning\nand more")
    with pytest.raises(UnfinishedError) as raised, multirun({}, Path()):
        begin()
        raise cause
    assert str(raised.value).startswith("the launcher gave up (ValueError: n_jobs == 0 has no meaning); mend that")
    assert raised.value.__cause__ is cause


@pytest.mark.slow
def test_the_parent_of_a_sweep_whose_launcher_gave_up_has_failed(sweep: OpenSweep) -> None:
    with pytest.raises(UnfinishedError), multirun({}, Path()):
        begin(sweep)
        raise ValueError("no workers")
    assert status(sweep.parent) == "FAILED"
    assert "the launcher gave up (ValueError: no workers)" in str(sweep.parent.tag(ERROR))


@pytest.mark.slow
def test_the_parent_of_an_interrupted_sweep_is_killed(sweep: OpenSweep, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), multirun({}, Path()):
        begin(sweep)
        raise KeyboardInterrupt
    assert status(sweep.parent) == "KILLED"
    assert "interrupted: 0 of 1 jobs have finished; the same command goes on" in capsys.readouterr().err


def test_a_sweep_whose_jobs_did_not_finish_is_unfinished(sweep: OpenSweep) -> None:
    with (
        pytest.raises(UnfinishedError, match="1 of 1 jobs did not finish; the same command tries them again"),
        multirun({}, Path()),
    ):
        begin(sweep)
    assert status(sweep.parent) == "FAILED"
    assert not sweep.parent.client.search_registered_models()


def test_a_finished_sweep_whose_best_run_cannot_be_registered_is_finished(
    sweep: OpenSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finish, "finish", lambda *_, **__: (1, 1))
    with pytest.raises(ParameterError, match="register=net: no run of this sweep is the best one"), multirun({}, Path()):
        begin(sweep)
    assert status(sweep.parent) == "FINISHED"
