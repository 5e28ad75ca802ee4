"""The answers of a trained network to picture files: read from top to bottom, it is all of `predict.py`.

find -> decode -> rates and spikes -> table, CSV file, figure
"""

import csv
import itertools
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor, nn

from ratespike.analysis import csv_cells
from ratespike.config.invocation import started_by
from ratespike.config.job import Job
from ratespike.config.schemas import PredictConfig
from ratespike.data import DataSet, Images, Scaling
from ratespike.data.images import is_from_0_to_1
from ratespike.data.pictures import Shape, pictures_below, printable, read_pictures
from ratespike.metrics.names import in_steps
from ratespike.parameters import ParameterError, build
from ratespike.pipeline.answers import (
    answer_on_rates,
    answer_on_spikes,
    converted_without_images,
    decision_step,
    simulator_of,
    trained_to_answer,
)
from ratespike.pipeline.checkpoint import Checkpoint
from ratespike.pipeline.saved_settings import trained_network
from ratespike.pipeline.simulator import Simulator

_IN_TABLE = 20  # answers
_IN_FIGURE = 5  # pictures
_NAME = 28  # characters of a file's name in the table, its last ones


@dataclass(frozen=True)
class Prediction:
    """The network's answer to one picture file, a line of the CSV file.

    Attributes:
        file: its path as it was given, or below the folder that was given.
        rate_class: the class with the largest output on rates.
        rate_confidence: the softmax of that output.
        spike_class: the class with the largest output after the last step on spikes.
        spike_confidence: the softmax of that output.
        decision_step: the first step from which on the spikes' answer stayed what it was after the last one.
        error: why the file cannot be read; then all others are empty.
    """

    file: str
    rate_class: str = ""
    rate_confidence: float | None = None
    spike_class: str = ""
    spike_confidence: float | None = None
    decision_step: int | None = None
    error: str = ""


def predict_pictures(job: Job[PredictConfig]) -> None:
    """Show pictures to a trained network, print its answers, and keep them with a figure.

    Raises:
        ParameterError: no pictures, a network that cannot be used; or files that cannot be read, when all others are done.
    """
    config = job.config
    if job.number is not None:
        raise ParameterError("-m: this program does not sweep; give several files as images=[a.png,b.png]")
    if config.data.get("type") == "Events":
        raise ParameterError(
            f"that network was trained on events, not pictures; `{started_by('evaluate')}` simulates recordings"
        )
    if config.simulation.exit_loss is not None:
        _refuse_fitting(config, job.root)
    files = _files(config.images)
    trained = trained_network(config, job.plain, job.root)
    _check_values(trained)
    network = trained_to_answer(trained, config.source)
    simulator = simulator_of(job.plain)
    simulator.check(network, config.n_steps)
    spiking = _converted(network, simulator, config, job.root)

    starting = time.perf_counter()
    _answer(network, spiking, simulator, _blank(trained), config.n_steps)  # loads or compiles the kernels
    began = time.perf_counter()
    answers: dict[str, Prediction] = {}
    first: Answered | None = None
    for batch in _batches(files, trained, config):
        answers.update((name, Prediction(name, error=reason)) for name, reason in batch.unread.items())
        if not batch.names:
            continue
        answered = _answer(network, spiking, simulator, batch, config.n_steps)
        for place, name in enumerate(batch.names):
            answers[name] = answered.prediction(place, name, trained.class_names)
        first = first or answered
    ended = time.perf_counter()

    folder = Path(config.folder)
    folder.mkdir(parents=True, exist_ok=True)
    if first is not None:
        _draw(folder / "outputs_over_time.png", first, config.dt, trained.class_names)
    in_order = [answers[name] for name in files]
    _write_csv(folder / "predictions.csv", in_order)
    _print(in_order)
    unread = [answer for answer in in_order if answer.error]
    read = f"{len(files) - len(unread)} of {len(files)} pictures"
    print(f"{read} in {ended - began:.1f} s, after {began - starting:.1f} s to load the engine's kernels")
    print(f"{folder}/predictions.csv has all answers")
    if unread:
        first_unread = f"{unread[0].file}: {unread[0].error}"
        raise ParameterError(f"{len(unread)} of {len(files)} pictures cannot be read; the first, {first_unread}")


