"""The end of a sweep: no run left RUNNING, and on the parent run what its jobs together tell."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ratespike.analysis import markup, plots, report, terminal
from ratespike.analysis.statistics import non_dominated
from ratespike.config.job import Job
from ratespike.config.schemas import RunConfig
from ratespike.parameters import ParameterError
from ratespike.sweeps.errors import UnfinishedError
from ratespike.sweeps.objective import Objective, value_of
from ratespike.sweeps.report import STEPS_COMPARED, page_of_sweep
from ratespike.tracking import address, store
from ratespike.tracking.description import note
from ratespike.tracking.registry import register
from ratespike.tracking.runs import REPORT, Entity, Run
from ratespike.tracking.search import curves, finished_runs
from ratespike.tracking.status import ERROR, is_alive
from ratespike.tracking.sweeps import CONFIG_HASH, children
from ratespike.tracking.views import Pages, artifact_page, keep_view_of_experiment, keep_view_of_sweep

BEST_RUN = "ratespike.best_run"
ROWS = 40  # of the table in the terminal, at most
_PATIENCE = 30  # seconds, for jobs that are being interrupted


def finish(
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
        best = markup.plain(words)
        pages = _keep_comparison(parent, best, jobs)
        charts = markup.link("charts of its jobs", pages.charts_on_server)
        report_of_sweep = markup.link("report: groups, figures, jobs", artifact_page(parent, REPORT))
        note(parent, f"{charts}, {report_of_sweep}\n\n{words}")
        terminal.say(best)
    n_finished, n_jobs = _count(jobs, finished, expected)
    parent.metrics({"sweep/jobs": n_jobs, "sweep/finished": n_finished})
    some_trial_finished = expected is None and bool(finished)  # of a search, whose trials may fail
    if n_finished < n_jobs and not some_trial_finished and not ended_early:
        n_missing = n_jobs - n_finished
        raise UnfinishedError(
            f"{n_missing} of {n_jobs} jobs did not finish{_first_error(jobs)}; the same command tries them again"
        )
    return n_finished, n_jobs


def _count(jobs: Sequence[Entity], finished: Sequence[Entity], expected: tuple[str, ...] | None) -> tuple[int, int]:
    """How many jobs have finished, of how many; jobs of the same configuration are one."""
    if expected is None:
        return len(finished), len(jobs)
    wanted = set(expected)
    done = {job.data.tags.get(CONFIG_HASH) for job in finished}
    return len(wanted & done), len(wanted)


def _first_error(jobs: Sequence[Entity]) -> str:
    """The error of the first job that has one, for the line that reports the sweep's."""
    for job in jobs:
        if ERROR in job.data.tags:
            return f"; {job.info.run_name}: {job.data.tags[ERROR]}"
    return ""


def _keep_best(parent: Run, finished: list[Entity], goals: Sequence[Objective], n_jobs: int) -> str:
    """The best run, chosen on validation images: most accurate on spikes, then with the fewest synaptic operations.

    Of a search, the best by its objective; of several objectives the front of those that no other beats. Returns what to
    say of it.
    """
    if goals:
        return _keep_best_trials(parent, finished, goals, n_jobs)

    def merit(run: Entity) -> tuple[float, float]:
        return run.data.metrics["val/spiking_accuracy"], -run.data.metrics["val/synaptic_operations"]

    best = max(finished, key=merit)
    parent.tags({BEST_RUN: best.info.run_id})
    return f"Of {len(finished)} finished jobs most accurate on spikes, on the validation images: {_linked(best)}"


