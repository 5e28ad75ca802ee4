"""Runs that differ in nothing but their seeds are a group; groups are named by the parameters that vary.

A group's measures are means over its runs with confidence intervals. Groups are ranked by their spiking accuracy, and those
are marked that no other group beats in accuracy and what it costs together (see `ratespike.analysis.pareto`).
"""

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ratespike.analysis.pareto import DEVICE, Cost, costs
from ratespike.analysis.runs import ReadCurve, Record, measures
from ratespike.analysis.statistics import Estimate, beaten_by, estimate
from ratespike.analysis.values import Value, describe, parse
from ratespike.analysis.varying import Settings, together, varying
from ratespike.config.naming import short_names
from ratespike.config.relevance import SEEDS, distinguishes_groups
from ratespike.metrics.names import SPIKING_ACCURACY, SYNAPTIC_OPERATIONS

Key = frozenset[tuple[str, Value]]  # settings that can be looked up


@dataclass(frozen=True)
class MeasuredRun:
    """A run and what is compared of it.

    Attributes:
        record: the run.
        measures: by name, see `ratespike.analysis.runs.measures`.
    """

    record: Record
    measures: Mapping[str, float]


@dataclass(frozen=True)
class Group:
    """Runs alike in all but their seeds.

    Attributes:
        name: made of the parameters that vary.
        parameters: of those that vary over all groups the ones it has, by full name.
        runs: one or more.
        estimates: by measure, over the runs.
        is_pareto_best: no other group has at least its spiking accuracy at no more of any cost, and better in one of them.
        beaten_by: the name of the most accurate group that has; None if none has, or if the group's operations are unknown.
    """

    name: str
    parameters: Settings
    runs: tuple[MeasuredRun, ...]
    estimates: Mapping[str, Estimate]
    is_pareto_best: bool = False
    beaten_by: str | None = None

    @property
    def rank(self) -> tuple[float, str]:
        """Key of the order in which groups are shown: the highest mean spiking accuracy first."""
        return -self.estimates[SPIKING_ACCURACY.name].mean, self.name


@dataclass(frozen=True)
class Comparison:
    """Groups beside each other.

    Attributes:
        groups: the highest mean spiking accuracy first.
        names: full names of the parameters that name the groups.
        together: those that vary one to one with one of `names`, by that one.
        short: short names, by full name, of all parameters that vary.
        repeats: how many runs were left out because another one has the same parameters and seeds.
        costs: by which groups are compared beside their accuracy: synaptic operations, and what else is known of each group
            whose operations are known, unless it is the same for all.
        device: whose energy is one of them, if it is known.
    """

    groups: tuple[Group, ...]
    names: tuple[str, ...]
    together: Mapping[str, tuple[str, ...]]
    short: Mapping[str, str]
    repeats: int
    costs: tuple[Cost, ...]
    device: str

    @property
    def runs(self) -> list[MeasuredRun]:
        """The runs of all groups."""
        return [run for group in self.groups for run in group.runs]

    def with_parameters(self, *names: str) -> list[Group]:
        """The groups that have a value of all these parameters."""
        return [group for group in self.groups if group.parameters.keys() >= set(names)]

    def with_measure(self, name: str) -> list[Group]:
        """The groups of which a measure is known."""
        return [group for group in self.groups if name in group.estimates]

    def foremost(self, limit: int) -> tuple[Group, ...]:
        """At most so many groups, the Pareto-best before the others; the highest spiking accuracy first."""
        chosen = sorted(self.groups, key=lambda group: not group.is_pareto_best)[:limit]
        return tuple(sorted(chosen, key=lambda group: group.rank))