@dataclass(frozen=True)
class Batch:
    """Pictures that follow each other.

    Attributes:
        images: those that could be read, as the network gets them.
        rows: which ones of all files they are.
        names: of their files.
        unread: the names of the other files, and why they cannot be read.
    """

    images: Images
    rows: Tensor
    names: Sequence[str]
    unread: Mapping[str, str]


@dataclass(frozen=True)
class Answered:
    """A batch of pictures and the network's answers.

    Attributes:
        images: as they are looked at, in [0, 1].
        rates: outputs on rates.
        spikes: outputs on spikes, after each step.
    """

    images: Float[Tensor, "batch channels height width"]
    rates: Float[Tensor, "batch classes"]
    spikes: Float[Tensor, "time batch classes"]

    def prediction(self, place: int, name: str, class_names: Sequence[str]) -> Prediction:
        """The answer to the picture at a place of the batch."""
        on_rates = answer_on_rates(self.rates[place], class_names)
        on_spikes = answer_on_spikes(self.spikes[:, place], class_names)
        return Prediction(
            file=name,
            rate_class=on_rates.class_name,
            rate_confidence=on_rates.confidence,
            spike_class=on_spikes.class_name,
            spike_confidence=on_spikes.confidence,
            decision_step=on_spikes.decision_step,
        )


def _converted(network: nn.Module, simulator: Simulator, config: PredictConfig, root: Path) -> nn.Module:
    """The network that runs on spikes; a conversion that looks at training images has them loaded."""
    if not simulator.conversion.n_images:
        return converted_without_images(network, simulator)
    data = build(DataSet, config.data, "data")  # type: ignore[type-abstract]
    return simulator.converted(network, data.load(root))


def _check_values(trained: Checkpoint) -> None:
    """Raise `ParameterError` if a network was trained on images whose black is not 0 or whose white is not 1."""
    if not is_from_0_to_1(trained.value_range):
        lowest, highest = trained.value_range
        raise ParameterError(
            f"that network was trained on floating-point images from {lowest:g} to {highest:g}; pictures are from 0 (black) to "
            f"1 (white): train on images that are scaled so, or simulate an .npz file by `{started_by('evaluate')}`"
        )


def _refuse_fitting(config: PredictConfig, root: Path) -> None:
    """Raise `ParameterError` that says which threshold of the early exit to give, that of the run if it has fitted one."""
    from ratespike.tracking import address, store  # imports MLflow

    fitted = None
    if config.run is not None:
        run = store.find_run(store.connect(address.resolve(config.tracking.uri, root)), config.run)
        fitted = run.metric("test/exit_threshold")
    threshold = "<the run's test/exit_threshold>" if fitted is None else fitted
    raise ParameterError(
        f"simulation.exit_loss={config.simulation.exit_loss}: needs validation images, which pictures do not have; give "
        f"simulation.exit_loss=null simulation.early_exit={threshold}, or null for no early exit"
    )


def _files(given: object) -> dict[str, Path]:
    """The picture files that a folder, a file or a list of them stands for, by the names that they have in the answers."""
    places = given if isinstance(given, list) else [given]
    files: dict[str, Path] = {}
    for place in places:
        path = Path(os.path.expanduser(str(place)))  # noqa: PTH111  # that of `Path` raises where there is no such user
        if place is None or not path.exists():
            raise ParameterError(f"images={place}: no such file or folder; give images=<folder>, <file> or [<file>,<file>]")
        found = pictures_below(path) if path.is_dir() else [path]
        files.update((printable(str(file)), Path(file)) for file in found)
    if not files:
        raise ParameterError(f"images={given}: holds no pictures")
    return files


