"""Accuracy on the images of each class, on rates and on spikes."""

import numpy as np
from matplotlib.figure import Figure

from ratespike.pipeline.plots import PlotData

_SHOWN = 30


def draw(data: PlotData) -> Figure:
    """A row for each class, the lowest spiking accuracy on top; of many classes those with the lowest."""
    spikes = 100 * data.results.spiking_class_accuracy.numpy()
    rates = 100 * data.results.rate_class_accuracy.numpy()
    images = data.results.class_images.tolist()
    n_classes = np.count_nonzero(images)
    lowest = np.argsort(spikes, kind="stable")[: min(n_classes, _SHOWN)]  # NaN, of classes without images, comes last
    names = data.short_names(24)
    figure = Figure(figsize=(7, 0.25 * len(lowest) + 1.5), layout="constrained")
    axes = figure.subplots()
    rows = np.arange(len(lowest))
    axes.hlines(rows, rates[lowest], spikes[lowest], color="lightgray")
    axes.plot(rates[lowest], rows, "o", color="black", markerfacecolor="none", label="rates")
    axes.plot(spikes[lowest], rows, "o", color="C0", markersize=4, label="spikes")
    axes.set_yticks(rows, [f"{names[number]}, {images[number]} images" for number in lowest])
    axes.set_ylim(len(lowest) - 0.4, -0.6)
    axes.set_xlabel("accuracy on the test images of a class (%)")
    if len(lowest) < n_classes:
        axes.set_title(f"the lowest {len(lowest)} of {n_classes} classes", fontsize=10)
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    axes.grid(alpha=0.3)
    return figure
