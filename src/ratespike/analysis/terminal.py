"""The groups' table in a terminal: as wide as that is, and no number is cut.

Columns that may be left out are, from the right, until the others fit; where even that is narrow, names of groups and intervals
are broken into several lines.
"""

import re
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from ratespike.analysis.groups import Comparison
from ratespike.analysis.tables import Column, columns, heading, notes

HEADER_WIDTH = 12  # about that of a cell
GAP = 3  # between columns
PIPE_WIDTH = 200  # where there is no terminal
_UNBREAKABLE = re.compile(r"± \S+|\S+")  # a word, a number, or the half width of an interval with its sign


@dataclass(frozen=True)
class FilledColumn:
    """A column with its cells."""

    column: Column
    cells: Sequence[str]

    @property
    def width(self) -> int:
        """The width at which no cell is wrapped."""
        lines = [*textwrap.wrap(self.column.title, HEADER_WIDTH), *self.cells]
        return max(map(len, lines))

    @property
    def least_width(self) -> int:
        """The width at which no word and no number is cut."""
        words = _UNBREAKABLE.findall(" ".join([self.column.title, *self.cells]))
        return max(map(len, words))

    def cells_at(self, width: int) -> list[str]:
        """The cells, with the interval in a line of its own if they are wider than `width`."""
        if self.width <= width:
            return list(self.cells)
        return [cell.replace(" ±", "\n±") for cell in self.cells]


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
    cells = []
    for part, width in zip(fitting, _widths(fitting, console.width), strict=True):
        title = "\n".join(textwrap.wrap(part.column.title, max(width, HEADER_WIDTH)))
        table.add_column(title, justify="left" if part is filled[0] else "right", width=width)
        cells.append(part.cells_at(width))
    for group, *row in zip(groups, *cells, strict=True):
        table.add_row(*row, style="bold" if group.is_pareto_best else "")
    console.print(table)

    n_more = len(comparison.groups) - len(groups)
    if n_more:
        console.print(f"{n_more} more groups are in the files; Pareto-best ones are shown before others", highlight=False)
    if left_out:
        console.print(f"no room here, but in the files: {'; '.join(left_out)}", highlight=False)
    for note in notes(comparison):
        console.print(note, highlight=False)


def _fitting(filled: Sequence[FilledColumn], width: int) -> list[FilledColumn]:
    """The columns without those that there is no room for."""
    fitting = list(filled)
    for part in reversed(filled):
        needed = sum(other.least_width + GAP for other in fitting) - GAP
        if part.column.may_be_left_out and needed > width:
            fitting.remove(part)
    return fitting


def _widths(fitting: Sequence[FilledColumn], width: int) -> list[int]:
    """The columns' widths in a table of this width; names of groups are wrapped before numbers are."""
    names, *numbers = fitting
    room = width - GAP * len(numbers)
    widths = [part.width for part in numbers]
    if names.least_width + sum(widths) > room:
        widths = [part.least_width for part in numbers]
    for_names = max(names.least_width, min(names.width, room - sum(widths)))
    return [for_names, *widths]
