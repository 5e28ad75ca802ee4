"""Figures of a comparison and of a search, from arrays; nothing is read or written here."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEGEND_INSIDE = 4  # more names than these stand beside the axes
TICKS = 10  # up to so many values of a parameter, each has a tick on its axis
TOP = 3  # points below the best accuracy that count as near the top
MARKERS = "os"  # each for ten colours
NAMED = 10 * len(MARKERS)  # points of a Pareto front that have a name
BARS = 100  # of more groups than these off the front no errors are drawn
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


@dataclass(frozen=True)
class Axis:
    """A parameter on an axis of a heat map: its name, and its values in words."""

    name: str
    ticks: Sequence[str]


def accuracy_against_steps(lines: Sequence[Line], rate_accuracies: Sequence[float], n_settings: int) -> Figure:
    """Spiking accuracy after each step, in whole and near its top, with the rate accuracies dashed.

    Args:
        lines: accuracies by step, fractions.
        rate_accuracies: one for each line, fractions.
        n_settings: how many settings there are, of which the lines are some.
    """
    figure = Figure(figsize=(11, 4.2 + 0.22 * len(lines)), layout="constrained")
    whole, top = figure.subplots(1, 2)
    longest = max(float(line.x[-1]) for line in lines)
    for axes in (whole, top):
        for number, (line, rates) in enumerate(zip(lines, rate_accuracies, strict=True)):
            _draw_curve(axes, line, rates, color=f"C{number}")
        axes.set(xlabel="time steps", ylabel="accuracy (% of the test images)", xlim=(1, max(2, longest)))
        axes.grid(alpha=0.3)
    which = "all settings"
    if len(lines) < n_settings:
        which = f"{len(lines)} of {n_settings} settings, Pareto-best first"
    whole.set(ylim=(0, 100), title=f"spikes (dashed: rates), {which}")
    ends = np.array([[line.y[-1] for line in lines], rate_accuracies])
    margin = max(np.ptp(ends), 0.005)
    limits = (100 * (ends.min() - margin), 100 * min(1.0, ends.max() + margin / 4))
    top.set(ylim=limits, title="the same, near the top", ylabel="")
    handles, names = whole.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower left", ncols=1 + (len(names) > LEGEND_INSIDE), frameon=False)
    return figure


def _draw_curve(axes: Axes, line: Line, rate_accuracy: float, color: str) -> None:
    """A curve with its interval as a band, and the rate accuracy dashed."""
    low = line.y - line.half_width
    high = line.y + line.half_width
    axes.plot(line.x, 100 * line.y, color=color, label=line.name, linewidth=1.5)
    axes.fill_between(line.x, 100 * low, 100 * high, color=color, alpha=0.2, linewidth=0)
    axes.axhline(100 * rate_accuracy, color=color, linestyle="--", linewidth=1)


def gap_against(parameter: str, lines: Sequence[Line], note: str, is_joined: bool) -> Figure:
    """What the step from rates to spikes costs, against a parameter.

    Args:
        parameter: its name.
        lines: gaps (rate - spiking accuracy, fractions) by the parameter's value; one for each value of other parameters.
        note: what other parameters there are.
        is_joined: whether lines join the points.
    """
    is_legend_inside = len(lines) <= LEGEND_INSIDE
    width = 7 if is_legend_inside else 9
    figure = Figure(figsize=(width, 4.2), layout="constrained")
    axes = figure.subplots()
    fmt = "o-" if is_joined else "o"
    for line in lines:
        error = 100 * line.half_width
        axes.errorbar(line.x, 100 * line.y, error, fmt=fmt, label=line.name, markersize=4, capsize=3, elinewidth=1)
    axes.axhline(0, color="black", linewidth=0.8)
    _value_axis(axes, np.unique(np.concatenate([line.x for line in lines])))
    axes.set(xlabel=parameter, ylabel="gap: rate - spiking accuracy (points)", title=note)
    axes.grid(alpha=0.3)
    if not is_legend_inside:
        figure.legend(loc="outside right upper", frameon=False)
    elif len(lines) > 1:
        axes.legend()
    return figure


def _value_axis(axes: Axes, values: Array) -> None:
    """Logarithmic over more than a decade; the values themselves as ticks where they are few."""
    if values[0] > 0 and values[-1] > 10 * values[0]:
        axes.set_xscale("log")
    if len(values) <= TICKS:
        axes.set_xticks(values, [f"{value:.6g}" for value in values])
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def accuracy_against_cost(axis: str, costs: Array, accuracy: Array, half_widths: Array, names: Sequence[str | None]) -> Figure:
    """All groups by what they cost and how often they are right; beside it the same near the top, if they are far apart.

    Args:
        axis: what stands below the horizontal axis.
        costs: shape (groups,), in the axis's unit.
        accuracy: shape (groups,), spiking accuracy, fractions.
        half_widths: shape (groups, 2), of both, nan where unknown.
        names: of the groups that no other beats in both, None for the others.
    """
    points = np.column_stack([costs, 100 * accuracy])
    errors = half_widths * [1, 100]
    n_panels = 2 if np.ptp(points[:, 1]) > 2 * TOP else 1
    figure = Figure(figsize=(4.5 + 4.5 * n_panels, 5), layout="constrained")
    panels = figure.subplots(1, n_panels, squeeze=False)[0]
    for axes in panels:
        _draw_front(axes, points, errors, names)
        if costs.max() > 10 * costs.min() > 0:
            axes.set_xscale("log")
        axes.set(xlabel=axis)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("spiking accuracy (% of the test images)")
    if n_panels == 2:
        best = points[:, 1].max()
        panels[1].set(ylim=(best - TOP, min(100, best + TOP / 10)), title="the same, near the top")
    _legend_beside(figure, panels[0])
    return figure


def _draw_front(axes: Axes, points: Array, errors: Array, names: Sequence[str | None]) -> None:
    """The Pareto front, its best points by name; points and errors in the figure's units, shape (groups, 2): x and y."""
    others = _unnamed(names)
    n_others = len(others)
    if others:
        x, y = points[others].T
        dx, dy = errors[others].T
        if n_others > BARS:
            dx = dy = None
        label = f"{n_others} other group{'s' * (n_others > 1)}"
        axes.errorbar(x, y, dy, dx, fmt=".", color="0.6", elinewidth=0.5, alpha=0.7, label=label, zorder=1)
    front = sorted(_named(names), key=lambda index: tuple(points[index]))
    axes.step(points[front, 0], points[front, 1], where="post", color="black", linewidth=1, label="Pareto front", zorder=2)
    best_first = front[::-1]
    for place, index in enumerate(best_first[:NAMED]):
        x, y = points[index]
        dx, dy = errors[index]
        color, fmt = _look(place)
        axes.errorbar(x, y, dy, dx, fmt=fmt, color=color, markersize=5, capsize=2, label=names[index], zorder=3)
    rest = best_first[NAMED:]
    if rest:
        x, y = points[rest].T
        axes.errorbar(x, y, fmt=".", color="black", label=f"{len(rest)} more of the front", zorder=3)


