"""A measure by the values of some parameters, averaged over the others that vary.

In a grid with holes a plain mean would compare unlike runs: a value that was only tried with a bad learning rate would look
bad. So the means are over combinations of the other parameters that every value has, as far as there are such.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ratespike.analysis.groups import Comparison, Group
from ratespike.analysis.statistics import Estimate, mean_of
from ratespike.analysis.values import Value

Place = tuple[Value | None, ...]  # values of some parameters, None where a group has none


@dataclass(frozen=True)
class Means:
    """A measure by the values of some parameters.

    Attributes:
        by_place: the mean at each place.
        averaged: the other parameters that vary.
        is_balanced: whether all means are over the same values of those.
    """

    by_place: Mapping[Place, Estimate]
    averaged: Sequence[str]
    is_balanced: bool

    def note(self, comparison: Comparison) -> str:
        """What a reader has to know of the other parameters; empty if there are none."""
        if not self.averaged:
            return ""
        names = ", ".join(map(comparison.short.__getitem__, self.averaged))
        if self.is_balanced:
            return f"mean over {names}"
        return f"not at equal values of {names}"


def means_at(groups: Sequence[Group], axes: Sequence[str], averaged: Sequence[str], measure: str) -> Means:
    """The mean of a measure at each place.

    Args:
        groups: at least one, each of which has the measure.
        axes: the parameters whose values are a place.
        averaged: the other parameters that vary.
        measure: its name.
    """
    found: dict[Place, dict[Place, Estimate]] = {}  # by place, by the values of the averaged parameters
    for group in groups:
        found.setdefault(place_of(group, axes), {})[place_of(group, averaged)] = group.estimates[measure]
    common = set.intersection(*map(set, found.values()))
    by_place = {}
    for place, combinations in found.items():
        chosen = [combinations[values] for values in combinations if values in common or not common]
        by_place[place] = mean_of(chosen)
    return Means(by_place, averaged, is_balanced=bool(common))


def place_of(group: Group, names: Sequence[str]) -> Place:
    """The values that a group has of some parameters."""
    return tuple(map(group.parameters.get, names))


def by_value(place: Place) -> list[tuple[int, float, str]]:
    """Key of an order in which numbers rise, then come words, then missing values.

    Example:
        >>> sorted([(None,), ("LIF",), (2.0,), (1.0,)], key=by_value)
        [(1.0,), (2.0,), ('LIF',), (None,)]
    """
    return list(map(_rank, place))


def _rank(value: Value | None) -> tuple[int, float, str]:
    """Key of a value in the order of `by_value`."""
    if isinstance(value, float):
        return 0, value, ""
    if isinstance(value, str):
        return 1, 0.0, value
    return 2, 0.0, ""
