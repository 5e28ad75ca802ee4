"""Test images by true class and by class predicted from spikes."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ratespike.pipeline.plots import PlotData

_CLASSES_WITH_COUNTS = 20  # of more, the cells are too small for numbers
_NAMES_ON_AN_AXIS = 50
_CONFUSIONS_LISTED = 20
_LENGTH_OF_NAMES = 24


def draw(data: PlotData) -> Figure:
    """The counts after the last step; colours show the mistakes only, which the many right ones would hide.

    Of many classes the most frequent mistakes are listed beside the matrix instead of counts in it.
    """
    confusion = data.results.confusion[-1].numpy()  # (true class, predicted class)
    mistakes = np.where(np.eye(len(confusion), dtype=bool), 0, confusion)
    names = data.short_names(_LENGTH_OF_NAMES)
    has_counts = len(confusion) <= _CLASSES_WITH_COUNTS
    side = min(max(5.5, 0.4 * len(confusion)), 12)  # inches
    for_names = 0.07 * max(map(len, names))
    for_list = 0 if has_counts else 4
    figure = Figure(figsize=(side + 0.5 + for_names + for_list, side + for_names), layout="constrained")
    axes = figure.subplots()
    axes.imshow(mistakes, cmap="Reds")
    _name_classes(axes, names)
    if has_counts:
        _write_counts(axes, confusion, mistakes)
    else:
        axes.text(1.02, 1, _most_frequent(mistakes, names), transform=axes.transAxes, va="top", fontsize=9, linespacing=1.5)
    return figure


def _name_classes(axes: Axes, names: list[str]) -> None:
    """Names at both axes, of very many classes some of them."""
    ticks = np.arange(0, len(names), -(-len(names) // _NAMES_ON_AN_AXIS))
    shown = [names[tick] for tick in ticks]
    axes.set(xlabel="predicted from spikes", ylabel="true class")
    axes.set_xticks(ticks, shown, rotation=90 if len(shown) * max(map(len, shown)) > 60 else 0)
    axes.set_yticks(ticks, shown)
    axes.tick_params(labelsize=10 if len(names) <= _CLASSES_WITH_COUNTS else 8)


def _write_counts(axes: Axes, confusion: NDArray[np.int64], mistakes: NDArray[np.int64]) -> None:
    """A number in each cell that has images."""
    for (row, column), count in np.ndenumerate(confusion):
        if count:
            is_dark = mistakes[row, column] > mistakes.max() / 2
            color = "white" if is_dark else "black"
            axes.text(column, row, f"{count:.0f}", ha="center", va="center", fontsize=8, color=color)


def _most_frequent(mistakes: NDArray[np.int64], names: list[str]) -> str:
    """The most frequent mistakes, one a line."""
    lines = ["most frequent mistakes: images, true → predicted"]
    for cell in np.argsort(-mistakes, axis=None, kind="stable")[:_CONFUSIONS_LISTED]:
        row, column = np.unravel_index(cell, mistakes.shape)
        if mistakes[row, column]:
            lines.append(f"{mistakes[row, column]}   {names[row]} → {names[column]}")
    return "\n".join(lines)
