"""The test stage of a run: rates against spikes, before and after training, on validation and on test images."""

import logging
import math
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from ratespike.config.job import Job
from ratespike.config.schemas import RunConfig
from ratespike.execution.locks import locks_below
from ratespike.execution.room import temporary_folder
from ratespike.metrics import Results, names
from ratespike.pipeline.classifier import Classifier
from ratespike.pipeline.datamodule import Batches, DataModule
from ratespike.pipeline.trainer import use_trainer
from ratespike.tracking import shared
from ratespike.tracking.runs import Run

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageResults:
    """What the test stage measures.

    Attributes:
        test: of the trained network on the test images.
        validation: of the trained network on the validation images.
        untrained: of the network before its training on the test images.
    """

    test: Results
    validation: Results
    untrained: Results

    def until(self, n_steps: int) -> "StageResults":
        """The results of simulations that end after `n_steps` steps."""
        return StageResults(self.test.until(n_steps), self.validation.until(n_steps), self.untrained.until(n_steps))

    def arrays(self) -> dict[str, np.ndarray]:
        """The same as arrays by name (`test:agreement`), for a file."""
        arrays = {}
        for part, results in vars(self).items():
            for name, values in results.arrays().items():
                arrays[f"{part}:{name}"] = values
        return arrays

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "StageResults":
        """The results whose `arrays` these are."""
        parts: dict[str, dict[str, np.ndarray]] = {"test": {}, "validation": {}, "untrained": {}}
        for name, values in arrays.items():
            part, _, rest = name.partition(":")
            parts[part][rest] = values
        return cls(
            test=Results.from_arrays(parts["test"]),
            validation=Results.from_arrays(parts["validation"]),
            untrained=Results.from_arrays(parts["untrained"]),
        )


def test(
    job: Job[RunConfig], run: Run, classifier: Classifier, datamodule: DataModule, untrained: dict[str, Tensor]
) -> Results:
    """Measure the classifier, whose weights are the trained ones, and log the results.

    The simulation takes `classifier.n_steps` steps, of which the job's own `n_steps` are logged: a sweep's first job simulates
    as long as its longest one. In a sweep, a simulation of the same network by another run serves if it was long enough.

    Args:
        job: its configuration.
        run: where the results are logged.
        classifier: with the trained weights.
        datamodule: validation and test images.
        untrained: the weights before training.

    Returns:
        The results on the test images, until the job's `n_steps`.
    """
    n_steps = job.config.n_steps
    with locks_below(job.root).hold(f"simulation {run.tag(shared.SIMULATION_HASH)}"):
        is_of_multirun = job.number is not None
        found = shared.find_simulation(run, n_steps) if is_of_multirun else None
        if found is not None:
            measured = StageResults.from_arrays(found)
        else:
            began = time.perf_counter()
            measured = _measure(job, classifier, datamodule, untrained)
            shared.keep_simulation(run, classifier.n_steps, measured.arrays())
            if classifier.n_steps == n_steps:  # else the time is not that of this job's simulation
                _log_speed(run, classifier, measured.test, time.perf_counter() - began)
    measured = measured.until(n_steps)
    _log(run, measured, datamodule.splits.class_names)
    return measured.test


def _measure(job: Job[RunConfig], classifier: Classifier, datamodule: DataModule, untrained: dict[str, Tensor]) -> StageResults:
    """Simulate the test images with both sets of weights, and the validation images with the trained ones, converted.

    With `simulation.exit_loss` the validation images are simulated whole, which fits the threshold, and the test images too,
    for the curve of all thresholds. Then both are simulated with the threshold.
    """
    trained = {name: weights.clone() for name, weights in classifier.network.state_dict().items()}
    classifier.network.load_state_dict(untrained)
    classifier.spiking_network = None
    simulator = classifier.simulator
    classifier.simulator = simulator.without_conversion()  # what was not trained is not converted
    before = _test_once(job, classifier, datamodule.test_dataloader())
    classifier.simulator = simulator
    classifier.network.load_state_dict(trained)
    classifier.spiking_network = classifier.simulator.converted(classifier.network, datamodule.splits)
    validation = _test_once(job, classifier, datamodule.val_dataloader())
    exits = None
    threshold = None
    loss = job.config.simulation.exit_loss
    if loss is not None:
        exits = _test_once(job, classifier, datamodule.test_dataloader()).exits
        threshold = validation.exits[job.config.simulation.exit_by].fitted(loss)
        if threshold is None:
            _logger.warning("simulation.exit_loss=%g: each early exit costs more accuracy; none is simulated", loss)
        classifier.simulator = classifier.simulator.with_exit(threshold)
        validation = _test_once(job, classifier, datamodule.val_dataloader())
    test = _test_once(job, classifier, datamodule.test_dataloader())  # the last one: its seconds are the ones logged
    return StageResults(
        test=replace(test, exits=test.exits if exits is None else exits, exit_threshold=threshold),
        validation=replace(validation, exits={}, exit_threshold=threshold),
        untrained=replace(before, exits={}),
    )


