"""The end of a sweep: no run left RUNNING, and on the parent run what its jobs together tell."""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ratespike.analysis import plots, report, terminal
from ratespike.analysis.statistics import non_dominated
from ratespike.config.job import Job
from ratespike.config.schemas import RunConfig
from ratespike.sweeps.objective import Objective, value_of
from ratespike.tracking import address, runs
from ratespike.tracking.description import note
from ratespike.tracking.runs import Entity, Run
from ratespike.tracking.search import curves, finished_runs
from ratespike.tracking.status import ERROR, is_alive
from ratespike.tracking.sweeps import CONFIG_HASH, children

BEST_RUN = "ratespike.best_run"
STEPS_COMPARED, ROWS = (5, 10, 20, 30), 40
_PATIENCE = 30  # seconds, for jobs that are being interrupted


class UnfinishedError(Exception):
    """Some jobs of a sweep did not finish."""


def conclude(
    parent: Run, root: Path, expected: tuple[str, ...] | None, goals: Sequence[Objective], *, ended_early: bool
) -> tuple[int, int]:
    """Settle the statuses of a sweep's jobs and keep their comparison with the parent.

    Args:
        parent: the sweep's run.
        root: the repository root.
        expected: configuration hashes of all its jobs; None if they are not known before, as in a search.
        goals: what a search was after; empty for a sweep.
        ended_early: somebody interrupted it, or it failed as a whole.

    Returns:
        How many jobs have finished, of how many.

    Raises:
        UnfinishedError: not all jobs are FINISHED, though the sweep did not end early.
    """
    jobs = _settled(parent, root, ended_early)
    finished = [job for job in jobs if job.info.status == "FINISHED"]
    if finished:
        words = _keep_best(parent, finished, goals, len(jobs))
        note(parent, words)
        _keep_comparison(parent)
        print(re.sub(r"\[(.+?)\]\(\S+\)", r"\1", words))
    done = {job.data.tags.get(CONFIG_HASH) for job in finished}
    n_jobs = len(set(expected)) if expected else len(jobs)
    n_missing = len(set(expected) - done) if expected else n_jobs * (not finished)  # of trials some may fail
    n_finished = n_jobs - n_missing if expected else len(finished)
    parent.metrics({"sweep/jobs": n_jobs, "sweep/finished": n_finished})
    if n_missing and not ended_early:
        errors = [f"{job.info.run_name}: {job.data.tags[ERROR]}" for job in jobs if ERROR in job.data.tags]
        first = f"; {errors[0]}" if errors else ""
        raise UnfinishedError(f"{n_missing} of {n_jobs} jobs did not finish{first}; the same command tries them again")
    return n_finished, n_jobs


def _keep_best(parent: Run, finished: list[Entity], goals: Sequence[Objective], n_jobs: int) -> str:
    """The best run, chosen on validation images: most accurate on spikes, then with the fewest synaptic operations.

    Of a search, the best by its objective; of several objectives the front of those that no other beats. Returns what to
    say of it.
    """
    if goals:
        return _keep_front(parent, finished, goals, n_jobs)

    def merit(run: Entity) -> tuple[float, float]:
        return run.data.metrics["val/spiking_accuracy"], -run.data.metrics["val/synaptic_operations"]

    best = max(finished, key=merit)
    parent.tags({BEST_RUN: best.info.run_id})
    return f"Of {len(finished)} finished jobs most accurate on spikes, on the validation images: {_linked(best)}"


def _keep_front(parent: Run, finished: list[Entity], goals: Sequence[Objective], n_jobs: int) -> str:
    runs_of = [Run(parent.client, run.info.run_id, parent.experiment) for run in finished]
    every = np.array([[value_of(run, goal.metric) for goal in goals] for run in runs_of])
    is_number = np.isfinite(every).all(axis=1)  # a diverged loss is none
    if not is_number.any():
        return "No trial has reached a number."
    values, finished = every[is_number], [run for run, known in zip(finished, is_number, strict=True) if known]
    upwards = values * [1 if goal.maximize else -1 for goal in goals]
    best = non_dominated(upwards) if len(goals) > 1 else np.arange(len(finished)) == upwards[:, 0].argmax()
    if len(goals) == 1:
        figure = plots.one_objective(values[:, 0], goals[0].metric, goals[0].maximize)
    else:
        names = [run.info.run_name if is_best else None for run, is_best in zip(finished, best, strict=True)]
        figure = plots.pareto_front(values, [(goal.metric, goal.maximize) for goal in goals], names)
    parent.figure("objectives", figure)
    lines = [
        f"- {_linked(run)}: {', '.join(f'{goal.metric} {value:.6g}' for goal, value in zip(goals, own, strict=True))}"
        for run, own, is_best in zip(finished, values, best, strict=True)
        if is_best
    ]
    first = finished[int(np.lexsort((~best, -upwards[:, 0]))[0])]
    parent.tags({BEST_RUN: first.info.run_id})
    words = "Best" if len(goals) == 1 else "No other is better in all objectives than"
    return "\n".join([f"{len(finished)} of {n_jobs} trials. {words}, on the validation images:", "", *lines])


def _linked(run: Entity) -> str:
    return f"[{run.info.run_name}](#/experiments/{run.info.experiment_id}/runs/{run.info.run_id})"


def _keep_comparison(parent: Run) -> None:
    """The sweep's table and figures, as `compare.py` makes them, printed and kept as artifacts of the parent."""
    records = finished_runs(parent.client, [parent.experiment], [parent.id], debug=True)
    result = report(records, STEPS_COMPARED, curves(parent.client))
    parent.text("comparison/groups.md", result.markdown)
    parent.text("comparison/runs.csv", result.csv)
    for name, figure in result.figures.items():
        parent.figure(name, figure)
    terminal.show(result.comparison, STEPS_COMPARED, ROWS)
    print(
        f"run {parent.id} in experiment {parent.experiment} holds the table and the figures; its jobs: mlflow ui\n{parent.link}"
    )


def mark_failed(job: Job[Any], reason: str) -> None:
    """Mark the run of a job whose process was killed as FAILED."""
    from ratespike.pipeline.fingerprint import config_hash

    if not isinstance(job.config, RunConfig):
        return
    client = runs.connect(address.resolve(job.config.tracking.uri, job.root))
    same = f"tags.`{CONFIG_HASH}` = '{config_hash(job.plain)}' and attributes.status = 'RUNNING'"
    for run in client.search_runs(runs.experiment_ids(client), same, max_results=100):
        if not is_alive(run, job.root):
            client.set_tag(run.info.run_id, ERROR, reason)
            client.set_terminated(run.info.run_id, "FAILED")


def _settled(parent: Run, root: Path, ended_early: bool) -> list[Entity]:
    """The parent's jobs, none of which says RUNNING unless it is alive; those that are being interrupted get some time."""
    deadline = time.monotonic() + (_PATIENCE if ended_early else 0)
    while True:
        jobs = list(children(parent.client, parent.id))
        alive = [job for job in jobs if is_alive(job, root)]
        if not alive or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    for job in jobs:
        if job.info.status == "RUNNING" and job not in alive:
            parent.client.set_terminated(job.info.run_id, "KILLED")
    return list(children(parent.client, parent.id))
