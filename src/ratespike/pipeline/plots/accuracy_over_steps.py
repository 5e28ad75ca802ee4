"""Spiking accuracy after each step, with the rate accuracy as a line."""

import numpy as np
from matplotlib.figure import Figure

from ratespike.pipeline.plots import PlotData


def draw(data: PlotData) -> Figure:
    """Three curves over the steps, in per cent of the test images: rates, spikes, and how often the two agree."""
    rates = 100 * data.results.rate_accuracy
    spikes = 100 * data.results.spiking_accuracy.numpy()
    agreement = 100 * data.results.agreement.numpy()
    steps = np.arange(1, len(spikes) + 1)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.axhline(rates, color="black", linestyle="--", linewidth=1, label=f"rates: {rates:.2f} %")
    axes.plot(steps, spikes, marker=".", label=f"spikes: {spikes[-1]:.2f} % at the end")
    axes.plot(steps, agreement, color="gray", linewidth=1, label="spikes agree with rates")
    axes.set(xlabel="time steps", ylabel="test images (%)", xlim=(1, max(2, len(steps))))
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)
    return figure