def _test_once(job: Job[RunConfig], classifier: Classifier, batches: Batches) -> Results:
    """The results of one pass over some images, whichever processes do it."""
    classifier.results = None
    with temporary_folder() as folder:
        hand_over = _HandOver(folder / "results.npz")
        use_trainer(job, [hand_over], lambda trainer: trainer.test(classifier, batches, verbose=False))
        if classifier.results is None:
            hand_over.receive(classifier)
    assert classifier.results is not None
    return classifier.results


class _HandOver(Callback):
    """Brings the results of a test that spawned processes did to the process that asked for it, in a file.

    Lightning's `ddp_spawn` returns nothing but scalars.
    """

    def __init__(self, path: Path):
        self.path = path
        self.asking_process = os.getpid()

    def on_test_end(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, Classifier)
        assert module.results is not None
        if trainer.is_global_zero and os.getpid() != self.asking_process:
            np.savez(self.path, **module.results.arrays(), **module.seconds)  # type: ignore[arg-type]

    def receive(self, classifier: Classifier) -> None:
        """Give the results in the file to the classifier of this process."""
        with np.load(self.path) as arrays:
            for mode in classifier.seconds:
                classifier.seconds[mode] = arrays[mode].item()
            classifier.results = Results.from_arrays(dict(arrays))


def _log_speed(run: Run, classifier: Classifier, results: Results, seconds: float) -> None:
    run.metrics(
        {
            "test/rate_images_per_second": results.n_images / classifier.seconds["rate"],
            "test/spiking_images_per_second": results.n_images / classifier.seconds["spiking"],
            "test/seconds": seconds,
        }
    )


def _log(run: Run, measured: StageResults, class_names: tuple[str, ...]) -> None:
    """Log the final metrics of both sets, the curve over the steps, and the tables in `results/`."""
    results = measured.test
    run.metrics(_final_metrics(measured))
    run.curve("test/spiking_accuracy_at", results.spiking_accuracy)
    run.table(
        "spiking_accuracy",
        n_steps=range(1, results.n_steps + 1),
        spiking_accuracy=results.spiking_accuracy.tolist(),
        rate_accuracy=[results.rate_accuracy] * results.n_steps,
        agreement=results.agreement.tolist(),
        synaptic_operations=results.synaptic_operations.cumsum(0).tolist(),
    )
    if results.exits:
        run.table("early_exit", **_exit_columns(results))
    run.table(
        "per_class",
        class_name=class_names,
        test_images=results.class_images.tolist(),
        rate_accuracy=_cells(results.rate_class_accuracy),
        spiking_accuracy=_cells(results.spiking_class_accuracy),
    )
    run.table(
        "predictions",
        image=range(len(results.labels)),
        label=results.labels.tolist(),
        rate_prediction=results.rate_predictions.tolist(),
        spiking_prediction=results.predictions[-1].tolist() if len(results.labels) else [],
    )


def _exit_columns(results: Results) -> dict[str, list[object]]:
    """What an early exit would give, of each criterion and threshold; the threshold is empty for no exit."""
    columns: dict[str, list[object]] = {}
    for by, curve in results.exits.items():
        thresholds = ["" if math.isinf(value) else value for value in curve.thresholds.tolist()]
        of_criterion = {
            "exit_by": [by] * len(thresholds),
            "threshold": thresholds,
            "mean_steps": curve.mean_steps[-1].tolist(),
            "spiking_accuracy": curve.accuracy[-1].tolist(),
            "synaptic_operations": curve.synaptic_operations[-1].tolist(),
        }
        for name, values in of_criterion.items():
            columns.setdefault(name, []).extend(values)
    return columns


def _cells(accuracies: Tensor) -> list[float | str]:
    """The accuracies of classes, empty where a class has no images."""
    return ["" if math.isnan(accuracy) else accuracy for accuracy in accuracies.tolist()]


def _final_metrics(measured: StageResults) -> dict[str, float]:
    """By the names that MLflow shows: `test/...` and `val/...`."""
    results = measured.test
    on_test = names.final(results) | names.after_fewer_steps(results) | names.of_first_images(results)
    metrics = {f"test/{name}": value for name, value in on_test.items()}
    metrics["test/untrained_spiking_accuracy"] = float(measured.untrained.spiking_accuracy[-1])
    for name, value in names.final(measured.validation).items():
        if name != names.RATE_ACCURACY.name:  # each epoch has logged it
            metrics[f"val/{name}"] = value
    return metrics
