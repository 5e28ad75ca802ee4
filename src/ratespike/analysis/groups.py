"""Runs that differ in nothing but their seeds are a group; groups are named by the parameters that vary.

A group's measures are means over its runs with confidence intervals. Groups are ranked by their spiking accuracy, and those
are marked that no other group beats in accuracy and synaptic operations together.
"""

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ratespike.analysis.runs import ReadCurve, Record, measures
from ratespike.analysis.statistics import Estimate, estimate, pareto_best
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
        is_pareto_best: no other group has at least its spiking accuracy for no more synaptic operations, and better in one.
    """

    name: str
    parameters: Settings
    runs: tuple[MeasuredRun, ...]
    estimates: Mapping[str, Estimate]
    is_pareto_best: bool = False

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
    """

    groups: tuple[Group, ...]
    names: tuple[str, ...]
    together: Mapping[str, tuple[str, ...]]
    short: Mapping[str, str]
    repeats: int

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


def compare(records: Sequence[Record], steps: Collection[int], read_curve: ReadCurve) -> Comparison:
    """Group the runs and compare the groups.

    Args:
        records: at least one.
        steps: of the simulation, after which the spiking accuracy is compared.
        read_curve: called for runs that have no metric for one of the steps.

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
    ranked = sorted(_with_pareto_best(groups), key=lambda group: group.rank)
    n_kept = sum(map(len, alike.values()))
    return Comparison(tuple(ranked), tuple(naming), naming, short, repeats=len(records) - n_kept)


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


def _with_pareto_best(groups: Sequence[Group]) -> Iterator[Group]:
    """The groups, those marked that no other beats; only groups whose synaptic operations are known take part."""
    known = [group for group in groups if SYNAPTIC_OPERATIONS.name in group.estimates]
    accuracy = means(known, SPIKING_ACCURACY.name)
    operations = means(known, SYNAPTIC_OPERATIONS.name)
    best = iter(pareto_best(accuracy, operations))
    for group in groups:
        takes_part = SYNAPTIC_OPERATIONS.name in group.estimates
        yield dataclasses.replace(group, is_pareto_best=takes_part and bool(next(best)))


def means(groups: Iterable[Group], measure: str) -> NDArray[np.float64]:
    """The mean of a measure of each group, shape (groups,)."""
    return np.array([group.estimates[measure].mean for group in groups])


def half_widths(groups: Iterable[Group], measure: str) -> NDArray[np.float64]:
    """Of the confidence intervals of a measure, shape (groups,); nan where unknown."""
    return np.array([group.estimates[measure].half_width for group in groups], dtype=float)  # None becomes nan
