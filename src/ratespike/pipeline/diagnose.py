"""Why a trained network loses accuracy on spikes: read from top to bottom, it is all of `diagnose.py`.

find -> build -> convert -> draw validation images -> diagnose -> table, sentence, files

The images are validation images: the advice is a choice, and no choice may look at the test images. A run diagnoses itself by
the same functions behind its test (`diagnosis=true`).
"""

import csv
import time
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from ratespike.analysis.terminal import say
from ratespike.config.job import Job
from ratespike.config.schemas import DiagnoseConfig, RunConfig
from ratespike.diagnosis import Case, Diagnosis, diagnose_case, draw
from ratespike.diagnosis.lost import LostImage
from ratespike.execution.room import temporary_folder
from ratespike.parameters import ParameterError
from ratespike.pipeline.assembly import Components, build_components
from ratespike.pipeline.checkpoint import load_weights
from ratespike.pipeline.saved_settings import trained_network
from ratespike.tracking import address
from ratespike.tracking.runs import Run

IMAGES = 1000  # of a run that diagnoses itself
_TRAINING_IMAGES = 500  # for the scale of pixels and statistics, and for conversions that are tried
_FOLDER = "diagnosis"  # of a run's artifacts
_AS_TESTED = ("run", "folder", "tracking.uri", "data.dir", "data.batch_size")  # may be given without another result


def diagnose_network(job: Job[DiagnoseConfig]) -> None:
    """Diagnose the network that `run=`, `checkpoint=` or `model=` names, and keep the result with its run if it is as tested.

    Raises:
        ParameterError: a network that cannot be used, or images that change over time.
    """
    config = job.config
    if job.number is not None:
        raise ParameterError("-m: this program does not sweep; call it once for each setting")
    trained = trained_network(config, job.plain, job.root)
    components = build_components(config, job.root)
    load_weights(components.network, trained, f"checkpoint of {config.source}")
    spiking = components.simulator.converted(components.network, components.splits)
    source = str(config.run or config.checkpoint or "<run>")
    found = diagnose_case(replace(case_of(components, spiking, config, config.images), name=source))
    _print(found)
    folder = Path(config.folder)
    try:
        files = _write(found, folder)
    except OSError as error:
        raise ParameterError(f"folder={config.folder}: cannot be written to ({error.strerror or error})") from None
    where = f"{folder}/"
    run = _run_as_tested(job)
    if run is not None:
        _keep(found, files, run)
        where += f" and run {run.id}, {_FOLDER}/"
    say(f"table, figure and lost images: {where}")


def diagnose_run(run: Run, components: Components, spiking: nn.Module, config: RunConfig) -> None:
    """Diagnose the network of a run behind its test, and keep the result with it.

    Args:
        run: that it is kept with.
        components: of the run, with the trained network.
        spiking: that runs on spikes.
        config: of the run.
    """
    began = time.perf_counter()
    found = diagnose_case(replace(case_of(components, spiking, config, IMAGES), name=run.id))
    run.metrics({f"{_FOLDER}/seconds": time.perf_counter() - began})
    with temporary_folder() as folder:
        _keep(found, _write(found, folder), run)
    say(found.advice)


def case_of(components: Components, spiking: nn.Module, config: RunConfig, images: int) -> Case:
    """The case of a run's settings, with some of its validation images, drawn by `simulation.seed`; without an early exit.

    Args:
        components: of the run.
        spiking: the network that runs on spikes.
        config: of the run.
        images: how many at most.

    Raises:
        ParameterError: the images change over time.
    """
    splits, simulator, data = components.splits, components.simulator, components.data
    if simulator.event_height is not None:
        raise ParameterError("data: a diagnosis needs images that stand still, but these change; diagnosis=false")
    generator = torch.Generator().manual_seed(config.simulation.seed)
    drawn = torch.randperm(len(splits.validation), generator=generator)[:images].sort().values
    chosen = splits.validation[drawn]
    settings = simulator.settings
    return Case(
        network=spiking.cpu(),
        trained=components.network.cpu(),
        images=chosen.as_inputs(),
        labels=chosen.labels.long(),
        numbers=drawn,
        training=splits.some_training_images(_TRAINING_IMAGES).as_inputs(),
        pixels=(_mean(data.mean, 0.0), _mean(data.std, 1.0)),
        n_steps=config.n_steps,
        dt=config.dt,
        synapse=simulator.synapse,
        start=settings.start,
        readout=settings.readout,
        burn_in=settings.burn_in,
        seed=settings.seed,
        engine=settings.engine,
        conversion=simulator.conversion,
    )


def check_can_be_diagnosed(components: Components) -> None:
    """Raise `ParameterError` before a training whose network could not be diagnosed."""
    if components.simulator.event_height is not None:
        raise ParameterError("diagnosis=true: needs images that stand still, but these change; leave it out")


def _mean(values: Sequence[float] | None, otherwise: float) -> float:
    """The mean over channels of what the pixels are scaled with."""
    return sum(values) / len(values) if values else otherwise


def _run_as_tested(job: Job[DiagnoseConfig]) -> Run | None:
    """The run that was diagnosed with its own settings; None if another source or other settings were given.

    What it has logged in an earlier diagnosis is the same, and not logged again.
    """
    given = {override.partition("=")[0].lstrip("+~") for override in job.overrides}
    if job.config.run is None or not given <= set(_AS_TESTED):
        return None
    from ratespike.tracking import store

    run = store.find_run(store.connect(address.resolve(job.config.tracking.uri, job.root)), job.config.run)
    return Run(run.client, run.id, run.experiment, resumed=True)


def _print(found: Diagnosis) -> None:
    table = Table(*found.columns(), title=found.summary, title_justify="left")
    for row in found.rows():
        table.add_row(*row)
    Console().print(table)
    say(found.advice)


def _write(found: Diagnosis, folder: Path) -> list[Path]:
    """Write the table with the sentence, the figure and the lost images; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    table, figure, lost = (folder / name for name in ("diagnosis.md", "diagnosis.png", "lost_images.csv"))
    table.write_text(found.markdown(), encoding="utf-8")
    draw(found).savefig(figure, dpi=120)
    with lost.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(LostImage)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(image) for image in found.lost)
    return [table, figure, lost]


def _keep(found: Diagnosis, files: list[Path], run: Run) -> None:
    """Keep a diagnosis with a run: files below `diagnosis/`, metrics with that prefix, the advice as a tag."""
    for path in files:
        run.file(path, _FOLDER)
    run.metrics({f"{_FOLDER}/{name}": value for name, value in found.metrics().items()})
    run.tags({"ratespike.advice": found.advice})