def compare(records: Sequence[Record], steps: Collection[int], read_curve: ReadCurve, device: str = DEVICE) -> Comparison:
    """Group the runs and compare the groups.

    Args:
        records: at least one.
        steps: of the simulation, after which the spiking accuracy is compared.
        read_curve: called for runs that have no metric for one of the steps.
        device: whose energy is compared.

    Raises:
        ParameterError: no device has this name.

    Example:
        >>> def run(name, tau_rc, seed, accuracy):
        ...     metrics = {"test/rate_accuracy": 0.99, "test/spiking_accuracy": accuracy}
        ...     return Record(name, name, 0, 1.0, {"neuron.tau_rc": tau_rc, "seed": seed, "n_steps": "30"}, metrics)
        >>> runs = [run("a", "0.02", "0", 0.97), run("b", "0.020", "1", 0.98), run("c", "0.05", "0", 0.95)]
        >>> for group in compare(runs, steps=[30], read_curve=lambda run: {}).groups:
        ...     print(group.name, len(group.runs), round(group.estimates["spiking_accuracy"].mean, 3))
        tau_rc=0.02 2 0.975
        tau_rc=0.05 1 0.95
    """
    compared = costs(device)
    alike = _by_settings(records)
    all_settings = list(map(dict, alike))
    names = varying(all_settings)
    naming = together(names, all_settings)
    short = short_names(names, set().union(*all_settings))

    groups = []
    for settings, kept in zip(all_settings, alike.values(), strict=True):
        runs = tuple(MeasuredRun(record, measures(record, steps, read_curve)) for record in kept)
        name = describe(_chosen(settings, naming), short) or "all runs"
        groups.append(Group(name, _chosen(settings, names), runs, _estimates(runs)))
    counting = tuple(cost for cost in compared if _counts(cost, groups))
    ranked = sorted(_with_pareto_best(groups, counting), key=lambda group: group.rank)
    n_kept = sum(map(len, alike.values()))
    return Comparison(tuple(ranked), tuple(naming), naming, short, len(records) - n_kept, counting, device)


def _by_settings(records: Sequence[Record]) -> dict[Key, list[Record]]:
    """The runs by the settings that tell groups apart; of several with the same seeds too, one, as they are not independent.

    It is the last of those that trained, whose seconds are those of a whole run; if none did, the last.
    """
    names = set().union(*(record.parameters for record in records))
    distinguishing = set(filter(distinguishes_groups, names))
    found: dict[tuple[Key, Key], Record] = {}
    for record in sorted(records, key=lambda record: ("train/seconds" in record.metrics, record.started)):
        settings = _values(record, distinguishing)
        seeds = _values(record, SEEDS)
        found[settings, seeds] = record
    alike: dict[Key, list[Record]] = {}
    for (settings, _), record in found.items():
        alike.setdefault(settings, []).append(record)
    return alike


def _values(record: Record, names: Collection[str]) -> Key:
    """The parameters of these names that a run has, with their values."""
    return frozenset((name, parse(value)) for name, value in record.parameters.items() if name in names)


def _chosen(settings: Settings, names: Iterable[str]) -> dict[str, Value]:
    """The settings of these names, as far as there are some."""
    return {name: settings[name] for name in names if name in settings}


def _estimates(runs: Sequence[MeasuredRun]) -> dict[str, Estimate]:
    """By measure, the mean over the runs that have it."""
    values: dict[str, list[float]] = {}
    for run in runs:
        for name, value in run.measures.items():
            values.setdefault(name, []).append(value)
    return {name: estimate(own) for name, own in values.items()}


def _counts(cost: Cost, groups: Sequence[Group]) -> bool:
    """Whether groups are compared by a cost (see `Comparison.costs`)."""
    counted = _counted(groups)
    if cost.metric is SYNAPTIC_OPERATIONS:
        return True
    if not counted or any(cost.measure not in group.estimates for group in counted):
        return False
    return bool(np.ptp(means(counted, cost.measure)) > 0)


def _counted(groups: Sequence[Group]) -> list[Group]:
    """The groups whose synaptic operations are known: those that take part in the Pareto front."""
    return [group for group in groups if SYNAPTIC_OPERATIONS.name in group.estimates]


def _with_pareto_best(groups: Sequence[Group], counting: Sequence[Cost]) -> Iterator[Group]:
    """The groups, each with what beats it; those marked that nothing does."""
    counted = _counted(groups)
    accuracy = means(counted, SPIKING_ACCURACY.name)
    columns = [accuracy, *(-means(counted, cost.measure) for cost in counting)]  # the more the better
    beaten = iter(beaten_by(np.column_stack(columns)).tolist())
    for group in groups:
        if SYNAPTIC_OPERATIONS.name not in group.estimates:
            yield group
            continue
        by = next(beaten)
        yield dataclasses.replace(group, is_pareto_best=by < 0, beaten_by=None if by < 0 else counted[by].name)


def means(groups: Iterable[Group], measure: str) -> NDArray[np.float64]:
    """The mean of a measure of each group, shape (groups,)."""
    return np.array([group.estimates[measure].mean for group in groups])


def half_widths(groups: Iterable[Group], measure: str) -> NDArray[np.float64]:
    """Of the confidence intervals of a measure, shape (groups,); nan where unknown."""
    return np.array([group.estimates[measure].half_width for group in groups], dtype=float)  # None becomes nan
