"""The figure of a diagnosis."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ratespike.diagnosis.decomposition import PARTS
from ratespike.diagnosis.diagnosis import Diagnosis

_WIDTH = 60  # characters of a remedy's label at most


def draw(found: Diagnosis) -> Figure:
    """Three panels: the parts of each layer's error, the swap test, and the accuracy with each remedy that was tried."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    errors, swaps, remedies = figure.subplots(1, 3)
    _draw_errors(errors, found)
    _draw_swaps(swaps, found)
    _draw_remedies(remedies, found)
    return figure


def _draw_errors(axes: Axes, found: Diagnosis) -> None:
    """A bar for each layer, as high as its error, of which each part takes its share; parts below 0 hang down."""
    names = [error.name for error in found.errors]
    above = [0.0] * len(names)
    below = [0.0] * len(names)
    for number, part in enumerate([*PARTS, "rest"]):
        heights = []
        for error in found.errors:
            share = error.rest if part == "rest" else error.parts.get(part, 0.0)
            heights.append(100 * error.size * share)
        if not any(abs(height) > 0.05 for height in heights):
            continue
        bottoms = [below[place] if height < 0 else above[place] for place, height in enumerate(heights)]
        axes.bar(names, heights, bottom=bottoms, label=part, color=f"C{number}")
        for place, height in enumerate(heights):
            if height < 0:
                below[place] += height
            else:
                above[place] += height
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(ylabel="error relative to rates (%)", title="what the error is made of")
    axes.tick_params(axis="x", rotation=45)
    axes.legend(fontsize=8)


def _draw_swaps(axes: Axes, found: Diagnosis) -> None:
    """The accuracy with one layer of another mode, between those of rates and of spikes."""
    names = [layer.name for layer in found.swapped]
    axes.plot(names, [100 * layer.only_on_spikes for layer in found.swapped], "o", label="spikes here alone")
    axes.plot(names, [100 * layer.only_on_rates for layer in found.swapped], "s", label="rates here alone")
    axes.axhline(100 * found.rate_accuracy_looked_at, color="black", linestyle="--", linewidth=1, label="rates")
    axes.axhline(100 * found.spiking_accuracy_looked_at, color="C3", linewidth=1, label="spikes")
    axes.set(ylabel=f"the first {found.looked_at} images (%)", title="one layer swapped")
    axes.tick_params(axis="x", rotation=45)
    axes.legend(fontsize=8)


def _draw_remedies(axes: Axes, found: Diagnosis) -> None:
    """A bar for each remedy, that of the advice filled."""
    labels = ["as it is", *(remedy.override[:_WIDTH] for remedy in found.tried)]
    places = list(range(len(labels)))
    values = [100 * found.spiking_accuracy, *(100 * remedy.accuracy for remedy in found.tried)]
    colors = ["C3", *("C2" if remedy is found.advised else "lightgray" for remedy in found.tried)]
    axes.barh(places, values, color=colors)
    for place, label in zip(places, labels, strict=True):
        axes.text(1, place, label, va="center", fontsize=8)
    axes.set_yticks([])
    axes.invert_yaxis()
    axes.set(xlabel="images right on spikes (%)", title="remedies tried", xlim=(0, 100))
