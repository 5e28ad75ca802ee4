"""The whole program, from the configuration to the table at the end: read it top to bottom."""

import functools
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from ratespike.command import INTERRUPTED, Job
from ratespike.config import Config
from ratespike.data import DataSet, Splits
from ratespike.network import build_network
from ratespike.optimizers import Optimizer
from ratespike.parameters import ParameterError, build
from ratespike.simulation import simulate
from ratespike.synapses import Synapse
from ratespike.tracking import address

if TYPE_CHECKING:
    from pytorch_lightning import Trainer

    from ratespike.classifier import Classifier, Simulate
    from ratespike.datamodule import DataModule
    from ratespike.tracking.runs import Run


@dataclass(frozen=True)
class Parts:
    """What the configuration describes, built and checked, before Lightning and MLflow are imported."""

    data: DataSet
    splits: Splits
    network: nn.Sequential
    neurons: dict[str, int]  # by neuron layer, how many
    optimizer: Optimizer
    simulate: "Simulate"


def build_parts(job: Job[Config]) -> Parts:
    """Build and try everything that can be wrong; raises `ParameterError`."""
    config = job.config
    data = build(DataSet, config.data, "data")  # type: ignore[type-abstract]
    optimizer = build(Optimizer, config.optimizer, "optimizer")  # type: ignore[type-abstract]
    synapse = build(Synapse, config.synapse, "synapse")  # type: ignore[type-abstract]
    torch.manual_seed(config.seed)
    network = build_network(config.network.layers, config.neuron, data.image_shape, data.classes, config.network.initialisation)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast on CPUs
    run_simulation = functools.partial(
        _simulate, n_steps=config.n_steps, dt=config.dt, synapse=synapse, **vars(config.simulation)
    )
    neurons = simulate(network, torch.zeros(1, *data.image_shape), n_steps=1, dt=config.dt, engine="torch").neurons
    return Parts(data, data.load(job.root), network, neurons, optimizer, run_simulation)


