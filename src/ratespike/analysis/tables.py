"""A comparison as tables: the groups for people, the runs for programs."""

import csv
import io
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from ratespike.analysis.groups import SEEDS, Comparison, Group
from ratespike.analysis.runs import after, firing_rates, n_steps
from ratespike.analysis.statistics import Estimate
from ratespike.analysis.values import parse, show

LAYERS_SHOWN = 4  # of more, only the lowest and the highest rate are shown
MARK = "★"


@dataclass(frozen=True)
class Column:
    """One column of the groups' table."""

    title: str
    cell: Callable[[Group], str]
    may_be_left_out: bool = False  # where there is no room


def columns(comparison: Comparison, steps: Collection[int]) -> list[Column]:
    """The columns of the groups' table, with the spiking accuracy after each of `steps` that a run has reached."""
    last = {n_steps(run.record) for group in comparison.groups for run in group.runs}
    (ended,) = last if len(last) == 1 else (None,)
    reached = [step for step in steps if any(after(step) in group.estimates for group in comparison.groups)]
    at_end = "last step" if ended is None else f"{ended} steps"
    return [
        Column("group", lambda group: f"{MARK} {group.name}" if group.is_pareto_best else group.name),
        Column("runs", lambda group: str(len(group.runs))),
        _number("rates (%)", "rate_accuracy", scale=100),
        *(_accuracy_after(step) for step in reached if step != ended),
        _number(f"spikes, {at_end} (%)", "spiking_accuracy", scale=100),
        _number("gap (points)", "accuracy_gap", scale=100),
        *([_number("steps until an early exit", "mean_steps", digits=3)] if _some_exit_early(comparison) else []),
        Column("firing rate by layer (Hz)", _firing_rates, may_be_left_out=True),
        _number("synaptic operations an image (million)", "synaptic_operations", scale=1e-6, digits=3),
        _number("seconds", "seconds", digits=3, may_be_left_out=True),
    ]


def notes(comparison: Comparison) -> list[str]:
    """What a reader of the groups' table has to know."""
    lines = ["mean ± half width of the 95 % confidence interval by Student's t over a group's runs; a single run has none"]
    if any(group.is_pareto_best for group in comparison.groups):
        lines.append(f"{MARK} no other group has as high a spiking accuracy for as few synaptic operations, on the test images")
    for name, others in comparison.together.items():
        if others:
            lines.append(f"with {comparison.short[name]} vary {', '.join(comparison.short[other] for other in others)}")
    if comparison.repeats:
        lines.append(f"left out: {comparison.repeats} of several runs with the same parameters and seeds, which is one result")
    return lines


def heading(comparison: Comparison) -> str:
    """How much is compared."""
    n_runs, n_groups = sum(len(group.runs) for group in comparison.groups), len(comparison.groups)
    return f"{n_runs} run{'s' * (n_runs > 1)} in {n_groups} group{'s' * (n_groups > 1)} alike but for their seeds"


def markdown(comparison: Comparison, steps: Collection[int]) -> str:
    """All groups as a Markdown table with its notes."""
    shown = columns(comparison, steps)
    rows = [[column.title for column in shown], ["---", *["---:"] * (len(shown) - 1)]]
    rows += [[column.cell(group).replace("|", "\\|") for column in shown] for group in comparison.groups]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return "\n\n".join([f"{heading(comparison)}.", table, "\n".join(f"- {note}" for note in notes(comparison))]) + "\n"


def runs_csv(comparison: Comparison) -> str:
    """One line a run, groups in their order: id, name, group, the parameters that vary, what is compared (in full units)."""
    runs = [(group, run) for group in comparison.groups for run in group.runs]
    parameters = list(comparison.short)
    seeds = [name for name in SEEDS if any(name in run.record.parameters for _, run in runs)]
    measures = sorted({name for _, run in runs for name in run.measures}, key=_natural)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["run_id", "run_name", "group", *parameters, *seeds, *measures])
    for group, run in runs:
        settings = [show(group.parameters[name]) if name in group.parameters else "" for name in parameters]
        drawn = [show(parse(run.record.parameters.get(name, ""))) for name in seeds]
        values = [show(run.measures[name]) if name in run.measures else "" for name in measures]
        table.writerow([run.record.id, run.record.name, group.name, *settings, *drawn, *values])
    return text.getvalue()


def _accuracy_after(step: int) -> Column:
    return _number(f"spikes, {step} step{'s' * (step > 1)} (%)", after(step), scale=100, may_be_left_out=True)


def _some_exit_early(comparison: Comparison) -> bool:
    runs = [run for group in comparison.groups for run in group.runs]
    return any(run.measures.get("mean_steps", math.inf) < (n_steps(run.record) or 0) for run in runs)


def _natural(name: str) -> tuple[str, int, str]:
    """Step 5 before step 10."""
    before, _, rest = name.partition("/")
    digits = rest.split("_")[0]
    return before, int(digits) if digits.isdigit() else 0, rest


def _number(title: str, measure: str, scale: float = 1.0, digits: int | None = None, may_be_left_out: bool = False) -> Column:
    """A column of estimates, with two decimals or so many significant digits."""

    def cell(group: Group) -> str:
        found = group.estimates.get(measure)
        return "" if found is None else _plus_minus(found, scale, digits)

    return Column(title, cell, may_be_left_out)


def _plus_minus(found: Estimate, scale: float, digits: int | None) -> str:
    mean = found.mean * scale
    decimals = 2 if digits is None else max(0, digits - 1 - (math.floor(math.log10(abs(mean))) if mean else 0))
    half_width = found.half_width
    return f"{mean:.{decimals}f}" + ("" if half_width is None else f" ± {half_width * scale:.{decimals}f}")


def _firing_rates(group: Group) -> str:
    """Mean rates of the layers in their order; they cannot be averaged, as a run does not tell how large its layers are."""
    rates: Sequence[float] = [group.estimates[name].mean for name in firing_rates(group.estimates)]
    if len(rates) > LAYERS_SHOWN:
        return f"{min(rates):.1f} to {max(rates):.1f}"
    return ", ".join(f"{rate:.1f}" for rate in rates)
