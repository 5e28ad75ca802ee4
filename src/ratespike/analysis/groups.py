"""Runs that differ in nothing but their seeds are a group; groups are named by the parameters that vary."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ratespike.analysis.runs import ReadCurve, Record, measures
from ratespike.analysis.statistics import Estimate, estimate, pareto_best
from ratespike.analysis.values import Value, describe, order, parse
from ratespike.config.naming import short_names

SEEDS = ("seed", "data.split_seed", "simulation.seed")
IRRELEVANT = (  # no result depends on them; nor on `tracking`
    *("resume", "objective"),
    *("trainer.devices", "trainer.accelerator", "trainer.strategy"),
)
NAMED_BY = 4  # if more parameters vary, one stands for those that vary one to one with it

Settings = Mapping[str, Value]


@dataclass(frozen=True)
class MeasuredRun:
    """A run and what is compared of it."""

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

    def foremost(self, limit: int) -> tuple[Group, ...]:
        """At most so many groups, the Pareto-best before the others; the highest spiking accuracy first."""
        chosen = sorted(self.groups, key=lambda group: not group.is_pareto_best)[:limit]
        return tuple(sorted(chosen, key=_rank))


def compare(records: Sequence[Record], steps: Collection[int], read_curve: ReadCurve) -> Comparison:
    """Group the runs and compare the groups.

    Args:
        records: at least one.
        steps: of the simulation, after which the spiking accuracy is compared.
        read_curve: asked for runs that have no metric for one of the steps.

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
    kept = _distinct_runs(records)
    parts: dict[frozenset[tuple[str, Value]], list[Record]] = {}
    for record, settings in kept:
        parts.setdefault(frozenset(settings.items()), []).append(record)
    all_settings = [dict(part) for part in parts]
    varying = _varying(all_settings)
    together = _together(varying, all_settings)
    short = short_names(varying, {name for settings in all_settings for name in settings})
    groups = []
    for settings, runs in zip(all_settings, parts.values(), strict=True):
        own = {name: settings[name] for name in varying if name in settings}
        name = describe({name: own[name] for name in together if name in own}, short) or "all runs"
        measured = tuple(MeasuredRun(record, measures(record, steps, read_curve)) for record in runs)
        groups.append(Group(name, own, measured, _estimates(measured)))
    ranked = tuple(sorted(_mark_pareto_best(groups), key=_rank))
    return Comparison(ranked, tuple(together), together, short, len(records) - len(kept))


def _settings(record: Record) -> dict[str, Value]:
    return {
        name: parse(value)
        for name, value in record.parameters.items()
        if name not in SEEDS and name not in IRRELEVANT and not name.startswith("tracking.")
    }


def _distinct_runs(records: Iterable[Record]) -> list[tuple[Record, Settings]]:
    """One run for each combination of parameters and seeds, as a repeated one is not independent; best one that trained."""
    found: dict[frozenset[tuple[str, Value]], tuple[Record, Settings]] = {}
    for record in sorted(records, key=lambda record: ("train/seconds" in record.metrics, record.started)):
        seeds = ((name, parse(record.parameters[name])) for name in SEEDS if name in record.parameters)
        settings = _settings(record)
        found[frozenset((*settings.items(), *seeds))] = record, settings
    return list(found.values())


def _varying(all_settings: Sequence[Settings]) -> list[str]:
    """The parameters with several values, and as many of those that only some runs have as tell the groups apart."""
    seen: dict[str, set[Value]] = {}
    count: dict[str, int] = {}
    for settings in all_settings:
        for name, value in settings.items():
            seen.setdefault(name, set()).add(value)
            count[name] = count.get(name, 0) + 1
    varying = [name for name in seen if len(seen[name]) > 1]
    distinct = _distinct(varying, all_settings)
    for name in sorted((name for name in seen if count[name] < len(all_settings) and len(seen[name]) == 1), key=order):
        if distinct < len(all_settings) and _distinct([*varying, name], all_settings) > distinct:
            varying.append(name)
            distinct = _distinct(varying, all_settings)
    return sorted(varying, key=order)


def _distinct(names: Sequence[str], all_settings: Sequence[Settings]) -> int:
    return len({tuple(settings.get(name) for name in names) for settings in all_settings})


def _together(varying: Sequence[str], all_settings: Sequence[Settings]) -> dict[str, tuple[str, ...]]:
    """The names that stand in the groups' names, each with those that it stands for."""
    if len(varying) <= NAMED_BY:
        return {name: () for name in varying}
    by_pattern: dict[tuple[int, ...], list[str]] = {}
    for name in varying:
        first: dict[Value | None, int] = {}
        pattern = tuple(first.setdefault(settings.get(name), len(first)) for settings in all_settings)
        by_pattern.setdefault(pattern, []).append(name)
    return {name: tuple(others) for name, *others in by_pattern.values()}


def _estimates(runs: Sequence[MeasuredRun]) -> dict[str, Estimate]:
    names = dict.fromkeys(name for run in runs for name in run.measures)
    return {name: estimate([run.measures[name] for run in runs if name in run.measures]) for name in names}


def _mark_pareto_best(groups: Sequence[Group]) -> list[Group]:
    """Among those whose synaptic operations are known."""
    known = [group for group in groups if "synaptic_operations" in group.estimates]
    accuracy, operations = (
        np.array([group.estimates[name].mean for group in known]) for name in ("spiking_accuracy", "synaptic_operations")
    )
    best = {id(group) for group, is_best in zip(known, pareto_best(accuracy, operations), strict=True) if is_best}
    return [dataclasses.replace(group, is_pareto_best=id(group) in best) for group in groups]


def _rank(group: Group) -> tuple[float, str]:
    return -group.estimates["spiking_accuracy"].mean, group.name
