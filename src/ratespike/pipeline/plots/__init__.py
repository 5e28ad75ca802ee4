"""The figures of one run: one file each, found by itself.

The file's name is the figure's, which is kept as `figures/<name>.png`; its function `draw` makes it, or returns None where the
results do not hold what it shows. Nothing is read or written here. How to add one: docs/adding_a_figure.md.
"""

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor

from ratespike.metrics import Results


@dataclass(frozen=True)
class PlotData:
    """What the figures of a run show.

    Attributes:
        images: a few of the test images, in [0, 1].
        labels: their classes.
        outputs: what the network reads out of its spikes for them, after each step.
        results: of all test images.
        class_names: the name of each class, by its number.
    """

    images: Float[Tensor, "images channels height width"]
    labels: Int[Tensor, " images"]
    outputs: Float[Tensor, "time images classes"]
    results: Results
    class_names: tuple[str, ...]

    def short_names(self, length: int) -> list[str]:
        """The classes' names as Matplotlib takes them, long ones with an ellipsis in the middle.

        Args:
            length: characters of a name at most.
        """
        return short_names(self.class_names, length)


def run_figures(
    images: Float[Tensor, "images channels height width"],
    labels: Int[Tensor, " images"],
    outputs: Float[Tensor, "time images classes"],
    results: Results,
    class_names: tuple[str, ...],
) -> dict[str, Figure]:
    """Draw all figures of a run.

    Args:
        images: the test images that are shown, in [0, 1].
        labels: their classes.
        outputs: of the simulation of these images.
        results: of all test images.
        class_names: the name of each class, by its number.

    Returns:
        The figures by name.
    """
    data = PlotData(images, labels, outputs, results, class_names)
    figures = {}
    for file in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{file.name}")
        figure = module.draw(data)
        if figure is not None:
            figures[file.name] = figure
    return figures


def short_names(class_names: Sequence[str], length: int) -> list[str]:
    """Names as Matplotlib takes them, long ones with an ellipsis in the middle.

    Args:
        class_names: any names.
        length: characters of a name at most.

    Example:
        >>> short_names(["cat", "a very long name of a class"], 11)
        ['cat', 'a ver…class']
    """
    return [_literal(_shortened(name, length)) for name in class_names]


def _shortened(name: str, length: int) -> str:
    """A name in one line of at most `length` characters: names that are alike often differ at their ends."""
    words = " ".join(name.split())
    if len(words) <= length:
        return words
    end = (length - 1) // 2
    return f"{words[: length - 1 - end]}…{words[-end:]}"


def _literal(name: str) -> str:
    """A name that Matplotlib neither reads as a formula nor, for its underscore, leaves out of a legend."""
    escaped = name.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped
