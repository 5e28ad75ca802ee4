"""What a person sees in the terminal beside the progress bars."""

import logging
import warnings

from rich.console import Console
from rich.table import Table

from ratespike.metrics import STEPS_SHOWN, Results
from ratespike.tracking.runs import Run


def quiet() -> None:
    """Silence what libraries tell about themselves."""
    for name in ("pytorch_lightning", "lightning", "alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("pytorch_lightning", "lightning_fabric", "mlflow", "torch"):
        warnings.filterwarnings("ignore", module=name)


def summary(results: Results, run: Run, number: int | None, *, is_slice: bool) -> None:
    """Print the comparison, and where to look next; for a job of a sweep in one line."""
    if number is not None:
        print(f"#{number} {run.name}: {in_words(results)}; run {run.id}", flush=True)
        return
    final = results.final()
    title = f"{results.n_images} test images" + (" (a slice: not a result)" if is_slice else "")
    table = Table("", "", title=title, show_header=False, title_justify="left")
    table.add_row("rate accuracy", percent(results.rate_accuracy))
    for steps in [n for n in STEPS_SHOWN if n < results.n_steps] + [results.n_steps]:
        name = "spiking accuracy, 1 step" if steps == 1 else f"spiking accuracy, {steps} steps"
        table.add_row(name, percent(float(results.spiking_accuracy[steps - 1])))
    table.add_row("gap (rate - spiking)", f"{100 * final['accuracy_gap']:.2f} points")
    for name, accuracy in results.of_first_images().items():
        table.add_row(name.replace("_", " ").replace("/", ": "), percent(accuracy))
    table.add_row("agreement of rates and spikes", percent(final["agreement"]))
    for layer, rate in results.firing_rate_hz().items():
        table.add_row(f"firing rate, {layer}", f"{rate:.1f} Hz")
    if results.mean_steps < results.n_steps:
        table.add_row("steps until an early exit, mean", f"{results.mean_steps:.1f}")
    table.add_row("synaptic operations an image", f"{final['synaptic_operations'] / 1e6:.2f} million")
    for what, name in (("training", "train/seconds"), ("testing", "test/seconds")):
        seconds = run.metric(name)
        if seconds is not None:
            table.add_row(f"seconds, {what}", f"{seconds:.0f}")
    console = Console()
    console.print(table)
    console.print(f"run {run.id} in experiment {run.experiment}; figures and curves: [bold]mlflow ui[/bold]", highlight=False)
    console.print(run.link, highlight=False, soft_wrap=True)


def in_words(results: Results) -> str:
    """The comparison in one line."""
    steps = "1 step" if results.n_steps == 1 else f"{results.n_steps} steps"
    return (
        f"rates {percent(results.rate_accuracy)}, spikes {percent(float(results.spiking_accuracy[-1]))} after {steps}, "
        f"{float(results.synaptic_operations.sum()) / 1e6:.1f} million synaptic operations an image"
    )


def percent(fraction: float) -> str:
    """A fraction as people read it."""
    return f"{100 * fraction:.2f} %"
