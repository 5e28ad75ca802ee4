"""Sweeps in processes of their own that are interrupted, or of which a job is killed."""

import json
import os
import re
import signal
from pathlib import Path

import pytest
from program import PATIENCE, SMALL, Held, metrics, names, query, run_here, run_ids, start, status, tags, wait_until

pytestmark = [
    pytest.mark.program,
    pytest.mark.filterwarnings("ignore"),  # Lightning's advice
]

TWO_AT_ONCE = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


@pytest.mark.system
def test_a_job_that_is_killed_leaves_the_others_whole_and_the_same_command_does_it_again(checkout: Path, held: Held) -> None:
    sweep = ("-m", *SMALL, "n_steps=3", "optimizer.lr=0.001,0.002")
    process = start(checkout, *sweep, program="train_held.py")
    (job,) = wait_until(held.processes, process)
    os.kill(job, signal.SIGKILL)
    held.release()
    out, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, error
    assert "#1 lr=0.002: rates" in out
    assert (
        "1 of 2 jobs did not finish; lr=0.001: killed by SIGKILL (out of memory?); the same command tries them again" in error
    )
    ids = names(checkout)
    killed = ids["lr=0.001"]
    assert status(checkout, killed) == "FAILED"
    assert status(checkout, ids["lr=0.002"]) == "FINISHED"
    assert ("val/loss", 1) in metrics(checkout, killed), "it was killed before it had finished an epoch"

    code, _, error = run_here(checkout, *sweep)
    assert code == 0, error
    finished = "select value from latest_metrics where key = 'sweep/finished' and run_uuid = ?"
    assert query(checkout, finished, ids["sweep lr=0.001,0.002"]) == [(2.0,)]
    assert status(checkout, killed) == "FINISHED"
    assert "ratespike.error" not in tags(checkout, killed)

    code, _, error = run_here(checkout, *SMALL, "n_steps=3", "optimizer.lr=0.001")
    assert code == 0, error
    undisturbed = run_ids(checkout)[-1]
    assert metrics(checkout, killed) == metrics(checkout, undisturbed)


def children(pid: int) -> list[str]:
    """The processes that a process has started."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _runs(folder: Path) -> set[str]:
    return set(run_ids(folder)) if (folder / "mlflow.db").exists() else set()


@pytest.mark.parametrize(
    "moment",
    [
        "while a job trains",
        pytest.param("while two jobs train", marks=pytest.mark.system),
        pytest.param("while the first job's process is made", marks=pytest.mark.system),
    ],
)
def test_ctrl_c_leaves_no_run_running(checkout: Path, held: Held, moment: str) -> None:
    before = _runs(checkout)
    trainings = {"while a job trains": 1, "while two jobs train": 2}.get(moment, 0)
    seeds = f"seed={10 + trainings},20"
    launcher = TWO_AT_ONCE if trainings == 2 else ()
    process = start(checkout, "-m", *SMALL, "n_steps=3", seeds, *launcher, program="train_held.py")
    if trainings:
        wait_until(lambda: len(held.processes()) == trainings, process)
    else:
        wait_until(lambda: _runs(checkout) - before, process)
        wait_until(lambda: len(children(process.pid)) >= 2, process)  # the resource tracker and the fork server
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, error
    ignored = "Exception ignored in.*?KeyboardInterrupt"  # Python reports one that meets the end of a weak reference
    assert "Traceback" not in re.sub(ignored, "", error, flags=re.DOTALL), error
    assert "interrupted: 0 of 2 jobs have finished; the same command goes on" in error
    begun = _runs(checkout) - before
    assert {str(status(checkout, run_id)) for run_id in begun} == {"KILLED"}
    if trainings:
        assert len(begun) == 1 + trainings, "the parent's run and those of its jobs"
    assert json.loads(tags(checkout, names(checkout)[f"sweep {seeds}"])["ratespike.swept"]) == ["seed"]
