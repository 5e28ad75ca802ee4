"""Lines and the groups' table in a terminal: as wide as that is, and no number is cut.

Names of groups and intervals are broken into several lines, then columns are left out from the right until the others fit;
those that every comparison should show only where nothing else is left.
"""

import re
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ratespike.analysis.groups import Comparison
from ratespike.analysis.paired import PairedDifference
from ratespike.analysis.tables import Column, columns, heading, notes

HEADER_WIDTH = 12  # about that of a cell
GAP = 2  # between columns
LONG_WORD = 24  # in the name of a group: a longer one may be broken
PIPE_WIDTH = 200  # of the table where there is no terminal
_UNBREAKABLE = re.compile(r"± \S+|\d+ steps?|\S+")  # the half width of an interval, a number of steps, a word
_NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class FilledColumn:
    """A column with its cells."""

    column: Column
    cells: Sequence[str]

    @property
    def width(self) -> int:
        """The width at which no cell is wrapped."""
        return max(map(len, [*self.title_lines(HEADER_WIDTH), *self.cells]))

    @property
    def least_width(self) -> int:
        """The width at which no word and no number is cut."""
        words = _UNBREAKABLE.findall(" ".join([self.column.title, *self.cells]))
        return max(map(len, words))

    def title_lines(self, width: int) -> list[str]:
        """The title in lines of this width, broken between words."""
        glued = _UNBREAKABLE.sub(lambda found: found[0].replace(" ", _NO_BREAK), self.column.title)
        lines = textwrap.wrap(glued, width, break_long_words=False)
        return [line.replace(_NO_BREAK, " ") for line in lines]

    def cells_at(self, width: int) -> list[str]:
        """The cells, with the interval in a line of its own if they are wider than `width`."""
        if self.width <= width:
            return list(self.cells)
        return [cell.replace(" ±", "\n±") for cell in self.cells]


def say(line: str) -> None:
    """Print a line, in a terminal that is narrower broken between words."""
    console = Console(markup=False, highlight=False)
    console.print(line, soft_wrap=not console.is_terminal)


def show(comparison: Comparison, steps: Collection[int], rows: int) -> None:
    """Print the groups' table and its notes.

    Args:
        comparison: of at least one group.
        steps: as in `ratespike.analysis.tables.columns`.
        rows: how many groups at most; the Pareto-best before the others.
    """
    console = Console(markup=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    groups = comparison.foremost(rows)
    filled = [FilledColumn(column, list(map(column.cell, groups))) for column in columns(comparison, steps)]
    fitting = _fitting(filled, console.width)
    left_out = [part.column.title for part in filled if part not in fitting]

    table = Table(title=heading(comparison), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.padding = (0, GAP - 1, 0, 0)  # on the right, beside the blank line of the box
    cells = []
    for part, width in zip(fitting, _widths(fitting, console.width), strict=True):
        title = "\n".join(part.title_lines(width))
        table.add_column(title, justify="left" if part is filled[0] else "right", width=width, overflow="fold")
        cells.append(part.cells_at(width))
    for group, *row in zip(groups, *cells, strict=True):
        table.add_row(*row, style="bold" if group.is_pareto_best else "")
    console.print(table)

    n_more = len(comparison.groups) - len(groups)
    if n_more:
        say(f"{n_more} more groups are in the files; Pareto-best ones are shown before others")
    if left_out:
        say(f"no room here, but in the files: {'; '.join(left_out)}")
    for note in notes(comparison):
        say(note)


def _fitting(filled: Sequence[FilledColumn], width: int) -> list[FilledColumn]:
    """The columns without those that there is no room for."""
    names, *numbers = filled
    least_last = sorted(numbers, key=lambda part: part.column.may_be_left_out)
    fitting = list(filled)
    for part in reversed(least_last):
        needed = min(names.least_width, LONG_WORD) + sum(GAP + other.least_width for other in fitting[1:])
        if needed > width:
            fitting.remove(part)
    return fitting


def _widths(fitting: Sequence[FilledColumn], width: int) -> list[int]:
    """The columns' widths in a table of this width; names of groups are wrapped before numbers, high titles after others."""
    names, *numbers = fitting
    widths = [part.least_width for part in numbers]
    spare = width - GAP * len(numbers) - names.least_width - sum(widths)
    heights = [len(part.title_lines(least)) for part, least in zip(numbers, widths, strict=True)]
    for index in sorted(range(len(numbers)), key=heights.__getitem__, reverse=True):
        more = numbers[index].width - widths[index]
        if more <= spare:
            widths[index] += more
            spare -= more
    return [min(names.width, names.least_width + spare), *widths]


def show_paired(names: Sequence[str], rows: Sequence[tuple[str, PairedDifference]]) -> None:
    """Print differences of accuracies on the same images, in points, with what only one has right and McNemar's p."""
    for number, name in enumerate(names, 1):
        say(f"{number}: {name}")
    table = Table(box=box.SIMPLE)
    for title in ("first, second", "first", "second", "difference", "right alone", "p"):
        table.add_column(title, justify="left" if title == "first, second" else "right", overflow="fold")
    for name, found in rows:
        table.add_row(
            Text(name),
            f"{found.first:.2%}",
            f"{found.second:.2%}",
            f"{100 * found.difference:+.2f} ± {100 * found.half_width:.2f}",
            f"{found.only_first}, {found.only_second}",
            f"{found.p_value:.2g}",
        )
    Console(highlight=False).print(table)
    say("difference in points with its 95 % confidence interval; p of McNemar's exact test; both on the same images")
