"""The test stage of a run: rates against spikes, before and after training, on validation and on test images."""

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback

from ratespike.config.job import Job
from ratespike.config.schemas import RunConfig
from ratespike.execution.locks import locks_below
from ratespike.metrics import STEPS_SHOWN, Results
from ratespike.pipeline.classifier import Classifier
from ratespike.pipeline.datamodule import Batches, DataModule
from ratespike.pipeline.trainer import use_trainer
from ratespike.tracking import shared
from ratespike.tracking.runs import Run


@dataclass(frozen=True)
class Measured:
    """What the test stage tells: of the trained network on both sets, of the untrained one on the test images."""

    test: Results
    validation: Results
    untrained: Results

    def until(self, n_steps: int) -> "Measured":
        """What shorter simulations tell."""
        return Measured(**{name: results.until(n_steps) for name, results in vars(self).items()})

    def arrays(self) -> dict[str, np.ndarray]:
        """The same as arrays by name, for a file."""
        return {f"{part}:{name}": value for part, results in vars(self).items() for name, value in results.arrays().items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "Measured":
        """What `arrays` told."""
        parts: dict[str, dict[str, np.ndarray]] = {}
        for name, value in arrays.items():
            part, _, rest = name.partition(":")
            parts.setdefault(part, {})[rest] = value
        return cls(**{part: Results.from_arrays(values) for part, values in parts.items()})


def test(
    job: Job[RunConfig],
    run: Run,
    classifier: Classifier,
    datamodule: DataModule,
    untrained: dict[str, torch.Tensor],
    simulated_steps: int,
) -> Measured:
    """Measure the classifier, whose weights are the trained ones, and log what comes out.

    It simulates `simulated_steps`, of which `n_steps` are logged: the rest is for other jobs of the sweep. In a sweep a
    simulation of the same network that another run has done, if it was long enough, serves as well.
    """
    n_steps = job.config.n_steps
    with locks_below(job.root).hold(f"simulation {run.tag(shared.SIMULATION_HASH)}"):
        found = shared.find_simulation(run, n_steps) if job.number is not None else None
        if found is not None:
            measured = Measured.from_arrays(found)
        else:
            began = time.perf_counter()
            measured = _measure(job, classifier, datamodule, untrained)
            shared.keep_simulation(run, simulated_steps, measured.arrays())
            if simulated_steps == n_steps:
                _log_speed(run, classifier, measured.test, time.perf_counter() - began)
    measured = measured.until(n_steps)
    _log(run, measured)
    return measured


class _Tell(Callback):
    """Tells the process that asked for a test, by a file, what came out in those that did it."""

    def __init__(self, path: Path):
        self.path = path

    def on_test_end(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, Classifier) and module.results is not None
        if trainer.is_global_zero:
            np.savez(self.path, **module.results.arrays(), **module.seconds)  # type: ignore[arg-type]


def _measure(
    job: Job[RunConfig], classifier: Classifier, datamodule: DataModule, untrained: dict[str, torch.Tensor]
) -> Measured:
    def results(batches: Batches) -> Results:
        with tempfile.TemporaryDirectory() as folder:
            told = _Tell(Path(folder) / "results.npz")
            use_trainer(job, [told], lambda trainer: trainer.test(classifier, batches, verbose=False))
            with np.load(told.path) as arrays:
                classifier.seconds |= {mode: arrays[mode].item() for mode in classifier.seconds}
                return Results.from_arrays(dict(arrays))

    trained = {name: weights.clone() for name, weights in classifier.network.state_dict().items()}
    classifier.network.load_state_dict(untrained)
    before = results(datamodule.test_dataloader())
    classifier.network.load_state_dict(trained)
    validation = results(datamodule.val_dataloader())
    return Measured(test=results(datamodule.test_dataloader()), validation=validation, untrained=before)


def _log_speed(run: Run, classifier: Classifier, results: Results, seconds: float) -> None:
    speeds = {f"test/{mode}_images_per_second": results.n_images / classifier.seconds[mode] for mode in ("rate", "spiking")}
    run.metrics({**speeds, "test/seconds": seconds})


def _log(run: Run, measured: Measured) -> None:
    results = measured.test
    validation = replace(measured.validation, first=0).final()
    shown = [n for n in STEPS_SHOWN if n < results.n_steps]
    run.metrics(
        {f"test/{name}": value for name, value in results.final().items()}
        | {"test/untrained_spiking_accuracy": measured.untrained.final()["spiking_accuracy"]}
        | {f"test/spiking_accuracy_after/{n}_steps": float(results.spiking_accuracy[n - 1]) for n in shown}
        | {f"val/{name}": value for name, value in validation.items() if name != "rate_accuracy"}  # which each epoch logs
    )
    run.curve("test/spiking_accuracy_at", results.spiking_accuracy)
    run.table(
        "spiking_accuracy",
        n_steps=range(1, results.n_steps + 1),
        spiking_accuracy=results.spiking_accuracy.tolist(),
        rate_accuracy=[results.rate_accuracy] * results.n_steps,
        agreement=results.agreement.tolist(),
        synaptic_operations=results.synaptic_operations.cumsum(0).tolist(),
    )
