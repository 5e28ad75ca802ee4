"""Which figures a comparison gets, and the arrays that they show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from ratespike.analysis import plots
from ratespike.analysis.groups import Comparison, Group
from ratespike.analysis.plots import Line
from ratespike.analysis.runs import ReadCurve, n_steps
from ratespike.analysis.statistics import Estimate, mean_of, t_quantile
from ratespike.analysis.values import Value, describe, find_name, show

Key = tuple[Value | None, ...]  # values of some parameters, None where a group has none

CURVES = 8  # groups whose curves are read and drawn, and lines in a figure
JOINED = 12  # lines join the points of a parameter that has at most so many values
AXIS_VALUES = 20  # a parameter that has more is no axis of a heat map unless asked for


def pictures(comparison: Comparison, read_curve: ReadCurve, heat_map: Sequence[str] | None = None) -> dict[str, Figure]:
    """All figures, by name.

    Args:
        comparison: of at least one group.
        read_curve: asked for the runs of the groups whose curves are drawn.
        heat_map: its two parameters; None for the first two that vary in numbers.

    Raises:
        ParameterError: `heat_map` names a parameter that does not vary.
    """
    drawn = {}
    axes = _heat_map_axes(comparison, heat_map)
    if curves := _accuracy_against_steps(comparison, read_curve):
        drawn["accuracy_against_steps"] = curves
    for name in comparison.names:
        if len(_numbers(comparison, name)) > 1:
            drawn[f"gap_against_{comparison.short[name]}"] = _gap_against(comparison, name)
    counted = [group for group in comparison.groups if "synaptic_operations" in group.estimates]
    if len(counted) > 1:
        drawn["accuracy_against_operations"] = _accuracy_against_operations(counted)
    if axes:
        drawn["heat_map"] = _heat_map(comparison, *axes)
    return drawn


def _accuracy_against_steps(comparison: Comparison, read_curve: ReadCurve) -> Figure | None:
    """Of groups that differ in the number of steps only, the longest: its curve holds the others'."""
    longest: dict[frozenset[tuple[str, Value]], Group] = {}
    for group in sorted(comparison.groups, key=lambda group: not group.is_pareto_best):
        key = frozenset((name, value) for name, value in group.parameters.items() if name != "n_steps")
        if key not in longest or _n_steps(group) > _n_steps(longest[key]):
            longest[key] = group
    names = [name for name in comparison.names if name != "n_steps" or comparison.together[name]]
    lines, rates = [], []
    for group in list(longest.values())[:CURVES]:
        name = _text(names, _values(group, names), comparison)
        if line := _curve(name or "all runs", group, read_curve):
            lines.append(line)
            rates.append(group.estimates["rate_accuracy"].mean)
    return plots.accuracy_against_steps(lines, rates, len(longest)) if lines else None


def _n_steps(group: Group) -> float:
    return n_steps(group.runs[0].record) or 0


def _curve(name: str, group: Group, read_curve: ReadCurve) -> Line | None:
    """The mean of the runs' curves; None if no run has one."""
    curves = [curve for run in group.runs if (curve := read_curve(run.record.id))]
    if not curves:
        return None
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    values = np.array([[curve[step] for step in steps] for curve in curves])  # (runs, steps)
    half_width = np.full(len(steps), np.nan)
    if len(curves) > 1:
        half_width = values.std(axis=0, ddof=1) / len(curves) ** 0.5 * t_quantile(len(curves) - 1)
    return Line(name, np.array(steps, dtype=float), values.mean(axis=0), half_width)


def _numbers(comparison: Comparison, name: str) -> list[float]:
    """The values of a parameter, rising; empty if some are words."""
    values = {group.parameters[name] for group in comparison.groups if name in group.parameters}
    numbers = [value for value in values if not isinstance(value, str)]
    return sorted(numbers) if len(numbers) == len(values) else []


def _gap_against(comparison: Comparison, name: str) -> Figure:
    groups = [group for group in comparison.groups if name in group.parameters]
    varying = [other for other in comparison.names if len({group.parameters.get(other) for group in groups}) > 1]
    others = [other for other in varying if other != name]
    split = _split(groups, others)
    averaged = [other for other in others if other not in split]
    means = _means(groups, [*split, name], averaged, "accuracy_gap")
    lines: dict[Key, dict[Key, Estimate]] = {}
    for (*line, x), found in means.by_place.items():
        lines.setdefault(tuple(line), {})[(x,)] = found
    drawn = [_line(_text(split, values, comparison), lines[values]) for values in sorted(lines, key=_by_value)]
    is_joined = len(_numbers(comparison, name)) <= JOINED
    return plots.gap_against(comparison.short[name], drawn, means.note(comparison), is_joined)


