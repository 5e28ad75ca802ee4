"""A trained network simulated again, as a run below the one that trained it."""

import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path

import torch

from ratespike.config.job import Job
from ratespike.config.naming import asked_for, key_of
from ratespike.config.schemas import EvaluateConfig
from ratespike.pipeline import summary
from ratespike.pipeline.assembly import Components, build_classifier
from ratespike.pipeline.checkpoint import Checkpoint, load_weights, read_checkpoint
from ratespike.pipeline.datamodule import DataModule
from ratespike.pipeline.run import keep_figures, tags_of
from ratespike.pipeline.saved_settings import refuse_another_training
from ratespike.pipeline.test_stage import test
from ratespike.tracking import address, runs, shared
from ratespike.tracking.description import describe, note
from ratespike.tracking.runs import BEST, Client
from ratespike.tracking.status import track


def evaluate_trained(job: Job[EvaluateConfig], components: Components) -> None:
    """Test a trained network on rates and on spikes with the configuration's settings, and keep the result in MLflow.

    Raises:
        ParameterError: the network cannot be found, or a setting would have changed its training.
    """
    summary.quiet()
    client = runs.connect(address.resolve(job.config.tracking.uri, job.root))
    trained = _trained(job, client)
    refuse_another_training(job.plain, trained.config)
    untrained = {name: weights.clone() for name, weights in components.network.state_dict().items()}
    classifier = build_classifier(components, job.config, job.plain, job.config.n_steps)
    load_weights(components.network, trained, f"checkpoint of {job.config.run or job.config.checkpoint}")
    tags = tags_of(job) | {shared.TRAINED_IN: job.config.tracking.parent or str(job.config.checkpoint)}
    tags[shared.SIMULATION_HASH] += f" of {_digest(trained.state)}"  # what is found by a name may have changed
    run = runs.open_run(client, job.config.tracking.experiment, _name(job), tags)
    with track(run, job.root, job.config.tracking.system_metrics):
        describe(run, job.plain, job.root, is_slice=components.data.is_slice)
        run.data(components.splits, type(components.data).__name__)
        datamodule = DataModule(components.splits, components.data.batch_size, job.config.seed)
        results = test(job, run, classifier, datamodule, untrained, job.config.n_steps).test
        keep_figures(run, components, results)
        note(run, f"`python evaluate.py {shlex.join(asked_for(job.overrides))}`\n\n{summary.in_words(results)}")
    summary.summary(results, run, job.number, is_slice=components.data.is_slice)


def _trained(job: Job[EvaluateConfig], client: Client) -> Checkpoint:
    if job.config.checkpoint is not None:
        return read_checkpoint(Path(job.config.checkpoint))
    run = runs.find_run(client, str(job.config.run))
    with run.artifact(BEST) as path:
        assert path is not None  # of a run whose settings were offered
        return read_checkpoint(path)


def _digest(state: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, weights in sorted(state.items()):
        digest.update(name.encode() + weights.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _name(job: Job[EvaluateConfig]) -> str:
    settings = [word for word in asked_for(job.overrides) if key_of(word) not in ("run", "checkpoint", "tracking.uri")]
    return " ".join(["evaluate", *settings])
