"""Figures from arrays; nothing is read or written here."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

Array = NDArray[np.float64]


def outputs_over_time(images: Array, labels: Array, outputs: Array, dt: float) -> Figure:
    """Each image beside the network's filtered outputs while it is shown.

    Args:
        images: shape (images, channels, height, width), in [0, 1].
        labels: shape (images,).
        outputs: shape (time, images, classes).
        dt: the step, seconds.
    """
    n_steps, n_images, n_classes = outputs.shape
    figure = Figure(figsize=(9, 2.2 * n_images), layout="constrained")
    axes = figure.subplots(n_images, 2, width_ratios=(1, 3), squeeze=False)
    milliseconds = np.arange(1, n_steps + 1) * dt * 1000
    for (picture, curves), image, label, output in zip(axes, images, labels, outputs.swapaxes(0, 1), strict=True):
        picture.imshow(image.mean(axis=0), cmap="gray")
        picture.set_axis_off()
        for number in range(n_classes):
            right = number == label
            curves.plot(milliseconds, output[:, number], color=f"C{number}", label=str(number), linewidth=2.5 if right else 1)
        curves.set_title(f"label {int(label)}, predicted {output[-1].argmax()}", fontsize=9)
        curves.set_xlim(0, milliseconds[-1])
    axes[-1, 1].set_xlabel("time (ms)")
    axes[n_images // 2, 1].set_ylabel("filtered output")
    handles, names = axes[0, 1].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=n_classes, title="class", frameon=False)
    return figure


def accuracy_over_steps(spiking_accuracy: Array, rate_accuracy: float, agreement: Array) -> Figure:
    """Spiking accuracy after each step, with the rate accuracy as a line."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    steps = np.arange(1, len(spiking_accuracy) + 1)
    axes.axhline(100 * rate_accuracy, color="black", linestyle="--", linewidth=1, label=f"rates: {100 * rate_accuracy:.2f} %")
    axes.plot(steps, 100 * spiking_accuracy, marker=".", label=f"spikes: {100 * spiking_accuracy[-1]:.2f} % at the end")
    axes.plot(steps, 100 * agreement, color="gray", linewidth=1, label="spikes agree with rates")
    axes.set(xlabel="time steps", ylabel="test images (%)", xlim=(1, max(2, len(steps))))
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)
    return figure


def firing_rates(rates_hz: Mapping[str, float]) -> Figure:
    """Mean firing rate of each neuron layer."""
    figure = Figure(figsize=(6, 0.6 * len(rates_hz) + 1.2), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(list(rates_hz), list(rates_hz.values()))
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("mean firing rate (Hz)")
    return figure


def confusion_matrix(confusion: Array) -> Figure:
    """Test images by true class and by class predicted from spikes; colours show the mistakes only."""
    figure = Figure(figsize=(6, 5.5), layout="constrained")
    axes = figure.subplots()
    mistakes = np.where(np.eye(len(confusion), dtype=bool), 0, confusion)
    axes.imshow(mistakes, cmap="Reds")
    for (row, column), count in np.ndenumerate(confusion):
        if count:
            dark = mistakes[row, column] > mistakes.max() / 2
            axes.text(column, row, f"{count:.0f}", ha="center", va="center", fontsize=8, color="white" if dark else "black")
    ticks = np.arange(len(confusion))
    axes.set(xlabel="predicted from spikes", ylabel="true class", xticks=ticks, yticks=ticks)
    return figure