def train_and_test(job: Job[Config]) -> None:
    """Train on rates, test on rates and on spikes, keep everything in MLflow, print the comparison."""
    uri = address.resolve(job.config.tracking.uri, job.root)
    address.check(uri, exists=job.config.resume is not None)
    interrupted = _interrupted_run(job, uri, job.config.resume) if job.config.resume else None
    parts = build_parts(job)
    from ratespike import terminal
    from ratespike.classifier import Classifier
    from ratespike.datamodule import DataModule
    from ratespike.metrics import Comparison
    from ratespike.tracking import runs

    terminal.quiet()
    run = interrupted or _new_run(job, uri)
    try:
        with runs.track(run, job.config.tracking.system_metrics):
            if interrupted is None:
                runs.describe(run, job.plain, job.root, parts.data.is_slice)
                run.data(parts.splits, type(parts.data).__name__)
            comparison = Comparison(
                job.config.n_steps, job.config.dt, parts.data.classes, parts.neurons, parts.data.report_first
            )
            description = {"config": job.plain, "image_shape": list(parts.data.image_shape), "classes": parts.data.classes}
            classifier = Classifier(
                parts.network, parts.optimizer, parts.simulate, comparison, parts.data.classes, job.config.seed, description
            )
            datamodule = DataModule(parts.splits, parts.data.batch_size, job.config.seed)
            _test_untrained(job, run, classifier, datamodule)
            seconds = {"training": _train(job, run, classifier, datamodule), "testing": _test(job, run, classifier, datamodule)}
            _keep_figures(run, parts, classifier)
            run.model(classifier.network, torch.zeros(1, *parts.data.image_shape))
    except (KeyboardInterrupt, SystemExit):
        overrides = [override for override in job.overrides if not override.startswith("resume=")]
        command = shlex.join(["python", "train.py", *overrides, f"resume={run.id}"])
        print(f"\ninterrupted; to go on from the last finished epoch:\n  {command}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    assert classifier.results is not None
    terminal.summary(classifier.results, seconds, run, is_slice=parts.data.is_slice)


def _simulate(network: nn.Module, images: torch.Tensor, image_index: torch.Tensor, **settings: object):  # type: ignore[no-untyped-def]
    return simulate(network, images, image_index=image_index, **settings)  # type: ignore[arg-type]


def _interrupted_run(job: Job[Config], uri: str, run_id: str) -> "Run":
    from ratespike.tracking import runs

    run = runs.find_run(runs.connect(uri), run_id)
    if run.tag("ratespike.config_hash") != runs.config_hash(job.plain):
        raise ParameterError(f"resume={run.id}: that run has another configuration; give the options that it was started with")
    return run


def _new_run(job: Job[Config], uri: str) -> "Run":
    from ratespike.tracking import runs

    experiment = job.config.tracking.experiment
    changed = [override for override in job.overrides if not override.startswith("+experiment=")]
    return runs.open_run(runs.connect(uri), experiment, " ".join([experiment, *changed]))


def _trainer(job: Job[Config], run: "Run", checkpoints: Path | None = None) -> "Trainer":
    from pytorch_lightning import Trainer
    from pytorch_lightning.callbacks import ModelCheckpoint, RichProgressBar

    from ratespike.tracking.lightning import KeepEpochs

    callbacks: list = [RichProgressBar()]  # type: ignore[type-arg]
    if checkpoints is not None:
        best = ModelCheckpoint(
            checkpoints, "best", monitor="val/rate_accuracy", mode="max", save_last=True, enable_version_counter=False
        )
        callbacks += [best, KeepEpochs(run, best)]
    return Trainer(
        max_epochs=job.config.trainer.max_epochs,
        accelerator=job.config.trainer.accelerator,
        devices=job.config.trainer.devices,
        logger=False,
        callbacks=callbacks,
        enable_checkpointing=checkpoints is not None,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # our batches need no DistributedSampler
        deterministic="warn",
    )


def _test_untrained(job: Job[Config], run: "Run", classifier: "Classifier", datamodule: "DataModule") -> None:
    name = "test/untrained_spiking_accuracy"
    if run.metric(name) is None:
        _trainer(job, run).test(classifier, datamodule, verbose=False)
        assert classifier.results is not None
        run.metrics({name: classifier.results.final()["spiking_accuracy"]})


def _checkpoints(job: Job[Config], run: "Run") -> Path:
    return job.root / "outputs" / "checkpoints" / run.id


def _train(job: Job[Config], run: "Run", classifier: "Classifier", datamodule: "DataModule") -> float:
    folder = _checkpoints(job, run)
    last = None
    if job.config.resume is not None:
        run.checkpoint("best", folder)
        last = run.checkpoint("last", folder)
    began = time.perf_counter()
    _trainer(job, run, folder).fit(classifier, datamodule, ckpt_path=last, weights_only=True)
    seconds = time.perf_counter() - began
    if classifier.trained_images:
        run.metrics({"train/images_per_second": classifier.trained_images / classifier.seconds["train"]})
    return seconds


def _test(job: Job[Config], run: "Run", classifier: "Classifier", datamodule: "DataModule") -> float:
    began = time.perf_counter()
    best = _checkpoints(job, run) / "best.ckpt"
    _trainer(job, run).test(classifier, datamodule, ckpt_path=best, weights_only=True, verbose=False)
    assert classifier.results is not None
    run.results(classifier.results)
    n_images = len(datamodule.splits.test)
    run.metrics({f"test/{mode}_images_per_second": n_images / classifier.seconds[mode] for mode in ("rate", "spiking")})
    return time.perf_counter() - began


def _keep_figures(run: "Run", parts: Parts, classifier: "Classifier") -> None:
    from ratespike import figures

    results = classifier.results
    assert results is not None
    shown = parts.splits.test[:5]
    images = shown.pixels.float() / 255
    outputs = parts.simulate(parts.network.cpu(), images, torch.arange(len(shown))).outputs
    accuracy, agreement = results.spiking_accuracy.numpy(), results.agreement.numpy()
    pictures = {
        "outputs_over_time": figures.outputs_over_time(images.numpy(), shown.labels.numpy(), outputs.numpy(), results.dt),
        "accuracy_over_steps": figures.accuracy_over_steps(accuracy, results.rate_accuracy, agreement),
        "firing_rates": figures.firing_rates(results.firing_rate_hz()),
        "confusion_matrix": figures.confusion_matrix(results.confusion.numpy()),
    }
    for name, figure in pictures.items():
        run.figure(name, figure)
