"""What a person sees in the terminal beside the progress bars."""

import logging
import warnings

from rich.console import Console
from rich.table import Table

from ratespike.metrics import Results
from ratespike.tracking.runs import Run

STEPS_SHOWN = (1, 2, 5, 10, 20, 30, 60, 120, 300)


def quiet() -> None:
    """Silence what libraries tell about themselves."""
    for name in ("pytorch_lightning", "lightning", "alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("pytorch_lightning", "mlflow", "torch"):
        warnings.filterwarnings("ignore", module=name)


def summary(results: Results, seconds: dict[str, float], run: Run, *, is_slice: bool) -> None:
    """Print the comparison, and where to look next."""
    final = results.final()
    n_images = int(results.confusion.sum())
    title = f"{n_images} test images" + (" (a slice: not a result)" if is_slice else "")
    table = Table("", "", title=title, show_header=False, title_justify="left")
    table.add_row("rate accuracy", _percent(results.rate_accuracy))
    for steps in [n for n in STEPS_SHOWN if n < results.n_steps] + [results.n_steps]:
        name = "spiking accuracy, 1 step" if steps == 1 else f"spiking accuracy, {steps} steps"
        table.add_row(name, _percent(float(results.spiking_accuracy[steps - 1])))
    table.add_row("gap (rate - spiking)", f"{100 * final['accuracy_gap']:.2f} points")
    for name, accuracy in results.first_images.items():
        table.add_row(name.replace("_", " ").replace("/", ": "), _percent(accuracy))
    table.add_row("agreement of rates and spikes", _percent(final["agreement"]))
    for layer, rate in results.firing_rate_hz().items():
        table.add_row(f"firing rate, {layer}", f"{rate:.1f} Hz")
    if results.mean_steps < results.n_steps:
        table.add_row("steps until an early exit, mean", f"{results.mean_steps:.1f}")
    table.add_row("synaptic operations an image", f"{final['synaptic_operations'] / 1e6:.2f} million")
    for what, duration in seconds.items():
        table.add_row(f"seconds, {what}", f"{duration:.0f}")
    console = Console()
    console.print(table)
    console.print(f"run {run.id} in experiment {run.experiment}; figures and curves: [bold]mlflow ui[/bold]", highlight=False)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f} %"
