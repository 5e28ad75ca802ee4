"""Which MLflow run a job writes into: a new one, the one that an interrupted job has left, or none if the job has been done.

A single training begins a new run unless `resume=` names one. A job of a sweep looks among the runs below its parent for one of
its own configuration: a finished one ends the job, another one is resumed, unless the code has changed since. An evaluation is
always a new run, below the run whose network it simulates.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from ratespike.config.invocation import command_line
from ratespike.config.job import Job
from ratespike.config.naming import asked_for, evaluation_name, job_name, run_name
from ratespike.config.schemas import Config, EvaluateConfig, RunConfig
from ratespike.exchange.safetensors import sha256_of_tensors
from ratespike.execution.job_process import INTERRUPTED
from ratespike.execution.locks import locks_below
from ratespike.parameters import ParameterError
from ratespike.pipeline.checkpoint import Checkpoint
from ratespike.pipeline.fingerprint import config_hash, data_content, holds_shorter_ones, simulation_hash, training_hash
from ratespike.tracking import shared, store
from ratespike.tracking.runs import Client, Entity, Run
from ratespike.tracking.status import is_alive, signs_of_life, track
from ratespike.tracking.sweeps import CONFIG_HASH, PARENT, SWEEP, SweepContext, children, sweep_context

_LOOK_AGAIN = 5  # seconds


@dataclass(frozen=True)
class OpenRun:
    """A run that a job writes into.

    Attributes:
        run: its MLflow run.
        simulated_steps: how many steps its test simulates: its own `n_steps`, or those of the longest job of its sweep if
            such a simulation holds its own.
    """

    run: Run
    simulated_steps: int


@contextmanager
def open_run(job: Job[RunConfig], client: Client, trained: Checkpoint | None) -> Iterator[OpenRun | None]:
    """The run of a job, RUNNING inside and FINISHED, FAILED or KILLED behind; None if the job has been done before.

    Args:
        job: a training or an evaluation.
        client: of the tracking server.
        trained: the network that an evaluation is of; None for a training.

    Raises:
        ParameterError: the run that `resume=` names cannot be resumed, or another process is at work on it.
    """
    sweep = _sweep_of(job, client)
    with _only_process_of(job, sweep):
        run = _find_or_create(job, client, sweep, trained)
        if run is None:
            yield None
            return
        longest = sweep.longest if sweep and holds_shorter_ones(job.plain) else 0
        with _printing_how_to_resume(job, run), track(run, job.root, job.config.tracking.system_metrics):
            yield OpenRun(run, max(job.config.n_steps, longest))


@contextmanager
def open_stage(job: Job[RunConfig], run: Run, name: str) -> Iterator[Run]:
    """The run of a stage of a training, below that training's run: the one that an interrupted attempt has left, or a new one.

    Args:
        job: the stage, with `tracking.parent` the training's run.
        run: of the training.
        name: of the stage.
    """
    tags = identity_tags(job)
    stage = None
    for found in children(run.client, run.id):
        if found.data.tags.get(shared.TRAINING_HASH) == tags[shared.TRAINING_HASH]:
            stage = Run(run.client, found.info.run_id, run.experiment, resumed=True)
    if stage is None:
        stage = store.open_run(run.client, run.experiment, f"stage {name}", tags)
    with track(stage, job.root, job.config.tracking.system_metrics):
        yield stage


def identity_tags(job: Job[RunConfig], trained: Checkpoint | None = None) -> dict[str, str]:
    """The tags that a run begins with: what makes it equal to others, its parent, and that it is alive."""
    content = data_content(job.plain, job.root)
    tags = {
        CONFIG_HASH: config_hash(job.plain, content),
        shared.TRAINING_HASH: training_hash(job.plain, content),
        shared.SIMULATION_HASH: simulation_hash(job.plain, content),
        **signs_of_life(job.root),
    }
    parent = job.config.tracking.parent
    if parent:
        tags[PARENT] = parent
    if trained is not None and isinstance(job.config, EvaluateConfig):
        tags[shared.TRAINED_IN] = parent or str(job.config.checkpoint)
        # The network is found by a name, behind which another one may stand tomorrow.
        tags[shared.SIMULATION_HASH] += f" of {sha256_of_tensors(trained.state)[:16]}"
    return tags


def _sweep_of(job: Job[RunConfig], client: Client) -> SweepContext | None:
    parent = job.config.tracking.parent
    if parent is None or job.number is None or isinstance(job.config, EvaluateConfig):
        return None
    return sweep_context(client, parent)


def _only_process_of(job: Job[RunConfig], sweep: SweepContext | None) -> AbstractContextManager[None]:
    """No other process does the same job of the same sweep inside."""
    if sweep is None:
        return nullcontext()
    same = config_hash(job.plain, data_content(job.plain, job.root))
    return locks_below(job.root).hold(f"job {job.config.tracking.parent} {same}")


def _find_or_create(job: Job[RunConfig], client: Client, sweep: SweepContext | None, trained: Checkpoint | None) -> Run | None:
    """The run to write into; None if this job of a sweep has been done."""
    experiment = job.config.tracking.experiment
    if isinstance(job.config, EvaluateConfig):
        return store.open_run(client, experiment, evaluation_name(job.overrides), identity_tags(job, trained))
    if isinstance(job.config, Config) and job.config.resume is not None:
        return _interrupted_run(job, client, job.config.resume)
    if sweep is None:
        return store.open_run(client, experiment, run_name(experiment, job.overrides), identity_tags(job))
    return _run_of_sweep(job, client, sweep)


def _run_of_sweep(job: Job[RunConfig], client: Client, sweep: SweepContext) -> Run | None:
    """A new run below the sweep's parent, or the one that an earlier attempt has left; None if the job has been done."""
    tags = identity_tags(job)
    name = job_name(job.overrides, sweep.swept, job.plain) or run_name(job.config.tracking.experiment, job.overrides)
    attempts = []
    for found in children(client, str(job.config.tracking.parent), tags[CONFIG_HASH]):
        attempts.append(_when_ended(found, job, client, name))
    for found in attempts:
        if found.info.status == "FINISHED":
            print(f"#{job.number} {name}: finished before, in run {found.info.run_id}")
            return None
    for found in attempts:
        if _has_same_code(found, tags):
            run = Run(client, found.info.run_id, sweep.experiment, resumed=True)
            run.tags(tags)
            return run
    return store.open_run(client, sweep.experiment, name, {**tags, SWEEP: sweep.sweep})


