"""A comparison in the terminal."""

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
PIPE_WIDTH = 200  # where there is no terminal that tells its own


@dataclass(frozen=True)
class Filled:
    """A column with its cells."""

    column: Column
    cells: Sequence[str]

    @property
    def width(self) -> int:
        """No cell is wrapped."""
        return max(map(len, (*textwrap.wrap(self.column.title, HEADER_WIDTH), *self.cells)))

    @property
    def least_width(self) -> int:
        """No word and no number is cut."""
        return max(len(word) for text in (self.column.title, *self.cells) for word in re.findall(r"± \S+|\S+", text))

    def broken(self, width: int) -> list[str]:
        """The cells, with the interval in a line of its own where they are wider."""
        return list(self.cells) if self.width <= width else [cell.replace(" ±", "\n±") for cell in self.cells]


def show(comparison: Comparison, steps: Collection[int], rows: int) -> None:
    """Print at most `rows` groups, the Pareto-best before the others, and what a reader has to know."""
    console = Console(markup=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    groups = comparison.foremost(rows)
    filled = [Filled(column, [column.cell(group) for group in groups]) for column in columns(comparison, steps)]
    fitting = _fitting(filled, console.width)
    table = Table(title=heading(comparison), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    widths = _widths(fitting, console.width)
    for part, width in zip(fitting, widths, strict=True):
        title = "\n".join(textwrap.wrap(part.column.title, max(width, HEADER_WIDTH)))
        table.add_column(title, justify="left" if part is filled[0] else "right", width=width)
    for group, *cells in zip(groups, *map(Filled.broken, fitting, widths), strict=True):
        table.add_row(*cells, style="bold" if group.is_pareto_best else "")
    console.print(table)
    for line in (*_hidden(comparison, len(groups), [part for part in filled if part not in fitting]), *notes(comparison)):
        console.print(line, highlight=False)


def _fitting(filled: Sequence[Filled], width: int) -> list[Filled]:
    """Without as many columns of less weight, from the right, as there is no room for."""
    fitting = list(filled)
    for part in reversed(filled):
        if part.column.may_be_left_out and sum(other.least_width + GAP for other in fitting) - GAP > width:
            fitting.remove(part)
    return fitting


def _widths(fitting: Sequence[Filled], width: int) -> list[int]:
    """Of the columns; names of groups are wrapped before numbers are."""
    names, *numbers = fitting
    room = width - GAP * len(numbers)
    widths = [part.width for part in numbers]
    if names.least_width + sum(widths) > room:
        widths = [part.least_width for part in numbers]
    return [max(names.least_width, min(names.width, room - sum(widths))), *widths]


def _hidden(comparison: Comparison, n_shown: int, left_out: Sequence[Filled]) -> list[str]:
    lines = []
    if len(comparison.groups) > n_shown:
        more = len(comparison.groups) - n_shown
        lines.append(f"{more} more groups are in the files; Pareto-best ones are shown before others")
    if left_out:
        lines.append(f"no room here, but in the files: {'; '.join(part.column.title for part in left_out)}")
    return lines