@dataclass(frozen=True)
class Means:
    """A measure by the values of some parameters.

    Attributes:
        by_place: the mean at each place.
        averaged: the other parameters that vary.
        is_balanced: whether the means are over the same values of those.
    """

    by_place: Mapping[Key, Estimate]
    averaged: Sequence[str]
    is_balanced: bool

    def note(self, comparison: Comparison) -> str:
        """What a reader has to know of the other parameters."""
        names = ", ".join(comparison.short[name] for name in self.averaged)
        if not names:
            return ""
        return f"mean over {names}" if self.is_balanced else f"not at equal values of {names}"


def _values(group: Group, names: Sequence[str]) -> Key:
    return tuple(group.parameters.get(name) for name in names)


def _means(groups: Sequence[Group], axes: Sequence[str], averaged: Sequence[str], measure: str) -> Means:
    """Over those combinations of the averaged parameters that all places have; over all, if they have none in common."""
    found: dict[Key, dict[Key, Estimate]] = {}
    for group in groups:
        found.setdefault(_values(group, axes), {})[_values(group, averaged)] = group.estimates[measure]
    common = set.intersection(*(set(combinations) for combinations in found.values()))
    means = {
        place: mean_of([part for values, part in combinations.items() if values in common or not common])
        for place, combinations in found.items()
    }
    return Means(means, averaged, bool(common))


def _by_value(values: Key) -> list[tuple[bool, float, str]]:
    """Numbers rise, then words, then nothing."""
    return [(False, value, "") if isinstance(value, float) else (True, 0.0, value or "~") for value in values]


def _split(groups: Sequence[Group], others: Sequence[str]) -> list[str]:
    """One or two parameters whose values each get a line of their own."""
    chosen: list[str] = []
    for name in others:
        wider = [*chosen, name]
        if len(wider) <= 2 and len({_values(group, wider) for group in groups}) <= CURVES:
            chosen = wider
    return chosen


def _text(names: Sequence[str], values: Key, comparison: Comparison) -> str:
    own = {name: value for name, value in zip(names, values, strict=True) if value is not None}
    return describe(own, comparison.short)


def _line(name: str, means: Mapping[Key, Estimate]) -> Line:
    """Of means by the value on the horizontal axis."""
    points = sorted((float(x), found.mean, found.half_width) for (x,), found in means.items() if x is not None)
    x, y, half_widths = np.array(points, dtype=float).T  # None becomes nan
    return Line(name, x, y, half_widths)


def _accuracy_against_operations(groups: Sequence[Group]) -> Figure:
    operations, accuracy = ([group.estimates[name] for group in groups] for name in ("synaptic_operations", "spiking_accuracy"))
    half_widths = [[part.half_width for part in both] for both in zip(operations, accuracy, strict=True)]
    return plots.accuracy_against_operations(
        np.array([part.mean for part in operations]),
        np.array([part.mean for part in accuracy]),
        np.array(half_widths, dtype=float),  # None becomes nan
        [group.name if group.is_pareto_best else None for group in groups],
    )


def _heat_map_axes(comparison: Comparison, wanted: Sequence[str] | None) -> tuple[str, str] | None:
    if wanted is not None:
        first, second = (find_name(word, comparison.short, f"heat_map={word}: is not among what varies") for word in wanted)
        return first, second
    fit = [name for name in comparison.names if 1 < len(_numbers(comparison, name)) <= AXIS_VALUES]
    return (fit[0], fit[1]) if len(fit) > 1 else None


def _heat_map(comparison: Comparison, column: str, row: str) -> Figure:
    groups = [group for group in comparison.groups if column in group.parameters and row in group.parameters]
    averaged = [name for name in comparison.names if name not in (row, column)]
    means = _means(groups, [row, column], averaged, "spiking_accuracy")
    rows, columns = (sorted({(place[axis],) for place in means.by_place}, key=_by_value) for axis in (0, 1))
    cells = [[means.by_place.get((*down, *right)) for right in columns] for down in rows]
    accuracy = np.array([[np.nan if cell is None else cell.mean for cell in line] for line in cells])
    ticks = [[show(value) for (value,) in values if value is not None] for values in (rows, columns)]
    vertical, horizontal = (comparison.short[row], ticks[0]), (comparison.short[column], ticks[1])
    return plots.heat_map(accuracy, vertical, horizontal, means.note(comparison))
