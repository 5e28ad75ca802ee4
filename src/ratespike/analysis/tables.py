"""A comparison as tables: the groups for people, the runs for programs."""

import csv
import functools
import io
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ratespike.analysis import csv_cells
from ratespike.analysis.groups import Comparison, Group, MeasuredRun
from ratespike.analysis.markup import escaped
from ratespike.analysis.pareto import in_words
from ratespike.analysis.runs import SECONDS, layers, n_steps
from ratespike.analysis.statistics import Estimate
from ratespike.analysis.values import Value, parse, show
from ratespike.config.relevance import SEEDS
from ratespike.metrics import Metric, Unit, names
from ratespike.metrics.names import SPIKING_ACCURACY, in_steps

LAYERS_SHOWN = 4  # of more, only the lowest and the highest value are shown
MARK = "★"
FRONT = "Pareto front, and by which of its groups each other group is beaten in everything:"
_SECONDS = Unit("", mean_digits=3)


@dataclass(frozen=True)
class Column:
    """One column of the groups' table."""

    title: str
    cell: Callable[[Group], str]
    may_be_left_out: bool = False  # where there is no room


def columns(comparison: Comparison, steps: Collection[int]) -> list[Column]:
    """The columns of the groups' table: name, number of runs, each metric that some run has, seconds.

    Args:
        comparison: of at least one group.
        steps: after which the spiking accuracy has a column too, as far as a run has reached them.
    """
    shown = [Column("group", _marked_name), Column("runs", lambda group: str(len(group.runs)))]
    for metric in _metrics_shown(comparison):
        shown.extend(_columns_of(metric, comparison, steps))
    shown.append(Column(SECONDS, functools.partial(_mean, SECONDS, _SECONDS), may_be_left_out=True))
    return shown


def _columns_of(metric: Metric, comparison: Comparison, steps: Collection[int]) -> Iterator[Column]:
    """The column of a metric; before it, if its values after fewer steps are shown too, one for each of `steps`."""
    may_be_left_out = metric.in_groups != "always"
    if metric.per_layer:
        yield Column(metric.header, functools.partial(_means_of_layers, metric), may_be_left_out)
    elif metric.over_steps:
        ended = _steps_of_all(comparison)
        for step in steps:
            name = metric.after(step)
            if step != ended and comparison.with_measure(name):
                cell = functools.partial(_mean, name, metric.unit)
                yield Column(metric.header_with(f", {in_steps(step)}"), cell, may_be_left_out=True)
        at_end = "last step" if ended is None else f"{ended} steps"
        yield Column(metric.header_with(f", {at_end}"), functools.partial(_mean, metric.name, metric.unit), may_be_left_out)
    else:
        yield Column(metric.header, functools.partial(_mean, metric.name, metric.unit), may_be_left_out)


def _metrics_shown(comparison: Comparison) -> list[Metric]:
    """The metrics that have a column, because a run has a value that says something."""
    shown = []
    for metric in names.metrics():
        if any(_says_something(metric, run) for run in comparison.runs):
            shown.append(metric)
    return shown


def _says_something(metric: Metric, run: MeasuredRun) -> bool:
    """Whether a run has a value of a metric that is worth a column."""
    if metric.in_groups == "never":
        return False
    if metric.per_layer:
        return bool(layers(metric, run.measures))
    value = run.measures.get(metric.name)
    if value is None or metric.shown_if is None:
        return value is not None
    return metric.shown_if(value, n_steps(run.record) or 0)


def _steps_of_all(comparison: Comparison) -> int | None:
    """The number of steps that all runs were simulated for; None if they differ or do not say."""
    found = {n_steps(run.record) for run in comparison.runs}
    if len(found) > 1:
        return None
    return found.pop()


def notes(comparison: Comparison) -> list[str]:
    """What a reader of the groups' table has to know."""
    lines = ["mean ± half width of the 95 % confidence interval by Student's t over a group's runs; a single run has none"]
    if any(group.is_pareto_best for group in comparison.groups):
        costs = in_words(comparison.costs)
        lines.append(f"{MARK} no other group has as high a spiking accuracy for {costs}, on the test images")
    for name, others in comparison.together.items():
        if others:
            words = ", ".join(map(comparison.short.__getitem__, others))
            lines.append(f"with {comparison.short[name]} vary {words}")
    if comparison.repeats:
        lines.append(f"left out: {comparison.repeats} of several runs with the same parameters and seeds, which is one result")
    return lines


