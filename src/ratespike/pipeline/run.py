"""One run, from its configuration to what is kept of it: read it top to bottom, it is the whole program.

    open -> assemble -> fit -> test -> report

A training goes through all of it. An evaluation has the weights of a trained network and does not fit.
"""

import torch
from torch import nn

from ratespike.config.job import Job
from ratespike.config.schemas import Config, EvaluateConfig, RunConfig
from ratespike.metrics import Results
from ratespike.pipeline import summary
from ratespike.pipeline.assembly import Components, build_classifier
from ratespike.pipeline.checkpoint import load_weights
from ratespike.pipeline.classifier import Classifier
from ratespike.pipeline.datamodule import DataModule
from ratespike.pipeline.diagnose import check_can_be_diagnosed, diagnose_run
from ratespike.pipeline.fit_stage import fit
from ratespike.pipeline.open_run import open_run
from ratespike.pipeline.plots import run_figures
from ratespike.pipeline.report import note_of_run, page_of_run
from ratespike.pipeline.saved_settings import trained_network
from ratespike.pipeline.servable import keep_servable
from ratespike.pipeline.test_stage import test
from ratespike.tracking import address, store
from ratespike.tracking.bring_in import bring_in_all
from ratespike.tracking.description import describe, note
from ratespike.tracking.registry import register
from ratespike.tracking.runs import REPORT, Client, Run
from ratespike.tracking.views import where_it_is_shown

_IMAGES_SHOWN = 5


def run_experiment(job: Job[RunConfig], components: Components) -> None:
    """Train a network on rates, or take a trained one; test it on rates and on spikes; keep everything in MLflow.

    Args:
        job: a training (`Config`) or an evaluation (`EvaluateConfig`), as the user asked for it.
        components: what its configuration describes, before training.

    Raises:
        ParameterError: a run or checkpoint that cannot be used, or a setting that would have changed the training.
    """
    if job.config.diagnosis:
        check_can_be_diagnosed(components)
    summary.quiet()
    client = store.connect(address.resolve(job.config.tracking.uri, job.root))
    with store.refusals_in_one_line(client):
        bring_in_all(client, job.root)
        _do(job, components, client)


def _do(job: Job[RunConfig], components: Components, client: Client) -> None:
    """The run, from its beginning to its last line."""
    untrained = {name: weights.clone() for name, weights in components.network.state_dict().items()}
    trained = None  # this job trains, unless it is an evaluation
    if isinstance(job.config, EvaluateConfig):
        trained = trained_network(job.config, job.plain, job.root)
        load_weights(components.network, trained, f"checkpoint of {job.config.source}")

    with open_run(job, client, trained) as opened:
        if opened is None:  # this job of a sweep has been done before
            return
        run = opened.run
        describe(run, job.plain, job.root, is_slice=components.data.is_slice)
        run.data(components.splits, type(components.data).__name__)

        classifier = build_classifier(components, job, opened.simulated_steps)
        datamodule = DataModule(components.splits, components.data.batch_size, job.config.seed, components.augmentation)

        if trained is None:
            fit(job, run, components, classifier, datamodule)
        results = test(job, run, classifier, datamodule, untrained)
        _report(job, run, components, classifier, results)
        if job.config.diagnosis:
            diagnose_run(run, components, _spiking(components, classifier), job.config)
    summary.summary(results, run, job.number, is_slice=components.data.is_slice)
    if job.number is not None:  # a sweep shows all its jobs, and registers the best one, when it ends
        return
    if isinstance(job.config, Config) and job.config.register is not None:
        print(register(run, job.config.register))
    print(where_it_is_shown(run))


def _report(job: Job[RunConfig], run: Run, components: Components, classifier: Classifier, results: Results) -> None:
    """Keep the figures, the model of a training, the report, and the note that MLflow shows on top of the run."""
    is_evaluation = isinstance(job.config, EvaluateConfig)
    figures = _keep_figures(run, components, classifier, results)
    if not is_evaluation and job.config.model is None:  # a model does not hold the code of a user's file
        keep_servable(run, components, classifier, results)
    run.text(REPORT, page_of_run(job, run, results, figures, is_slice=components.data.is_slice))
    note(run, note_of_run(job, run, results))


def _keep_figures(run: Run, components: Components, classifier: Classifier, results: Results) -> dict[str, bytes]:
    """The figures' PNG files by name, which are kept with the run."""
    shown = components.splits.test[:_IMAGES_SHOWN]
    network = _spiking(components, classifier)
    image_index = torch.arange(len(shown))
    simulator = components.simulator
    if results.exit_threshold is not None:
        simulator = simulator.with_exit(results.exit_threshold)
    outputs = simulator(network.cpu(), shown.as_simulated(), image_index, results.n_steps).outputs
    figures = run_figures(shown.as_pictures(), shown.labels, outputs, results, components.splits.class_names)
    return {name: run.figure(name, figure) for name, figure in figures.items()}


def _spiking(components: Components, classifier: Classifier) -> nn.Module:
    """The network that runs on spikes."""
    if classifier.spiking_network is None:  # the simulation of another run has served
        return components.simulator.converted(components.network.cpu(), components.splits)
    return classifier.spiking_network