def _batches(files: dict[str, Path], trained: Checkpoint, config: PredictConfig) -> Iterator[Batch]:
    """All files, in batches as large as those of the training."""
    data = build(DataSet, config.data, "data")  # type: ignore[type-abstract]
    channels, height, width = trained.image_shape
    shape = Shape(channels, height, width, config.data.get("fit", "stretch"))
    scaling = Scaling(mean=data.mean or (), std=data.std or ())
    pictures = read_pictures(list(files.values()), shape, "looking at pictures")
    numbered = enumerate(zip(files, pictures, strict=True))
    while batch := list(itertools.islice(numbered, data.batch_size)):
        unread = {name: reason for _, (name, reason) in batch if isinstance(reason, str)}
        read = [(row, name, pixels) for row, (name, pixels) in batch if not isinstance(pixels, str)]
        stacked = np.stack([pixels for _, _, pixels in read]) if read else np.empty((0, channels, height, width), np.uint8)
        images = Images(torch.from_numpy(stacked), torch.zeros(len(read), dtype=torch.long), scaling)
        yield Batch(images, torch.tensor([row for row, _, _ in read]), [name for _, name, _ in read], unread)


def _blank(trained: Checkpoint) -> Batch:
    """A batch of one black picture."""
    pixels = torch.zeros(1, *trained.image_shape, dtype=torch.uint8)
    return Batch(Images(pixels, torch.zeros(1, dtype=torch.long)), torch.zeros(1, dtype=torch.long), [""], {})


@torch.no_grad()
def _answer(network: nn.Module, spiking: nn.Module, simulator: Simulator, batch: Batch, n_steps: int) -> Answered:
    """The answers of a network on rates, and of what a conversion has made of it on spikes."""
    inputs = batch.images.as_inputs()
    outputs = simulator(spiking, inputs, batch.rows, n_steps).outputs
    return Answered(batch.images.as_pictures(), network(inputs), outputs)


def _write_csv(path: Path, answers: Iterable[Prediction]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(Prediction)])
        writer.writerows(csv_cells.row(astuple(answer)) for answer in answers)


def _draw(path: Path, answered: Answered, dt: float, class_names: Sequence[str]) -> None:
    """The first pictures beside the outputs over time."""
    from ratespike.pipeline.plots import short_names
    from ratespike.pipeline.plots.outputs_over_time import ShownImages, draw_outputs

    outputs = answered.spikes[:, :_IN_FIGURE]
    predicted = outputs.argmax(dim=-1)  # (time, images)
    marked = predicted[-1].tolist()
    steps = [decision_step(own) for own in predicted.T]
    names = short_names(class_names, 30)
    titles = [f"{names[own]}, decided after {in_steps(step)}" for own, step in zip(marked, steps, strict=True)]
    shown = ShownImages(answered.images[:_IN_FIGURE], outputs.numpy(), dt, marked, titles, class_names)
    draw_outputs(shown).savefig(path)


def _print(answers: Sequence[Prediction]) -> None:
    """The first answers."""
    table = Table("picture", "rates", "", "spikes", "", "decided after", box=None)
    for answer in answers[:_IN_TABLE]:
        name = f"…{answer.file[-_NAME:]}" if len(answer.file) > _NAME else answer.file
        if answer.error:
            table.add_row(Text(name), "cannot be read")
            continue
        table.add_row(
            Text(name),  # in a plain string brackets are markup
            Text(answer.rate_class),
            f"{answer.rate_confidence:.0%}",
            Text(answer.spike_class),
            f"{answer.spike_confidence:.0%}",
            in_steps(answer.decision_step or 0),
        )
    console = Console()
    console.print(table)
    if len(answers) > _IN_TABLE:
        console.print(f"and {len(answers) - _IN_TABLE} more", highlight=False)
