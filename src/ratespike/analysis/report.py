"""A comparison with everything that is told of it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from ratespike.analysis.groups import Comparison, compare
from ratespike.analysis.plot_data import pictures
from ratespike.analysis.runs import ReadCurve, Record
from ratespike.analysis.tables import markdown, runs_csv


@dataclass(frozen=True)
class Report:
    """What is told of a comparison.

    Attributes:
        comparison: the groups.
        markdown: the groups' table, with notes.
        csv: one line a run.
        figures: by name.
    """

    comparison: Comparison
    markdown: str
    csv: str
    figures: dict[str, Figure]


def report(
    records: Sequence[Record], steps: Collection[int], read_curve: ReadCurve, heat_map: Sequence[str] | None = None
) -> Report:
    """Compare runs over their seeds and tell it in tables and figures.

    Args:
        records: at least one run, each with rate and spiking accuracy.
        steps: of the simulation, after which the spiking accuracy is told.
        read_curve: from a run's id to its spiking accuracy by step; asked for a few groups, and where a run has no metric for
            one of `steps`.
        heat_map: two parameters for its axes; None for the first two that vary in numbers, if there are two.

    Raises:
        ParameterError: `heat_map` names a parameter that does not vary.

    Example:
        >>> metrics = {"test/rate_accuracy": 0.99, "test/spiking_accuracy": 0.98}
        >>> runs = [Record(id, id, 0, 60.0, {"n_steps": "1", "seed": id}, metrics) for id in ("0", "1")]
        >>> told = report(runs, steps=[], read_curve=lambda run: {1: 0.98})
        >>> print(told.csv.splitlines()[1])
        0,0,all runs,0,0.01,0.99,60,0.98
    """
    comparison = compare(records, steps, read_curve)
    figures = pictures(comparison, read_curve, heat_map)
    return Report(comparison, markdown(comparison, steps), runs_csv(comparison), figures)
