"""Each image beside the network's filtered outputs while it is shown."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ratespike.pipeline.plots import PlotData


def draw(data: PlotData) -> Figure:
    """A row for each image: the image, and the output of each class over time, that of the label in a thick line."""
    outputs = data.outputs.numpy()  # (time, images, classes)
    n_steps, n_images, n_classes = outputs.shape
    milliseconds = np.arange(1, n_steps + 1) * data.results.dt * 1000
    figure = Figure(figsize=(9, 2.2 * n_images), layout="constrained")
    axes = figure.subplots(n_images, 2, width_ratios=(1, 3), squeeze=False)
    for number, (picture, curves) in enumerate(axes):
        picture.imshow(data.images[number].mean(dim=0).numpy(), cmap="gray")
        picture.set_axis_off()
        _draw_outputs(curves, milliseconds, outputs[:, number], int(data.labels[number]))
    axes[-1, 1].set_xlabel("time (ms)")
    axes[n_images // 2, 1].set_ylabel("filtered output")
    handles, names = axes[0, 1].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=n_classes, title="class", frameon=False)
    return figure


def _draw_outputs(axes: Axes, milliseconds: NDArray[np.float64], outputs: NDArray[np.float64], label: int) -> None:
    """A line for each class; `outputs` has shape (time, classes)."""
    for number, output in enumerate(outputs.T):
        width = 2.5 if number == label else 1
        axes.plot(milliseconds, output, color=f"C{number}", label=str(number), linewidth=width)
    axes.set_title(f"label {label}, predicted {outputs[-1].argmax()}", fontsize=9)
    axes.set_xlim(0, milliseconds[-1])
