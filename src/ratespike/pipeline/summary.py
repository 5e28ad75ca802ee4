"""What a person sees in the terminal beside the progress bars."""

import logging
import warnings
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from ratespike.analysis.terminal import say
from ratespike.metrics import Metric, Results, names
from ratespike.metrics.metric import PERCENT
from ratespike.metrics.names import in_steps
from ratespike.tracking.runs import Run


def quiet() -> None:
    """Silence what libraries print about themselves."""
    for name in ("pytorch_lightning", "lightning", "alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("mlflow.store.db.utils", "urllib3.connectionpool"):  # a store that is away is reported in one line of ours
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for name in ("pytorch_lightning", "lightning_fabric", "mlflow", "torch"):
        warnings.filterwarnings("ignore", module=name)


def summary(results: Results, run: Run, number: int | None, *, is_slice: bool) -> None:
    """Print a run's results, and where to look next.

    Args:
        results: on the test images.
        run: for its name, id and seconds.
        number: of a job of a sweep, whose results are printed in one line; None for a table.
        is_slice: whether only some of the test images were used.
    """
    if number is not None:
        say(f"#{number} {run.name}: {in_words(results)}; run {run.id}")
        return
    title = f"{results.n_images} test images"
    if is_slice:
        title += " (a slice: not a result)"
    table = Table("", "", title=title, show_header=False, title_justify="left")
    for row in rows(results, run):
        table.add_row(*row)
    Console().print(table)
    say(f"run {run.id} in experiment {run.experiment}; figures and curves: mlflow ui")


def in_words(results: Results) -> str:
    """The results in one line."""
    over_plain = ""
    for value in names.OPERATIONS_OVER_PLAIN.values(results).values():
        over_plain = f", {value:.3g} times those of the plain network"
    return (
        f"rates {PERCENT.show(results.rate_accuracy)}, "
        f"spikes {PERCENT.show(float(results.spiking_accuracy[-1]))} after {in_steps(results.n_steps)}, "
        f"{float(results.synaptic_operations.sum()) / 1e6:.1f} million synaptic operations an image{over_plain}"
    )


def rows(results: Results, run: Run) -> Iterator[tuple[str, str]]:
    """The rows of a run's table: each metric with its value in words, and how long training and test took."""
    for metric in names.metrics():
        yield from _rows_of(metric, results)
        if metric is names.ACCURACY_GAP:  # so that all accuracies stand together
            for name, accuracy in names.of_first_images(results).items():
                yield name.replace("_", " ").replace("/", ": "), PERCENT.show(accuracy)
    for what, name in (("training", "train/seconds"), ("testing", "test/seconds")):
        seconds = run.metric(name)
        if seconds is not None:
            yield f"seconds, {what}", f"{seconds:.0f}"


def _rows_of(metric: Metric, results: Results) -> Iterator[tuple[str, str]]:
    """Usually one row; one for each layer or number of steps; none if the metric says nothing of these results."""
    if metric.row_if is not None and not metric.row_if(results):
        return
    if metric.over_steps:
        for steps in [*names.steps_shown(results.n_steps), results.n_steps]:
            for value in metric.values(results.until(steps)).values():
                yield f"{metric.label}, {in_steps(steps)}", metric.unit.show(value)
        return
    for name, value in metric.values(results).items():
        layer = metric.of_layer(name)
        if layer is not None:
            yield f"{metric.label}, {layer}", metric.unit.show(value)
        elif metric.shown_if is None or metric.shown_if(value, results.n_steps):
            yield metric.label, metric.unit.show(value)
