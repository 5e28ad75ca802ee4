"""Which figures a comparison gets, and the arrays that they show."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ratespike.analysis import plots
from ratespike.analysis.groups import Comparison, Group, half_widths, means
from ratespike.analysis.means import Place, by_value, means_at, place_of
from ratespike.analysis.pareto import Cost, costs
from ratespike.analysis.plots import Axis, Line
from ratespike.analysis.runs import ReadCurve, n_steps
from ratespike.analysis.statistics import Estimate, pareto_best, t_quantile
from ratespike.analysis.values import Value, describe, find_name, show
from ratespike.metrics.names import ACCURACY_GAP, RATE_ACCURACY, SPIKING_ACCURACY, SYNAPTIC_OPERATIONS

CURVES = 8  # groups whose curves are read and drawn, and lines in a figure
JOINED = 12  # lines join the points of a parameter that has at most so many values
AXIS_VALUES = 20  # a parameter that has more is no axis of a heat map unless asked for


def figures(comparison: Comparison, read_curve: ReadCurve, heat_map: Sequence[str] | None = None) -> dict[str, Figure]:
    """All figures, by name.

    Args:
        comparison: of at least one group.
        read_curve: called for the runs of the groups whose curves are drawn.
        heat_map: its two parameters; None for the first two that vary in numbers.

    Raises:
        ParameterError: `heat_map` names a parameter that does not vary.
    """
    axes = _heat_map_axes(comparison, heat_map)  # first: a wrong name is reported before anything is read
    drawn = {}
    curves = _accuracy_against_steps(comparison, read_curve)
    if curves is not None:
        drawn["accuracy_against_steps"] = curves
    for name in comparison.names:
        if len(_numbers(comparison, name)) > 1:
            drawn[f"gap_against_{comparison.short[name]}"] = _gap_against(comparison, name)
    for cost in costs(comparison.device):
        known = comparison.with_measure(cost.measure)
        differs = len(known) > 1 and np.ptp(means(known, cost.measure)) > 0
        if differs or (len(known) > 1 and cost.metric is SYNAPTIC_OPERATIONS):
            drawn[f"accuracy_against_{cost.figure}"] = _accuracy_against_cost(cost, known)
    if axes is not None:
        drawn["heat_map"] = _heat_map(comparison, *axes)
    return drawn


def _accuracy_against_steps(comparison: Comparison, read_curve: ReadCurve) -> Figure | None:
    """The curves of the foremost groups; None if no run has one."""
    groups = _longest(comparison)
    names = [name for name in comparison.names if name != "n_steps" or comparison.together[name]]
    lines = []
    rates = []
    for group in groups[:CURVES]:
        line = _curve(_text(names, place_of(group, names), comparison) or "all runs", group, read_curve)
        if line is not None:
            lines.append(line)
            rates.append(group.estimates[RATE_ACCURACY.name].mean)
    if not lines:
        return None
    return plots.accuracy_against_steps(lines, rates, len(groups))


def _longest(comparison: Comparison) -> list[Group]:
    """Of groups that differ in the number of steps only, the longest, whose curve holds the others'; Pareto-best first."""
    longest: dict[frozenset[tuple[str, Value]], Group] = {}
    for group in sorted(comparison.groups, key=lambda group: not group.is_pareto_best):
        others = frozenset((name, value) for name, value in group.parameters.items() if name != "n_steps")
        if others not in longest or _n_steps(group) > _n_steps(longest[others]):
            longest[others] = group
    return list(longest.values())


def _n_steps(group: Group) -> float:
    return n_steps(group.runs[0].record) or 0


def _curve(name: str, group: Group, read_curve: ReadCurve) -> Line | None:
    """The mean of the runs' curves with its interval, at the steps that all have; None if no run has a curve."""
    curves = list(filter(None, (read_curve(run.record.id) for run in group.runs)))
    if not curves:
        return None
    steps = sorted(set.intersection(*map(set, curves)))
    values = np.array([list(map(curve.__getitem__, steps)) for curve in curves])  # (runs, steps)
    half_width = np.full(len(steps), np.nan)
    n_runs = len(curves)
    if n_runs > 1:
        half_width = values.std(axis=0, ddof=1) / n_runs**0.5 * t_quantile(n_runs - 1)
    return Line(name, np.array(steps, dtype=float), values.mean(axis=0), half_width)


def _numbers(comparison: Comparison, name: str) -> list[float]:
    """The values of a parameter, rising; empty if some are words."""
    numbers = set()
    for group in comparison.with_parameters(name):
        value = group.parameters[name]
        if isinstance(value, str):
            return []
        numbers.add(value)
    return sorted(numbers)


