"""A comparison of runs with its tables and figures: the whole of `compare.py` but reading and writing."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from ratespike.analysis.groups import Comparison, compare
from ratespike.analysis.pareto import DEVICE
from ratespike.analysis.plot_data import figures
from ratespike.analysis.runs import ReadCurve, Record
from ratespike.analysis.tables import markdown, runs_csv


@dataclass(frozen=True)
class Report:
    """A comparison and what is shown of it.

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
    records: Sequence[Record],
    steps: Collection[int],
    read_curve: ReadCurve,
    heat_map: Sequence[str] | None = None,
    device: str = DEVICE,
) -> Report:
    """Compare runs over their seeds, in tables and figures.

    Args:
        records: at least one run, each with rate and spiking accuracy.
        steps: of the simulation, after which the spiking accuracy is compared too.
        read_curve: from a run's id to its spiking accuracy by step; called for a few groups, and where a run has no metric
            for one of `steps`.
        heat_map: two parameters for its axes; None for the first two that vary in numbers, if there are two.
        device: whose energy is compared.

    Raises:
        ParameterError: `heat_map` names a parameter that does not vary; no device has this name.

    Example:
        >>> metrics = {"test/rate_accuracy": 0.99, "test/spiking_accuracy": 0.98}
        >>> runs = [Record(id, id, 0, 60.0, {"n_steps": "1", "seed": id}, metrics) for id in ("0", "1")]
        >>> found = report(runs, steps=[], read_curve=lambda run: {1: 0.98})
        >>> print(found.csv.splitlines()[1])
        0,0,all runs,0,0.01,0.99,60,0.98
    """
    comparison = compare(records, steps, read_curve, device)
    drawn = figures(comparison, read_curve, heat_map)
    return Report(comparison, markdown(comparison, steps), runs_csv(comparison), drawn)
