"""The training of a run: a finished one is found, an interrupted one is resumed, else one begins.

A training in stages begins with its stage before, which is a training with a run of its own and, perhaps, a stage before.
"""

import logging
import shutil
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from pytorch_lightning.callbacks import Callback, EMAWeightAveraging
from torch import nn

from ratespike.checked_files import check_archive, sha256
from ratespike.config.job import Job
from ratespike.config.schemas import RunConfig, training_config
from ratespike.config.stages import stages_of
from ratespike.execution.locks import locks_below
from ratespike.execution.room import temporary_folder
from ratespike.parameters import ParameterError
from ratespike.pipeline.assembly import Components, build_classifier, build_components
from ratespike.pipeline.checkpoint import load_weights, read_checkpoint, write_checkpoint
from ratespike.pipeline.classifier import Classifier
from ratespike.pipeline.datamodule import DataModule
from ratespike.pipeline.epoch_callbacks import Checkpoints, KeepEpochs
from ratespike.pipeline.open_run import open_stage
from ratespike.pipeline.start_from import first_images, start_with
from ratespike.pipeline.trainer import use_trainer
from ratespike.tracking import shared
from ratespike.tracking.description import describe
from ratespike.tracking.kept_files import sign, signed
from ratespike.tracking.runs import BEST, LAST, Run

_logger = logging.getLogger(__name__)


def fit(job: Job[RunConfig], run: Run, components: Components, classifier: Classifier, datamodule: DataModule) -> None:
    """Bring the network to the best epoch of its training, and that epoch's checkpoint into the run's artifacts.

    A network that was converted has been trained before; its weights are kept in the same way.

    In a sweep, a finished training of another run serves as well, whether it belongs to this sweep or an earlier one. Jobs that
    need the same training wait for the first of them.
    """
    if components.converted is None:
        make = partial(_train_in_stages, job, run, components, classifier, datamodule)
    else:
        make = partial(_keep, components.converted, run, classifier)
    _find_or_make(job, run, classifier.network, make)


def _find_or_make(job: Job[RunConfig], run: Run, network: nn.Module, make: Callable[[], None]) -> None:
    """Have a finished training's best epoch in the run's artifacts, made if there is none, and its weights in the network.

    Args:
        job: the training.
        run: keeps it.
        network: gets the weights.
        make: makes the training, with both.
    """
    with locks_below(job.root).hold(f"training {run.tag(shared.TRAINING_HASH)}"):
        if not run.tag(shared.TRAINED):
            is_of_multirun = job.number is not None
            is_taken = is_of_multirun and shared.take_training(run, BEST)
            if not is_taken:
                make()
            run.tags({shared.TRAINED: "true"})
            if not is_taken:
                return
    with signed(run, BEST) as path:
        if path is None:
            raise FileNotFoundError(f"run {run.id} has lost its artifact {BEST}")
        load_weights(network, read_checkpoint(path), f"run {run.id}")


def _keep(converted: nn.Module, run: Run, classifier: Classifier) -> None:
    """Make a checkpoint of a network that needs no training, and give its weights to the classifier's."""
    with temporary_folder() as folder:
        path = folder / Path(BEST).name
        write_checkpoint(path, converted, classifier.description)
        run.file(path, str(Path(BEST).parent))
        load_weights(classifier.network, read_checkpoint(path), f"run {run.id}")
        sign(run, BEST, sha256(path))


def _train_in_stages(
    job: Job[RunConfig], run: Run, components: Components, classifier: Classifier, datamodule: DataModule
) -> None:
    """Train each stage from the one before it, and the run's own training from the last one."""
    seconds = 0.0
    images = first_images(components.splits)
    trained: nn.Module | None = None
    for name, plain in stages_of(job.plain):
        plain["tracking"] = {**plain["tracking"], "parent": run.id}
        stage = replace(job, config=training_config(plain), plain=plain)
        own = build_components(stage.config, job.root)
        if trained is not None:
            start_with(own.network, trained, images)
        with open_stage(stage, run, name) as stage_run:
            seconds += _train_stage(stage, stage_run, own)
        trained = own.network
    if trained is not None:
        start_with(components.network, trained, images)
    _train(job, run, classifier, datamodule, seconds)