def front(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """The Pareto front as a table: its header, and a row for each group, those of the front before those that one of it beats.

    A group whose synaptic operations are unknown has no row.
    """
    metrics = [SPIKING_ACCURACY, *(cost.metric for cost in comparison.costs)]
    header = ["group", *(metric.header for metric in metrics), "beaten by"]
    rows = []
    for group in sorted(comparison.groups, key=lambda group: not group.is_pareto_best):
        if group.is_pareto_best or group.beaten_by is not None:
            values = [_mean(metric.name, metric.unit, group) for metric in metrics]
            rows.append([_marked_name(group), *values, group.beaten_by or ""])
    return header, rows


def directions(comparison: Comparison) -> list[str]:
    """Of which metrics in the groups' table more is better, and of which less."""
    named: dict[str, list[str]] = {}
    for metric in _metrics_shown(comparison):
        if metric.more_is_better is not None:
            direction = "higher" if metric.more_is_better else "lower"
            named.setdefault(direction, []).append(metric.column_name)
    return [f"{direction} is better: {', '.join(columns)}" for direction, columns in named.items()]


def heading(comparison: Comparison) -> str:
    """How much is compared."""
    n_runs = len(comparison.runs)
    n_groups = len(comparison.groups)
    return f"{n_runs} run{'s' * (n_runs > 1)} in {n_groups} group{'s' * (n_groups > 1)} alike but for their seeds"


def markdown(comparison: Comparison, steps: Collection[int]) -> str:
    """All groups as a Markdown table with its notes; `steps` as in `columns`."""
    shown = columns(comparison, steps)
    groups = [[column.cell(group) for column in shown] for group in comparison.groups]
    bullets = [f"- {note}" for note in [*notes(comparison), *directions(comparison)]]
    parts = [f"{heading(comparison)}.", _markdown_table([column.title for column in shown], groups), "\n".join(bullets)]
    header, rows = front(comparison)
    if len(rows) > 1:
        parts += [FRONT, _markdown_table(header, rows)]
    return "\n\n".join(parts) + "\n"


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [_markdown_row(header), _markdown_row(["---", *["---:"] * (len(header) - 1)])]
    for row in rows:
        lines.append(_markdown_row([escaped(cell) for cell in row]))
    return "\n".join(lines)


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def runs_csv(comparison: Comparison) -> str:
    """One line a run, groups in their order: id, name, group, the parameters that vary, seeds, what is compared of it.

    The values are as MLflow keeps them: fractions, Hz, counts, seconds.
    """
    runs = comparison.runs
    parameters = list(comparison.short)
    known = set().union(*(run.record.parameters for run in runs))
    seeds = [name for name in SEEDS if name in known]
    measures = sorted(set().union(*(run.measures for run in runs)), key=_natural)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(csv_cells.row(["run_id", "run_name", "group", *parameters, *seeds, *measures]))
    for group in comparison.groups:
        settings = _cells(group.parameters, parameters)
        for run in group.runs:
            own_seeds = {name: parse(run.record.parameters.get(name, "")) for name in seeds}
            values = [*settings, *_cells(own_seeds, seeds), *_cells(run.measures, measures)]
            table.writerow(csv_cells.row([run.record.id, run.record.name, group.name, *values]))
    return text.getvalue()


def _cells(values: Mapping[str, Value] | Mapping[str, float], wanted: Sequence[str]) -> list[str]:
    """The wanted values, empty where there is none."""
    cells = []
    for name in wanted:
        value = values.get(name)
        cells.append("" if value is None else show(value))
    return cells


def _natural(name: str) -> tuple[str, int, str]:
    """Key of an order in which step 5 stands before step 10."""
    before, _, rest = name.partition("/")
    digits = rest.split("_")[0]
    number = int(digits) if digits.isdigit() else 0
    return before, number, rest


def _marked_name(group: Group) -> str:
    return f"{MARK} {group.name}" if group.is_pareto_best else group.name


def _mean(measure: str, unit: Unit, group: Group) -> str:
    """The cell of a group: the mean over its runs and the half width of the interval; empty if no run has the measure."""
    found = group.estimates.get(measure)
    if found is None:
        return ""
    return _plus_minus(found, unit)


def _plus_minus(found: Estimate, unit: Unit) -> str:
    mean = found.mean * unit.scale
    decimals = _decimals(mean, unit)
    text = f"{unit.answer(found.mean)}{mean:.{decimals}f}"
    half_width = found.half_width
    if half_width is None:
        return text
    return f"{text} ± {half_width * unit.scale:.{decimals}f}"


def _decimals(mean: float, unit: Unit) -> int:
    """With how many decimals a mean is written."""
    if unit.mean_digits is None:
        return unit.decimals
    before_the_point = 1
    if mean:
        before_the_point = 1 + math.floor(math.log10(abs(mean)))
    return max(0, unit.mean_digits - before_the_point)


def _means_of_layers(metric: Metric, group: Group) -> str:
    """Means of the layers in their order; they cannot be averaged, as a run does not keep how large its layers are."""
    means = [group.estimates[name].mean * metric.unit.scale for name in layers(metric, group.estimates)]
    if len(means) > LAYERS_SHOWN:
        means_shown = [min(means), max(means)]
        separator = " to "
    else:
        means_shown = means
        separator = ", "
    return separator.join(f"{mean:.{metric.unit.decimals}f}" for mean in means_shown)
