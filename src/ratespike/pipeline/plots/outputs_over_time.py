"""Each image beside the network's filtered outputs while it is shown."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ratespike.pipeline.plots import PlotData

_CLASSES_WITH_COLOURS = 10  # that Matplotlib has
_FIRST = 4  # of more classes those with the largest outputs have a colour


def draw(data: PlotData) -> Figure:
    """A row for each image: the image, and the output of each class over time, that of the label in a thick line."""
    outputs = data.outputs.numpy()  # (time, images, classes)
    n_steps, n_images, n_classes = outputs.shape
    names = data.short_names(30)
    milliseconds = np.arange(1, n_steps + 1) * data.results.dt * 1000
    figure = Figure(figsize=(9, 2.2 * n_images), layout="constrained")
    axes = figure.subplots(n_images, 2, width_ratios=(1, 3), squeeze=False)
    for number, (picture, curves) in enumerate(axes):
        picture.imshow(data.images[number].mean(dim=0).numpy(), cmap="gray")
        picture.set_axis_off()
        label, predicted = int(data.labels[number]), int(outputs[-1, number].argmax())
        curves.set_title(f"label {names[label]}, predicted {names[predicted]}", fontsize=9)
        curves.set_xlim(0, milliseconds[-1])
        if n_classes <= _CLASSES_WITH_COLOURS:
            _draw_all(curves, milliseconds, outputs[:, number], label, data.short_names(max(12, 60 // n_classes)))
        else:
            _draw_first(curves, milliseconds, outputs[:, number], label, names)
    axes[-1, 1].set_xlabel("time (ms)")
    axes[n_images // 2, 1].set_ylabel("filtered output")
    if n_classes <= _CLASSES_WITH_COLOURS:
        handles, labels = axes[0, 1].get_legend_handles_labels()
        n_columns = n_classes if sum(map(len, labels)) < 30 else 5
        figure.legend(handles, labels, loc="outside upper right", ncols=n_columns, title="class", frameon=False)
    return figure


def _draw_all(
    axes: Axes, milliseconds: NDArray[np.float64], outputs: NDArray[np.float64], label: int, names: list[str]
) -> None:
    """A line for each class in a colour of its own; `outputs` has shape (time, classes)."""
    for number, output in enumerate(outputs.T):
        axes.plot(milliseconds, output, color=f"C{number}", label=names[number], linewidth=_width(number, label))


def _draw_first(
    axes: Axes, milliseconds: NDArray[np.float64], outputs: NDArray[np.float64], label: int, names: list[str]
) -> None:
    """Lines in grey, but those of the label and of the largest outputs at the end, which a legend names."""
    axes.plot(milliseconds, outputs, color="lightgray", linewidth=0.5)
    largest = np.argsort(-outputs[-1], kind="stable")[:_FIRST].tolist()
    for rank, number in enumerate(dict.fromkeys([*largest, label])):
        axes.plot(milliseconds, outputs[:, number], color=f"C{rank}", label=names[number], linewidth=_width(number, label))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8, frameon=False)


def _width(number: int, label: int) -> float:
    """Of a class's line."""
    return 2.5 if number == label else 1