def _gap_against(comparison: Comparison, name: str) -> Figure:
    """The gap against a parameter; one or two others have lines of their own, what else varies is averaged."""
    groups = comparison.with_parameters(name)
    others = [other for other in comparison.names if other != name and _n_places(groups, [other]) > 1]
    split = _split(groups, others)
    averaged = [other for other in others if other not in split]
    found = means_at(groups, [*split, name], averaged, ACCURACY_GAP.name)
    by_line: dict[Place, dict[Value | None, Estimate]] = {}
    for (*line, x), mean in found.by_place.items():
        by_line.setdefault(tuple(line), {})[x] = mean
    lines = []
    for place in sorted(by_line, key=by_value):
        lines.append(_line(_text(split, place, comparison), by_line[place]))
    is_joined = len(_numbers(comparison, name)) <= JOINED
    return plots.gap_against(comparison.short[name], lines, found.note(comparison), is_joined)


def _split(groups: Sequence[Group], others: Sequence[str]) -> list[str]:
    """At most two parameters whose combinations each get a line of their own, if there are few of them."""
    chosen: list[str] = []
    for name in others:
        wider = [*chosen, name]
        if len(wider) <= 2 and _n_places(groups, wider) <= CURVES:
            chosen = wider
    return chosen


def _n_places(groups: Sequence[Group], names: Sequence[str]) -> int:
    """How many combinations of values some parameters have."""
    return len({place_of(group, names) for group in groups})


def _text(names: Sequence[str], place: Place, comparison: Comparison) -> str:
    """The values at a place in words, of the parameters that have one there."""
    own = {name: value for name, value in zip(names, place, strict=True) if value is not None}
    return describe(own, comparison.short)


def _line(name: str, by_x: Mapping[Value | None, Estimate]) -> Line:
    """Means by the value on the horizontal axis."""
    points = []
    for x, mean in by_x.items():
        if x is not None:
            points.append((float(x), mean.mean, mean.half_width))
    x, y, half_width = np.array(sorted(points), dtype=float).T  # None becomes nan
    return Line(name, x, y, half_width)


def _accuracy_against_cost(cost: Cost, groups: Sequence[Group]) -> Figure:
    """Groups of which a cost is known, by it and by their accuracy; those of the front of these two have names."""
    x = means(groups, cost.measure)
    y = means(groups, SPIKING_ACCURACY.name)
    errors = np.column_stack([half_widths(groups, cost.measure), half_widths(groups, SPIKING_ACCURACY.name)])
    names = []
    for group, is_best in zip(groups, pareto_best(y, x), strict=True):
        names.append(group.name if is_best else None)
    axis = f"{cost.axis} ({cost.metric.unit.symbol})" if cost.metric.unit.symbol else cost.axis
    return plots.accuracy_against_cost(axis, x * cost.metric.unit.scale, y, errors * [cost.metric.unit.scale, 1], names)


def _heat_map_axes(comparison: Comparison, wanted: Sequence[str] | None) -> tuple[str, str] | None:
    """The parameters of a heat map's columns and rows: the wanted ones, else the first two with a few numbers."""
    if wanted is None:
        names = [name for name in comparison.names if 1 < len(_numbers(comparison, name)) <= AXIS_VALUES]
    else:
        names = [find_name(word, comparison.short, f"heat_map={word}: is not among what varies") for word in wanted]
    if len(names) < 2:
        return None
    return names[0], names[1]


def _heat_map(comparison: Comparison, column: str, row: str) -> Figure:
    """The spiking accuracy by two parameters; what else varies is averaged."""
    groups = comparison.with_parameters(column, row)
    averaged = [name for name in comparison.names if name not in (row, column)]
    found = means_at(groups, [row, column], averaged, SPIKING_ACCURACY.name)
    rows = _values(groups, row)
    columns = _values(groups, column)
    accuracy = np.full((len(rows), len(columns)), np.nan)
    for down, row_value in enumerate(rows):
        for right, column_value in enumerate(columns):
            mean = found.by_place.get((row_value, column_value))
            if mean is not None:
                accuracy[down, right] = mean.mean
    vertical = Axis(comparison.short[row], list(map(show, rows)))
    horizontal = Axis(comparison.short[column], list(map(show, columns)))
    return plots.heat_map(accuracy, vertical, horizontal, found.note(comparison))


def _values(groups: Sequence[Group], name: str) -> list[Value]:
    """The values that groups have of a parameter, numbers before words."""
    values = {group.parameters[name] for group in groups}
    return sorted(values, key=lambda value: by_value((value,)))
