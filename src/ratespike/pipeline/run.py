"""The whole program, from the components that the configuration describes to the table at the end: read it top to bottom."""

import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from ratespike.config.job import Job
from ratespike.config.naming import asked_for, job_name, run_name
from ratespike.config.schemas import Config, RunConfig
from ratespike.execution.job_process import INTERRUPTED
from ratespike.execution.locks import locks_below
from ratespike.metrics import Results
from ratespike.parameters import ParameterError
from ratespike.pipeline import plots, summary
from ratespike.pipeline.assembly import Components, build_classifier
from ratespike.pipeline.datamodule import DataModule
from ratespike.pipeline.fingerprint import config_hash, simulation_hash, training_hash
from ratespike.pipeline.fit_stage import train
from ratespike.pipeline.test_stage import test
from ratespike.tracking import address, runs, shared
from ratespike.tracking.description import describe, note
from ratespike.tracking.runs import Client, Entity, Run
from ratespike.tracking.status import is_alive, signs_of_life, track
from ratespike.tracking.sweeps import CONFIG_HASH, PARENT, SWEEP, SweepContext, children, sweep_context

_LOOK_AGAIN = 5  # seconds


def train_and_test(job: Job[Config], components: Components) -> None:
    """Train on rates, test on rates and on spikes, keep everything in MLflow, print the comparison."""
    summary.quiet()
    client = runs.connect(address.resolve(job.config.tracking.uri, job.root))
    parent = job.config.tracking.parent
    sweep = sweep_context(client, parent) if parent and job.number is not None else None
    with _alone(job, sweep):
        run = _open_run(job, client, sweep)
        if run is None:
            return
        n_steps = max(job.config.n_steps, sweep.longest if sweep else 0)
        with _telling_how_to_go_on(job, run), track(run, job.root, job.config.tracking.system_metrics):
            results = _train_and_test(job, components, run, n_steps)
    summary.summary(results, run, job.number, is_slice=components.data.is_slice)


def _train_and_test(job: Job[Config], components: Components, run: Run, n_steps: int) -> Results:
    describe(run, job.plain, job.root, is_slice=components.data.is_slice)
    run.data(components.splits, type(components.data).__name__)
    untrained = {name: weights.clone() for name, weights in components.network.state_dict().items()}
    classifier = build_classifier(components, job.config, job.plain, n_steps)
    datamodule = DataModule(components.splits, components.data.batch_size, job.config.seed)
    train(job, run, classifier, datamodule)
    results = test(job, run, classifier, datamodule, untrained, n_steps).test
    keep_figures(run, components, results)
    run.model(components.network, torch.zeros(1, *components.data.image_shape))
    note(run, f"`python train.py {shlex.join(asked_for(job.overrides))}`\n\n{summary.in_words(results)}")
    return results


def keep_figures(run: Run, components: Components, results: Results) -> None:
    """Log the figures of one run."""
    shown = components.splits.test[:5]
    images = shown.pixels.float() / 255
    outputs = components.simulate(components.network.cpu(), images, torch.arange(len(shown)), n_steps=results.n_steps).outputs
    accuracy, agreement = results.spiking_accuracy.numpy(), results.agreement.numpy()
    pictures = {
        "outputs_over_time": plots.outputs_over_time(images.numpy(), shown.labels.numpy(), outputs.numpy(), results.dt),
        "accuracy_over_steps": plots.accuracy_over_steps(accuracy, results.rate_accuracy, agreement),
        "firing_rates": plots.firing_rates(results.firing_rate_hz()),
        "confusion_matrix": plots.confusion_matrix(results.confusion[-1].numpy()),
    }
    for name, figure in pictures.items():
        run.figure(name, figure)


def tags_of(job: Job[RunConfig]) -> dict[str, str]:
    """The tags that a run begins with: what makes it the same as others, its parent, and that it is alive."""
    parent = job.config.tracking.parent
    return {
        CONFIG_HASH: config_hash(job.plain),
        shared.TRAINING_HASH: training_hash(job.plain),
        shared.SIMULATION_HASH: simulation_hash(job.plain),
        **signs_of_life(job.root),
        **({PARENT: parent} if parent else {}),
    }


def _open_run(job: Job[Config], client: Client, sweep: SweepContext | None) -> Run | None:
    """A new run, or the one that an interrupted or failed job has left; None if this job of a sweep has been done."""
    if job.config.resume is not None:
        return _interrupted_run(job, client, job.config.resume)
    experiment, parent = job.config.tracking.experiment, job.config.tracking.parent
    tags = tags_of(job)
    if sweep is None or parent is None:
        return runs.open_run(client, experiment, run_name(experiment, job.overrides), tags)
    name = job_name(job.overrides, sweep.swept, job.plain) or run_name(experiment, job.overrides)
    attempts = [_at_its_end(run, job, client, name) for run in children(client, parent, tags[CONFIG_HASH])]
    for found in attempts:
        if found.info.status == "FINISHED":
            print(f"#{job.number} {name}: finished before, in run {found.info.run_id}")
            return None
    for found in attempts:
        if _same_code(found.data.tags, tags):
            run = Run(client, found.info.run_id, sweep.experiment, resumed=True)
            run.tags(tags)
            return run
    return runs.open_run(client, sweep.experiment, name, tags | {SWEEP: sweep.sweep})


def _same_code(run: Mapping[str, str], tags: Mapping[str, str]) -> bool:
    """Whether what a run has done, by its tags, is what the present code would do."""
    return all(run.get(name) == tags[name] for name in (shared.TRAINING_HASH, shared.SIMULATION_HASH))


def _at_its_end(run: Entity, job: Job[Config], client: Client, name: str) -> Entity:
    """A run when no process is at work on it: another host may be, or may have died a moment ago."""
    if is_alive(run, job.root):
        print(f"#{job.number} {name}: waiting for run {run.info.run_id}, which another host was at work on just now")
    while is_alive(run, job.root):
        time.sleep(_LOOK_AGAIN)
        run = client.get_run(run.info.run_id)
    return run


def _interrupted_run(job: Job[Config], client: Client, run_id: str) -> Run:
    run = runs.find_run(client, run_id)
    if run.tag(CONFIG_HASH) != config_hash(job.plain):
        raise ParameterError(f"resume={run.id}: that run has another configuration; give the options that it was started with")
    if not _same_code(client.get_run(run.id).data.tags, tags_of(job)):
        raise ParameterError(f"resume={run.id}: that run was begun with other code; start it anew, without resume=")
    run.tags(signs_of_life(job.root))
    return Run(client, run.id, run.experiment, resumed=True)


def _alone(job: Job[Config], sweep: SweepContext | None) -> AbstractContextManager[None]:
    """No other process does the same job of the same sweep inside."""
    if sweep is None:
        return nullcontext()
    return locks_below(job.root).hold(f"job {job.config.tracking.parent} {config_hash(job.plain)}")


@contextmanager
def _telling_how_to_go_on(job: Job[Config], run: Run) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if job.number is None:
            command = shlex.join(["python", "train.py", *asked_for(job.overrides), f"resume={run.id}"])
            print(f"\ninterrupted; to go on from the last finished epoch:\n  {command}", file=sys.stderr)
        sys.exit(INTERRUPTED)
