"""Spiking accuracy against what it costs, mean steps and synaptic operations, if images end when their answers are clear."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ratespike.metrics import Results
from ratespike.pipeline.plots import PlotData

_POINTS_BELOW = 5.0  # the best accuracy that are shown, at most


def draw(data: PlotData) -> Figure | None:
    """A curve for each criterion of an early exit, one for simulations that end after a fixed step, a star for the run's own.

    None if the simulations are not whole, so that nothing is known of other thresholds.
    """
    results = data.results
    if not results.exits:
        return None
    figure = Figure(figsize=(10, 4), layout="constrained")
    steps, operations = figure.subplots(1, 2, sharey=True)
    for by, curve in results.exits.items():
        percent = 100 * curve.accuracy[-1].numpy()
        steps.plot(curve.mean_steps[-1].numpy(), percent, marker=".", markersize=3, linewidth=1, label=f"exit by {by}")
        millions = curve.synaptic_operations[-1].numpy() / 1e6
        operations.plot(millions, percent, marker=".", markersize=3, linewidth=1)
    _draw_fixed(steps, operations, results)
    if results.exit_threshold is not None:
        _draw_own(steps, operations, results)
    steps.set(xlabel="time steps of an image, mean", ylabel="spiking accuracy (%)")
    operations.set(xlabel="synaptic operations of an image, mean (million)")
    steps.set_ylim(*_limits(results))
    for axes in (steps, operations):
        axes.grid(alpha=0.3)
    steps.legend(loc="lower right")
    return figure


def _fixed(results: Results) -> tuple[Tensor, Tensor]:
    """Accuracy and synaptic operations of whole simulations that end after each step."""
    curve = next(iter(results.exits.values()))
    return curve.accuracy[:, -1], curve.synaptic_operations[:, -1]


def _draw_fixed(steps: Axes, operations: Axes, results: Results) -> None:
    """All images end after the same step."""
    accuracy, spent = _fixed(results)
    percent = 100 * accuracy.numpy()
    steps.plot(range(1, len(percent) + 1), percent, color="gray", linestyle="--", linewidth=1, label="no exit, fewer steps")
    operations.plot(spent.numpy() / 1e6, percent, color="gray", linestyle="--", linewidth=1)


def _draw_own(steps: Axes, operations: Axes, results: Results) -> None:
    """The early exit of this run."""
    accuracy = 100 * float(results.spiking_accuracy[-1])
    label = f"fitted: {accuracy:.2f} %, {results.mean_steps:.1f} steps"
    steps.plot([results.mean_steps], [accuracy], color="black", marker="*", markersize=12, linestyle="", label=label)
    spent = float(results.synaptic_operations.sum()) / 1e6
    operations.plot([spent], [accuracy], color="black", marker="*", markersize=12, linestyle="")


def _limits(results: Results) -> tuple[float, float]:
    """Of the accuracies that are shown: those near the best one, between which people choose."""
    accuracy, _ = _fixed(results)
    best = 100 * float(accuracy.max())
    lowest = 100 * float(accuracy.min())
    shown = min(_POINTS_BELOW, max(0.5, best - lowest))
    return best - shown, best + shown / 10
