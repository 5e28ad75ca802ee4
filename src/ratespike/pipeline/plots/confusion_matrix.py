"""Test images by true class and by class predicted from spikes."""

import numpy as np
from matplotlib.figure import Figure

from ratespike.pipeline.plots import PlotData


def draw(data: PlotData) -> Figure:
    """The counts after the last step; colours show the mistakes only, which the many right ones would hide."""
    confusion = data.results.confusion[-1].numpy()  # (true class, predicted class)
    mistakes = np.where(np.eye(len(confusion), dtype=bool), 0, confusion)
    figure = Figure(figsize=(6, 5.5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(mistakes, cmap="Reds")
    for (row, column), count in np.ndenumerate(confusion):
        if count:
            is_dark = mistakes[row, column] > mistakes.max() / 2
            color = "white" if is_dark else "black"
            axes.text(column, row, f"{count:.0f}", ha="center", va="center", fontsize=8, color=color)
    ticks = np.arange(len(confusion))
    axes.set(xlabel="predicted from spikes", ylabel="true class", xticks=ticks, yticks=ticks)
    return figure
