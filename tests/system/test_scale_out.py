"""Sweeps of many jobs that hardly compute, by launcher: none is lost, and what a job and its runs in the database cost.

All jobs share one training of eight steps, so what a job costs is what the sweep, the launcher and the database do.
"""

import importlib.util
import itertools
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from program import SMALL, metrics, query, start
from test_killed_sweep import fresh

JOB = (*SMALL, "trainer.max_epochs=1", "n_steps=1", "simulation.start=random")
LAUNCHERS = {
    "basic": (),
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "submitit_local": ("hydra/launcher=submitit_local",),
    "ray": ("hydra/launcher=ray",),
}
PLUGINS = {"joblib": "joblib", "submitit_local": "submitit", "ray": "ray"}  # what a launcher needs besides
PARTS = 5  # of a sweep, whose costs are compared
LONGEST = 4 * 3600  # seconds
FINISHED = "select end_time from runs where status = 'FINISHED' and name not like 'sweep%' order by end_time"


def ends(folder: Path) -> list[float]:
    """When each job has ended, in seconds; none before there is a database."""
    if not (folder / "mlflow.db").exists():
        return []
    return [float(str(milliseconds)) / 1000 for (milliseconds,) in query(folder, FINISHED)]


def megabytes(folder: Path) -> float:
    """Of the database, with what has been written beside it and not yet into it."""
    return sum(path.stat().st_size for path in folder.glob("mlflow.db*")) / 1e6


def sizes_while_it_runs(folder: Path, output: Future[tuple[str, str]], n_jobs: int) -> Iterator[tuple[int, float]]:
    """After each part of the jobs: how many have ended, and the megabytes of the database."""
    for part in range(1, PARTS + 1):
        while not output.done() and len(ends(folder)) < part * n_jobs // PARTS:
            time.sleep(0.5)
        yield len(ends(folder)), megabytes(folder)


def scale_out(checkout: Path, launcher: str, n_jobs: int) -> None:
    """Run a sweep of so many jobs; print what it costs, in five parts."""
    if launcher in PLUGINS and importlib.util.find_spec(PLUGINS[launcher]) is None:
        pytest.skip(f"{launcher} is not installed")
    folder = fresh(checkout, launcher)
    process = start(folder, "-m", *JOB, f"simulation.seed=range({n_jobs})", *LAUNCHERS[launcher])
    with ThreadPoolExecutor(1) as reader:
        output = reader.submit(process.communicate, timeout=LONGEST)
        sizes = list(sizes_while_it_runs(folder, output, n_jobs))
        _, error = output.result()
    assert process.returncode == 0, error[-2000:]
    check_all_there(folder, n_jobs)
    ended = ends(folder)
    for begin, end in itertools.pairwise(range(0, n_jobs + 1, n_jobs // PARTS)):
        part = ended[begin:end]
        apart = (part[-1] - part[0]) / (len(part) - 1)
        print(f"{launcher}: jobs {begin + 1} to {end}: {apart:.2f} s a job", flush=True)
    words = ", ".join(f"{size:.1f} MB after {number}" for number, size in sizes)
    print(f"{launcher}: {n_jobs} jobs FINISHED, none is lost; database: {words}; {per_job(sizes):.3f} MB a job", flush=True)


def per_job(sizes: list[tuple[int, float]]) -> float:
    """The megabytes that a job adds to a database: the slope of a straight line."""
    return statistics.linear_regression(*zip(*sizes, strict=True)).slope


def check_all_there(folder: Path, n_jobs: int) -> None:
    """Each job has one run, which is FINISHED and has all metrics; all have one training."""
    rows = query(folder, "select name, run_uuid, status from runs where name not like 'sweep%'")
    assert sorted(str(name) for name, _, _ in rows) == sorted(f"simulation.seed={seed}" for seed in range(n_jobs))
    assert {status for _, _, status in rows} == {"FINISHED"}
    logged = {frozenset(metrics(folder, str(run_id))) for _, run_id, _ in rows}
    assert len(logged) <= 2, "the job that trains has its speed besides"
    assert all(("test/spiking_accuracy", 0) in names for names in logged)
    rates = query(folder, "select distinct value from metrics where key = 'test/rate_accuracy'")
    assert len(rates) == 1, "all jobs share a training"
    assert query(folder, "select status from runs where name like 'sweep%'") == [("FINISHED",)]
    assert not list((folder / "outputs").glob("waiting/*"))


@pytest.mark.system
def test_many_jobs(checkout: Path) -> None:
    scale_out(checkout, "joblib", 20)


@pytest.mark.weekend
def test_five_hundred_jobs_through_joblib(checkout: Path) -> None:
    scale_out(checkout, "joblib", 500)


@pytest.mark.weekend
@pytest.mark.parametrize("launcher", ["basic", "submitit_local", "ray"])
def test_fifty_jobs_through_each_other_launcher(checkout: Path, launcher: str) -> None:
    scale_out(checkout, launcher, 50)