def _keep_best_trials(parent: Run, finished: list[Entity], goals: Sequence[Objective], n_jobs: int) -> str:
    """Keep a search's best run and a figure of all trials with the parent; returns the lines to report.

    Of one objective the best is one trial; of several it is the Pareto front.
    """
    reached, trials = _reached(parent, finished, goals)  # (trials, objectives)
    if not trials:
        return "No trial has reached a number."
    sign = np.array([1 if goal.maximize else -1 for goal in goals])
    upwards = reached * sign  # more is better in every column
    if len(goals) == 1:
        is_best = np.arange(len(trials)) == upwards[:, 0].argmax()
    else:
        is_best = non_dominated(upwards)
    parent.figure("objectives", _objectives_figure(reached, trials, goals, is_best))
    lines = []
    for trial, values, best in zip(trials, reached, is_best, strict=True):
        if best:
            words = ", ".join(f"{goal.metric} {value:.6g}" for goal, value in zip(goals, values, strict=True))
            lines.append(f"- {_linked(trial)}: {words}")
    # By the first objective, the highest first; among equal ones a trial of the front stands before the others.
    order = np.lexsort((~is_best, -upwards[:, 0]))
    parent.tags({BEST_RUN: trials[int(order[0])].info.run_id})
    words = "Best" if len(goals) == 1 else "No other is better in all objectives than"
    heading = f"{len(trials)} of {n_jobs} trials. {words}, on the validation images:"
    return "\n".join([heading, "", *lines])


def _reached(parent: Run, finished: list[Entity], goals: Sequence[Objective]) -> tuple[np.ndarray, list[Entity]]:
    """The objectives that trials have reached, shape (trials, objectives), and those trials: a diverged loss is no number."""
    rows = []
    trials = []
    for found in finished:
        run = Run(parent.client, found.info.run_id, parent.experiment)
        values = [value_of(run, goal.metric) for goal in goals]
        if np.isfinite(values).all():
            rows.append(values)
            trials.append(found)
    return np.array(rows), trials


def _objectives_figure(reached: np.ndarray, trials: list[Entity], goals: Sequence[Objective], is_best: np.ndarray) -> Figure:
    if len(goals) == 1:
        return plots.one_objective(reached[:, 0], goals[0].metric, goals[0].maximize)
    names = [trial.info.run_name if best else None for trial, best in zip(trials, is_best, strict=True)]
    return plots.pareto_front(reached, [(goal.metric, goal.maximize) for goal in goals], names)


def _linked(run: Entity) -> str:
    return markup.link(run.info.run_name, f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}")


def _keep_comparison(parent: Run, best: str, jobs: Sequence[Entity]) -> Pages:
    """The sweep's table and figures, as `compare.py` makes them, and its report: printed and kept as artifacts of the parent.

    Args:
        parent: the sweep's run.
        best: what to say of the best run.
        jobs: all runs below the parent.

    Returns:
        Where MLflow shows the jobs beside each other.
    """
    records = finished_runs(parent.client, [parent.experiment], [parent.id], debug=True)
    result = report(records, STEPS_COMPARED, curves(parent.client))
    parent.text("comparison/groups.md", result.markdown)
    parent.text("comparison/runs.csv", result.csv)
    figures = {name: parent.figure(name, figure) for name, figure in result.figures.items()}
    parent.text(REPORT, page_of_sweep(parent, best, result.comparison, figures, jobs))
    keep_view_of_experiment(parent)
    pages = keep_view_of_sweep(parent, [record.parameters for record in records])
    terminal.show(result.comparison, STEPS_COMPARED, ROWS)
    terminal.say(f"run {parent.id} in experiment {parent.experiment} holds the table and the figures; its jobs: mlflow ui")
    print(pages)
    return pages


def register_best(parent: Run, name: str) -> None:
    """Put the model of a finished sweep's best run into MLflow's registry; raises `ParameterError` if that cannot be."""
    best = parent.tag(BEST_RUN)
    if best is None:
        raise ParameterError(f"register={name}: no run of this sweep is the best one; none is registered")
    print(register(Run(parent.client, best, parent.experiment), name))


def mark_failed(job: Job[Any], reason: str) -> None:
    """Mark the run of a job whose process was killed as FAILED."""
    from ratespike.pipeline.fingerprint import config_hash, data_content

    if not isinstance(job.config, RunConfig):
        return
    client = store.connect(address.resolve(job.config.tracking.uri, job.root))
    own = config_hash(job.plain, data_content(job.plain, job.root))
    same = f"tags.`{CONFIG_HASH}` = '{own}' and attributes.status = 'RUNNING'"
    for run in client.search_runs(store.experiment_ids(client), same, max_results=100):
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
