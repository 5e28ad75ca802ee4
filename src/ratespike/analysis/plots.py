"""Figures of a comparison, from arrays; nothing is read or written here."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEGEND_INSIDE = 4  # more names than these stand beside the axes
TICKS = 10  # that many values of a parameter are all told on its axis
TOP = 3  # points below the best accuracy that count as near the top
MARKERS = "os"  # each for ten colours
NAMED = 10 * len(MARKERS)  # points of a Pareto front that have a name
BARS = 100  # of more groups than these off the front no errors are drawn
UNITS = np.array([1e-6, 100])  # millions, percent
CELLS_WRITTEN = 200  # a heat map of more cells shows colours only


@dataclass(frozen=True)
class Line:
    """Means with their confidence intervals, all of shape (points,).

    Attributes:
        name: for the legend.
        x: rising.
        y: the means.
        half_width: of the confidence interval; nan where unknown.
    """

    name: str
    x: Array
    y: Array
    half_width: Array


def accuracy_against_steps(lines: Sequence[Line], rate_accuracies: Sequence[float], n_settings: int) -> Figure:
    """Spiking accuracy after each step, in whole and near its top, with the rate accuracies dashed; all fractions."""
    figure = Figure(figsize=(11, 4.2 + 0.22 * len(lines)), layout="constrained")
    whole, top = figure.subplots(1, 2)
    longest = max(float(line.x[-1]) for line in lines)
    for axes in (whole, top):
        for number, (line, rates) in enumerate(zip(lines, rate_accuracies, strict=True)):
            color, low, high = f"C{number}", line.y - line.half_width, line.y + line.half_width
            axes.plot(line.x, 100 * line.y, color=color, label=line.name, linewidth=1.5)
            axes.fill_between(line.x, 100 * low, 100 * high, color=color, alpha=0.2, linewidth=0)
            axes.axhline(100 * rates, color=color, linestyle="--", linewidth=1)
        axes.set(xlabel="time steps", ylabel="accuracy (% of the test images)", xlim=(1, max(2, longest)))
        axes.grid(alpha=0.3)
    whole.set(ylim=(0, 100))
    ends = np.array([[line.y[-1] for line in lines], rate_accuracies])
    margin = max(np.ptp(ends), 0.005)
    limits = 100 * (ends.min() - margin), 100 * min(1.0, ends.max() + margin / 4)
    top.set(ylim=limits, title="the same, near the top", ylabel="")
    which = f"{len(lines)} of {n_settings} settings, Pareto-best first" if len(lines) < n_settings else "all settings"
    whole.set_title(f"spikes (dashed: rates), {which}")
    _legend_below(figure, whole)
    return figure


def gap_against(parameter: str, lines: Sequence[Line], note: str, is_joined: bool) -> Figure:
    """What the step from rates to spikes costs, against a parameter.

    Args:
        parameter: its name.
        lines: gaps (rate - spiking accuracy, fractions) by the parameter's value; one for each value of other parameters.
        note: what other parameters there are.
        is_joined: whether lines join the points.
    """
    figure = Figure(figsize=(7 if len(lines) <= LEGEND_INSIDE else 9, 4.2), layout="constrained")
    axes = figure.subplots()
    for line in lines:
        style = "o-" if is_joined else "o"
        axes.errorbar(
            line.x, 100 * line.y, 100 * line.half_width, fmt=style, label=line.name, markersize=4, capsize=3, elinewidth=1
        )
    axes.axhline(0, color="black", linewidth=0.8)
    _value_axis(axes, np.unique(np.concatenate([line.x for line in lines])))
    axes.set(xlabel=parameter, ylabel="gap: rate - spiking accuracy (points)", title=note)
    axes.grid(alpha=0.3)
    if len(lines) > LEGEND_INSIDE:
        figure.legend(loc="outside right upper", frameon=False)
    elif len(lines) > 1:
        axes.legend()
    return figure


def accuracy_against_operations(operations: Array, accuracy: Array, half_widths: Array, names: Sequence[str | None]) -> Figure:
    """All groups by what they cost and how often they are right; beside it the same near the top, if they are far apart.

    Args:
        operations: shape (groups,), synaptic operations an image.
        accuracy: shape (groups,), spiking accuracy, fractions.
        half_widths: shape (groups, 2), of both, nan where unknown.
        names: of the Pareto-best, None for the others.
    """
    points = np.column_stack([operations, accuracy]) * UNITS
    errors = half_widths * UNITS
    panels = 2 if np.ptp(points[:, 1]) > 2 * TOP else 1
    figure = Figure(figsize=(4.5 + 4.5 * panels, 5), layout="constrained")
    all_axes = figure.subplots(1, panels, squeeze=False)[0]
    for axes in all_axes:
        _draw_front(axes, points, errors, names)
        if operations.max() > 10 * operations.min() > 0:
            axes.set_xscale("log")
        axes.set(xlabel="synaptic operations an image (million)")
        axes.grid(alpha=0.3)
    all_axes[0].set_ylabel("spiking accuracy (% of the test images)")
    if panels == 2:
        best = points[:, 1].max()
        all_axes[1].set(ylim=(best - TOP, min(100, best + TOP / 10)), title="the same, near the top")
    handles, texts = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside right upper", frameon=False, fontsize=8)
    return figure


def one_objective(values: Array, name: str, maximize: bool) -> Figure:
    """What each trial of a search has reached, in their order, and the best so far; `values` has shape (trials,)."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    trials = np.arange(1, len(values) + 1)
    best = np.maximum.accumulate(values) if maximize else np.minimum.accumulate(values)
    axes.plot(trials, values, ".", color="0.5", label="a trial")
    axes.step(trials, best, where="post", color="C0", label="the best so far")
    axes.set(xlabel="trial", ylabel=f"{name} ({'more' if maximize else 'less'} is better)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def pareto_front(values: Array, objectives: Sequence[tuple[str, bool]], names: Sequence[str | None]) -> Figure:
    """The trials of a search by several objectives, a panel for the first with each of the others.

    Args:
        values: shape (trials, objectives).
        objectives: their names, and whether more is better.
        names: of the trials that no other beats in all objectives, None for the others.
    """
    others = len(objectives) - 1
    figure = Figure(figsize=(4.5 + 4.5 * others, 5), layout="constrained")
    front = [index for index, name in enumerate(names) if name is not None]
    rest = [index for index, name in enumerate(names) if name is None]
    labels = [f"{name} ({'more' if maximize else 'less'} is better)" for name, maximize in objectives]
    for number, axes in enumerate(figure.subplots(1, others, squeeze=False)[0], start=1):
        axes.plot(values[rest, number], values[rest, 0], ".", color="0.6", label=f"{len(rest)} other trials", zorder=1)
        by_cost = sorted(front, key=lambda index: float(values[index, number]))
        if others == 1 and len(front) > 1:
            step = "steps-pre" if objectives[1][1] else "steps-post"  # what is reached for so much, not what lies between
            line = {"color": "black", "linewidth": 1, "drawstyle": step}
            axes.plot(values[by_cost, 1], values[by_cost, 0], **line, label="Pareto front", zorder=2)
        for place, index in enumerate(by_cost[:NAMED]):
            style = {"color": f"C{place % 10}", "marker": MARKERS[place // 10]}
            axes.plot(values[index, number], values[index, 0], **style, linestyle="", label=names[index], zorder=3)
        axes.set(xlabel=labels[number], ylabel=labels[0])
        axes.grid(alpha=0.3)
    handles, texts = axes.get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside right upper", frameon=False, fontsize=8)
    return figure


def _draw_front(axes: Axes, points: Array, errors: Array, names: Sequence[str | None]) -> None:
    """Points and errors in the figure's units, shape (groups, 2): x and y."""
    front = sorted((index for index, name in enumerate(names) if name is not None), key=lambda index: tuple(points[index]))
    others = np.array([name is None for name in names])
    if n_others := int(others.sum()):
        (x, y), (dx, dy) = points[others].T, errors[others].T if n_others <= BARS else (None, None)
        label = f"{n_others} other group{'s' * (n_others > 1)}"
        axes.errorbar(x, y, dy, dx, fmt=".", color="0.6", elinewidth=0.5, alpha=0.7, label=label, zorder=1)
    axes.step(points[front, 0], points[front, 1], where="post", color="black", linewidth=1, label="Pareto front", zorder=2)
    best_first = front[::-1]
    for number, index in enumerate(best_first[:NAMED]):
        (x, y), (dx, dy) = points[index], errors[index]
        color, marker = f"C{number % 10}", MARKERS[number // 10]
        axes.errorbar(x, y, dy, dx, fmt=marker, color=color, markersize=5, capsize=2, label=names[index], zorder=3)
    if rest := best_first[NAMED:]:
        x, y = points[rest].T
        axes.errorbar(x, y, fmt=".", color="black", label=f"{len(rest)} more of the front", zorder=3)


def heat_map(accuracy: Array, row: tuple[str, Sequence[str]], column: tuple[str, Sequence[str]], note: str) -> Figure:
    """Spiking accuracy by two parameters.

    Args:
        accuracy: shape (rows, columns), fractions; nan where no run has these values.
        row: name of the parameter that changes downwards, and its values.
        column: of the one that changes to the right.
        note: what other parameters there are.
    """
    n_rows, n_columns = accuracy.shape
    figure = Figure(figsize=(min(16, 2.5 + 0.75 * n_columns), min(16, 1.8 + 0.5 * n_rows)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(100 * accuracy, cmap="viridis", aspect="auto")
    figure.colorbar(image, label="spiking accuracy (%)")
    axes.set_xticks(range(n_columns), column[1], rotation=90 if n_columns > TICKS else 0)
    axes.set_yticks(range(n_rows), row[1])
    axes.set(xlabel=column[0], ylabel=row[0], title=note)
    if accuracy.size <= CELLS_WRITTEN:
        middle = (np.nanmin(accuracy) + np.nanmax(accuracy)) / 2
        for (down, right), value in np.ndenumerate(accuracy):
            if np.isfinite(value):
                color = "black" if value > middle else "white"
                axes.text(right, down, f"{100 * value:.2f}", ha="center", va="center", fontsize=8, color=color)
    return figure


def _value_axis(axes: Axes, values: Array) -> None:
    """Logarithmic over more than a decade; the values themselves as ticks where they are few."""
    if values[0] > 0 and values[-1] > 10 * values[0]:
        axes.set_xscale("log")
    if len(values) <= TICKS:
        axes.set_xticks(values, [f"{value:.6g}" for value in values])
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _legend_below(figure: Figure, axes: Axes) -> None:
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower left", ncols=2 if len(names) > LEGEND_INSIDE else 1, frameon=False)
