"""Which parameters differ between groups of runs, and which of them are enough to name the groups."""

from collections import Counter
from collections.abc import Mapping, Sequence

from ratespike.analysis.values import Value, order, parse
from ratespike.config.relevance import SEEDS, distinguishes_runs

Settings = Mapping[str, Value]  # by a parameter's full name

NAMED_BY = 4  # if more parameters vary, one stands for those that vary one to one with it


def varying(all_settings: Sequence[Settings]) -> list[str]:
    """The parameters by which different settings can be told apart.

    These are all that have several values. Of those that have one value, but that only some settings have, as few are added
    as tell more settings apart.

    Example:
        >>> varying([{"tau": 0.01, "dt": 0.001}, {"tau": 0.02, "dt": 0.001}])
        ['tau']
        >>> varying([{"tau": 0.01}, {"tau": 0.01, "early_exit": 0.5}])
        ['early_exit']
    """
    values: dict[str, set[Value]] = {}
    count: Counter[str] = Counter()
    for settings in all_settings:
        count.update(settings.keys())
        for name, value in settings.items():
            values.setdefault(name, set()).add(value)
    found = [name for name in values if len(values[name]) > 1]
    candidates = [name for name in values if len(values[name]) == 1 and count[name] < len(all_settings)]
    n_apart = _count_distinct(found, all_settings)
    for name in sorted(candidates, key=order):
        if n_apart == len(all_settings):
            break
        n_with_it = _count_distinct([*found, name], all_settings)
        if n_with_it > n_apart:
            found.append(name)
            n_apart = n_with_it
    return sorted(found, key=order)


def together(names: Sequence[str], all_settings: Sequence[Settings]) -> dict[str, tuple[str, ...]]:
    """The parameters that stand in the groups' names, each with those that it stands for.

    Example:
        >>> grid = [{"a": i, "b": 2 * i, "c": -i, "d": i > 1, "e": 0 if i < 3 else 1} for i in (1, 2, 3)]
        >>> together("abcde", grid)
        {'a': ('b', 'c'), 'd': (), 'e': ()}
    """
    if len(names) <= NAMED_BY:
        return dict.fromkeys(names, ())
    by_pattern: dict[tuple[int, ...], list[str]] = {}
    for name in names:
        by_pattern.setdefault(_pattern(name, all_settings), []).append(name)
    return {first: tuple(others) for first, *others in by_pattern.values()}


def told_apart_by(runs: Sequence[Mapping[str, str]], at_most: int) -> list[str]:
    """The parameters that a list of runs needs as columns: those that vary, one for several that vary one to one, and seeds.

    Args:
        runs: the parameters of each, as MLflow keeps them.
        at_most: how many parameters; seeds stay.

    Example:
        >>> runs = [{"neuron.tau_rc": "0.01", "seed": "0", "dt": "1"}, {"neuron.tau_rc": "0.02", "seed": "1", "dt": "1"}]
        >>> told_apart_by(runs, at_most=8)
        ['neuron.tau_rc', 'seed']
    """
    all_settings = []
    for run in runs:
        all_settings.append({name: parse(value) for name, value in run.items() if distinguishes_runs(name)})
    found = varying(all_settings)
    seeds = [name for name in found if name in SEEDS]
    others = list(together([name for name in found if name not in SEEDS], all_settings))
    return others[: at_most - len(seeds)] + seeds


def _count_distinct(names: Sequence[str], all_settings: Sequence[Settings]) -> int:
    """How many settings differ in some of these parameters."""
    return len({tuple(map(settings.get, names)) for settings in all_settings})


def _pattern(name: str, all_settings: Sequence[Settings]) -> tuple[int, ...]:
    """Which settings have equal values of a parameter; equal for parameters that vary one to one."""
    number: dict[Value | None, int] = {}
    pattern = []
    for settings in all_settings:
        value = settings.get(name)
        pattern.append(number.setdefault(value, len(number)))
    return tuple(pattern)
