"""Each image beside the network's filtered outputs while it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from ratespike.pipeline.plots import PlotData, short_names

_CLASSES_WITH_COLOURS = 10  # that Matplotlib has
_FIRST = 4  # of more classes those with the largest outputs have a colour


@dataclass(frozen=True)
class ShownImages:
    """Images and the network's outputs for them.

    Attributes:
        images: in [0, 1], shape (images, channels, height, width).
        outputs: shape (time, images, classes).
        dt: length of a step, seconds.
        marked: for each image the class whose line is thick.
        titles: one for each image.
        class_names: the name of each class, by its number.
    """

    images: Tensor
    outputs: NDArray[np.float64]
    dt: float
    marked: Sequence[int]
    titles: Sequence[str]
    class_names: Sequence[str]


def draw(data: PlotData) -> Figure:
    """A row for each image: the image, and the output of each class over time, that of the label in a thick line."""
    names = data.short_names(30)
    labels = data.labels.tolist()
    predicted = data.outputs[-1].argmax(dim=-1).tolist()
    titles = [f"label {names[label]}, predicted {names[own]}" for label, own in zip(labels, predicted, strict=True)]
    return draw_outputs(
        ShownImages(data.images, data.outputs.numpy(), data.results.dt, labels, titles, data.class_names),
    )


def draw_outputs(shown: ShownImages) -> Figure:
    """A row for each image: the image, and the output of each class over time."""
    outputs = shown.outputs
    n_steps, n_images, n_classes = outputs.shape
    names = short_names(shown.class_names, 30)
    milliseconds = np.arange(1, n_steps + 1) * shown.dt * 1000
    figure = Figure(figsize=(9, 2.2 * n_images), layout="constrained")
    axes = figure.subplots(n_images, 2, width_ratios=(1, 3), squeeze=False)
    for number, (picture, curves) in enumerate(axes):
        _draw_image(picture, shown.images[number])
        label = shown.marked[number]
        curves.set_title(shown.titles[number], fontsize=9)
        curves.set_xlim(0, milliseconds[-1])
        if n_classes <= _CLASSES_WITH_COLOURS:
            _draw_all(curves, milliseconds, outputs[:, number], label, short_names(shown.class_names, max(12, 60 // n_classes)))
        else:
            _draw_first(curves, milliseconds, outputs[:, number], label, names)
    axes[-1, 1].set_xlabel("time (ms)")
    axes[n_images // 2, 1].set_ylabel("filtered output")
    if n_classes <= _CLASSES_WITH_COLOURS:
        handles, labels = axes[0, 1].get_legend_handles_labels()
        n_columns = n_classes if sum(map(len, labels)) < 30 else 5
        figure.legend(handles, labels, loc="outside upper right", ncols=n_columns, title="class", frameon=False)
    return figure


def _draw_image(axes: Axes, image: Tensor) -> None:
    """An image of one channel in grey, of three in colour, of others the mean in grey."""
    if len(image) == 3:
        axes.imshow(image.permute(1, 2, 0).clamp(0, 1).numpy())
    else:
        axes.imshow(image.mean(dim=0).numpy(), cmap="gray")
    axes.set_axis_off()


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
