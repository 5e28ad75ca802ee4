"""A sweep that is killed, with all its processes, at any moment, and started again."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from program import metrics, query, run, start, wait_until

pytestmark = pytest.mark.system

SWEEP = (
    *("-m", "+experiment=mnist", "+debug=fast", "trainer.max_epochs=3", "neuron.tau_rc=0.01,0.02", "n_steps=30,60"),
    *("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
)
N_RUNS = 5  # the parent and its four jobs
RANDOM_KILLS = 3
SEED = 0

Process = subprocess.Popen[str]


def fresh(checkout: Path, name: str) -> Path:
    """A copy of the checkout, without database and outputs."""
    folder = checkout.parent / f"{checkout.name}_{name}"
    shutil.copytree(checkout, folder, symlinks=True)
    return folder


def results(folder: Path) -> dict[str, dict[tuple[object, object], object]]:
    """Each run's metrics by its name; every run is FINISHED, and no name comes twice."""
    rows = query(folder, "select name, run_uuid, status from runs")
    assert [row[2] for row in rows] == ["FINISHED"] * N_RUNS
    assert len({row[0] for row in rows}) == N_RUNS, "a job has two runs"
    return {str(name): metrics(folder, str(run_id)) for name, run_id, _ in rows}


def jobs_at_work(folder: Path) -> list[str]:
    """The names of the jobs that run, each with what it does."""
    if not (folder / "mlflow.db").exists():
        return []
    running = query(
        folder,
        "select r.name, exists (select 1 from tags t where t.run_uuid = r.run_uuid and t.key = 'ratespike.trained') "
        "from runs r where r.status = 'RUNNING' and r.name not like 'sweep%'",
    )
    return [f"{name} {'testing' if trained else 'training'}" for name, trained in running]


def wait_for_job(what: str) -> Callable[[Path, Process], None]:
    """A function that waits until a job does this."""

    def wait(folder: Path, process: Process) -> None:
        wait_until(lambda: any(words.endswith(what) for words in jobs_at_work(folder)), process)

    return wait


def wait_for(seconds: float) -> Callable[[Path, Process], None]:
    """A function that waits for a time."""
    return lambda folder, process: time.sleep(seconds)


def test_a_sweep_that_is_killed_at_any_moment_goes_on(checkout: Path) -> None:
    undisturbed = fresh(checkout, "undisturbed")
    began = time.monotonic()
    code, _, error = run(undisturbed, *SWEEP)
    duration = time.monotonic() - began
    assert code == 0, error
    expected = results(undisturbed)
    trainings = query(undisturbed, "select count(distinct run_uuid) from metrics where key = 'train/seconds'")
    assert trainings == [(2,)], "two jobs at the same time have done the same training"

    moments = random.Random(SEED)
    kills = [wait_for_job("training"), wait_for_job("testing")]
    kills += [wait_for(moments.uniform(0, duration)) for _ in range(RANDOM_KILLS)]
    for number, wait in enumerate(kills):
        folder = fresh(checkout, str(number))
        process = start(folder, *SWEEP)
        wait(folder, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        print(f"killed: {', '.join(jobs_at_work(folder)) or 'no job was at work'}", flush=True)
        code, _, error = run(folder, *SWEEP)
        assert code == 0, error
        assert results(folder) == expected