def _has_same_code(run: Entity, tags: Mapping[str, str]) -> bool:
    """Whether what a run has done is what the present code would do."""
    made_by = run.data.tags
    return all(made_by.get(name) == tags[name] for name in (shared.TRAINING_HASH, shared.SIMULATION_HASH))


def _when_ended(run: Entity, job: Job[RunConfig], client: Client, name: str) -> Entity:
    """A run once no process is at work on it: another host may be, or may have died a moment ago."""
    if is_alive(run, job.root):
        print(f"#{job.number} {name}: waiting for run {run.info.run_id}, which another host was at work on just now")
    while is_alive(run, job.root):
        time.sleep(_LOOK_AGAIN)
        run = client.get_run(run.info.run_id)
    return run


def _interrupted_run(job: Job[RunConfig], client: Client, run_id: str) -> Run:
    """The run that `resume=` names; raises `ParameterError` if it is of another configuration or of other code."""
    run = store.find_run(client, run_id)
    tags = identity_tags(job)
    if run.tag(CONFIG_HASH) != tags[CONFIG_HASH]:
        raise ParameterError(
            f"resume={run.id}: that run has another configuration, or was begun with other code of a plugin; "
            "give the options that it was started with, or start it anew, without resume="
        )
    if not _has_same_code(client.get_run(run.id), tags):
        raise ParameterError(f"resume={run.id}: that run was begun with other code; start it anew, without resume=")
    run.tags(signs_of_life(job.root))
    return Run(client, run.id, run.experiment, resumed=True)


@contextmanager
def _printing_how_to_resume(job: Job[RunConfig], run: Run) -> Iterator[None]:
    """An interruption or a failure of a single training prints the command that goes on from its last finished epoch.

    Not bad input: with the same options it would fail again, and with others it is another run.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit):  # Lightning ends an interrupted test by an exit
        _print_how_to_resume(job, run, "interrupted; to go on")
        sys.exit(INTERRUPTED)
    except ParameterError:
        raise
    except Exception:
        _print_how_to_resume(job, run, "failed; to go on once the cause is gone,")
        raise


def _print_how_to_resume(job: Job[RunConfig], run: Run, what: str) -> None:
    if job.number is None and not isinstance(job.config, EvaluateConfig):
        command = command_line("train", [*asked_for(job.overrides), f"resume={run.id}"])
        print(f"\n{what} from the last finished epoch:\n  {command}", file=sys.stderr)