def _named(names: Sequence[str | None]) -> list[int]:
    """Which points have a name."""
    return [index for index, name in enumerate(names) if name is not None]


def _unnamed(names: Sequence[str | None]) -> list[int]:
    """Which points have none."""
    return [index for index, name in enumerate(names) if name is None]


def _look(place: int) -> tuple[str, str]:
    """Colour and marker of the points of a front that have a name, by their place among them."""
    return f"C{place % 10}", MARKERS[place // 10]


def heat_map(accuracy: Array, row: Axis, column: Axis, note: str) -> Figure:
    """Spiking accuracy by two parameters.

    Args:
        accuracy: shape (rows, columns), fractions; nan where no run has these values.
        row: the parameter that changes downwards.
        column: the one that changes to the right.
        note: what other parameters there are.
    """
    n_rows, n_columns = accuracy.shape
    figure = Figure(figsize=(min(16, 2.5 + 0.75 * n_columns), min(16, 1.8 + 0.5 * n_rows)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(100 * accuracy, cmap="viridis", aspect="auto")
    figure.colorbar(image, label="spiking accuracy (%)")
    axes.set_xticks(range(n_columns), column.ticks, rotation=90 * (n_columns > TICKS))
    axes.set_yticks(range(n_rows), row.ticks)
    axes.set(xlabel=column.name, ylabel=row.name, title=note)
    if accuracy.size <= CELLS_WRITTEN:
        _write_cells(axes, accuracy)
    return figure


def _write_cells(axes: Axes, accuracy: Array) -> None:
    """Each value in its cell, black on light colours and white on dark ones."""
    middle = (np.nanmin(accuracy) + np.nanmax(accuracy)) / 2
    for (down, right), value in np.ndenumerate(accuracy):
        if np.isfinite(value):
            color = "black" if value > middle else "white"
            axes.text(right, down, f"{100 * value:.2f}", ha="center", va="center", fontsize=8, color=color)


def one_objective(values: Array, name: str, maximize: bool) -> Figure:
    """What each trial of a search has reached, in their order, and the best so far.

    Args:
        values: shape (trials,).
        name: of the objective.
        maximize: whether more of it is better.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    trials = np.arange(1, len(values) + 1)
    best = np.maximum.accumulate(values) if maximize else np.minimum.accumulate(values)
    axes.plot(trials, values, ".", color="0.5", label="a trial")
    axes.step(trials, best, where="post", color="C0", label="the best so far")
    axes.set(xlabel="trial", ylabel=_with_direction(name, maximize))
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
    labels = [_with_direction(name, maximize) for name, maximize in objectives]
    n_panels = len(objectives) - 1
    drawstyle = None  # the front of three objectives is no line
    if n_panels == 1:  # between two trials of a front stands what the cheaper one reached
        drawstyle = "steps-pre" if objectives[1][1] else "steps-post"
    figure = Figure(figsize=(4.5 + 4.5 * n_panels, 5), layout="constrained")
    for number, axes in enumerate(figure.subplots(1, n_panels, squeeze=False)[0], start=1):
        _draw_trials(axes, values[:, [number, 0]], names, drawstyle)
        axes.set(xlabel=labels[number], ylabel=labels[0])
        axes.grid(alpha=0.3)
    _legend_beside(figure, axes)
    return figure


def _draw_trials(axes: Axes, points: Array, names: Sequence[str | None], drawstyle: str | None) -> None:
    """Trials as points, shape (trials, 2): x and y; those that have a name joined in this style, unless that is None."""
    others = points[_unnamed(names)]
    axes.plot(*others.T, ".", color="0.6", label=f"{len(others)} other trials", zorder=1)
    front = sorted(_named(names), key=lambda index: float(points[index, 0]))
    if drawstyle is not None and len(front) > 1:
        axes.plot(*points[front].T, color="black", linewidth=1, drawstyle=drawstyle, label="Pareto front", zorder=2)
    for place, index in enumerate(front[:NAMED]):
        color, marker = _look(place)
        axes.plot(*points[index], color=color, marker=marker, linestyle="", label=names[index], zorder=3)


def _with_direction(name: str, maximize: bool) -> str:
    better = "more" if maximize else "less"
    return f"{name} ({better} is better)"


def _legend_beside(figure: Figure, axes: Axes) -> None:
    """A legend to the right of all axes."""
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", frameon=False, fontsize=8)