def _train_stage(stage: Job[RunConfig], run: Run, components: Components) -> float:
    """Give a stage's network its trained weights; how many seconds the training took, 0 if another run has done it."""
    _logger.info("%s: epochs: %d", run.name, stage.config.trainer.max_epochs)
    describe(run, stage.plain, stage.root, is_slice=components.data.is_slice)
    classifier = build_classifier(components, stage, stage.config.n_steps)
    datamodule = DataModule(components.splits, components.data.batch_size, stage.config.seed, components.augmentation)
    _find_or_make(stage, run, components.network, partial(_train, stage, run, classifier, datamodule))
    return run.metric("train/seconds") or 0.0


def _train(job: Job[RunConfig], run: Run, classifier: Classifier, datamodule: DataModule, seconds_before: float = 0.0) -> None:
    """Train from the first epoch, or from the one that follows the last that the run has kept; the best one's weights stay.

    Args:
        job: the training.
        run: keeps its epochs.
        classifier: begins with the weights that its network has.
        datamodule: training and validation images.
        seconds_before: that its stages took, which count as the run's.
    """
    folder = job.root / "outputs" / "trainings" / run.id
    last_epoch = _kept_epoch(run, folder) if run.resumed else None
    best = Checkpoints(folder, Path(BEST).stem, **_choice(classifier))
    # Lightning's `save_last` saves with a new best one alone: a training on a plateau would go back to it.
    latest = Checkpoints(folder, Path(LAST).stem)
    averaging = classifier.optimizer.weight_averaging
    callbacks: list[Callback] = [_MovingAverage(averaging)] if averaging else []
    began = time.perf_counter()
    use_trainer(
        job,
        [*callbacks, best, latest, KeepEpochs(run, best, latest)],
        lambda trainer: trainer.fit(classifier, datamodule, ckpt_path=last_epoch, weights_only=True),
        job.config.trainer.precision,
    )
    sign(run, BEST, sha256(folder / Path(BEST).name))
    run.metrics({"train/seconds": seconds_before + time.perf_counter() - began})
    load_weights(classifier.network, read_checkpoint(folder / Path(BEST).name), f"run {run.id}")
    shutil.rmtree(folder)  # the run's artifacts hold it all


class _MovingAverage(EMAWeightAveraging):
    """Lightning's moving average of the weights, which can be pickled: each process of a training gets its own.

    Args:
        decay: of the average with each step.
    """

    def __init__(self, decay: float):
        super().__init__(decay=decay)
        self._decay = decay

    def __reduce__(self) -> tuple[type["_MovingAverage"], tuple[float]]:
        return _MovingAverage, (self._decay,)


def _choice(classifier: Classifier) -> dict[str, str]:
    """Which epoch is the best one, as `ModelCheckpoint` takes it.

    Where rates are held, the last one: earlier ones are more accurate because they are held less.
    """
    return {"monitor": "val/rate_accuracy" if classifier.held_rates is None else "epoch", "mode": "max"}


def _kept_epoch(run: Run, folder: Path) -> Path | None:
    """The checkpoint of the last epoch that an interrupted run has kept, copied to `folder`; None if there is no whole one."""
    run.fetch(BEST, folder)
    last_epoch = run.fetch(LAST, folder)
    if last_epoch is None or not _is_whole(last_epoch):  # a kill may have cut the copy short
        return None
    return last_epoch


def _is_whole(checkpoint: Path) -> bool:
    try:
        check_archive(checkpoint)
    except ParameterError as error:
        _logger.warning("%s: the training begins anew", error)
        return False
    return zipfile.is_zipfile(checkpoint)
