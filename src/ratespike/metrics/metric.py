"""What a metric is: a name, a label, a unit, a direction, and how its value follows from the results of a test.

Nothing here imports torch, so that `compare.py` and the command line's checks answer without it. The metrics themselves stand
in `names.py` and in `metrics/added/`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from ratespike.metrics.results import Results
    from ratespike.simulation import Simulation

    Compute = Callable[[Results], float | Mapping[str, float] | None]
    OfEachImage = Callable[[Tensor, Simulation, Tensor], Tensor]


@dataclass(frozen=True)
class Unit:
    """How people read a quantity that is kept as a plain number.

    Attributes:
        symbol: stands after a value, and in brackets in the header of a column.
        scale: what is shown for a kept value of 1.
        decimals: of the value of one run.
        mean_digits: significant digits of a mean over runs; None for `decimals` decimals.
        yes_below: of a quantity that answers a question, the value below which the answer is yes; None for no question.

    Example:
        >>> PERCENT.show(0.9875), MILLION.show(3_840_000), Unit("", decimals=1).show(12.34)
        ('98.75 %', '3.84 million', '12.3')
        >>> Unit("of the budget", yes_below=1).show(0.062)
        'yes, 0.06 of the budget'
    """

    symbol: str
    scale: float = 1.0
    decimals: int = 2
    mean_digits: int | None = None
    yes_below: float | None = None

    def show(self, value: float) -> str:
        """A kept value as people read it."""
        return f"{self.answer(value)}{value * self.scale:.{self.decimals}f} {self.symbol}".rstrip()

    def answer(self, value: float) -> str:
        """What stands before a kept value that answers a question; nothing before others."""
        if self.yes_below is None:
            return ""
        return "yes, " if value < self.yes_below else "no, "


PERCENT = Unit("%", scale=100)
POINTS = Unit("points", scale=100)
HERTZ = Unit("Hz", decimals=1)
MILLION = Unit("million", scale=1e-6, mean_digits=3)
STEPS = Unit("", decimals=1, mean_digits=3)
TIMES = Unit("\N{MULTIPLICATION SIGN}", decimals=3, mean_digits=3, yes_below=1)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One quantity that is measured of a network.

    Attributes:
        name: MLflow logs it as `test/<name>` and `val/<name>`, of a metric per layer as `test/<name>/<layer>`.
        label: names it in the table of a run.
        unit: how its values are shown.
        more_is_better: None if neither direction is; a search may then go in both.
        compute: the value, of a metric per layer the values by layer; None if each epoch of the training logs it instead. The
            function returns None where the results do not hold what it needs.
        column: names it in the groups' table of a comparison; None for `label`.
        in_groups: whether it has a column there. In a narrow terminal only those that are there "always" stay.
        per_layer: whether each neuron layer has a value.
        over_steps: whether tables show it after fewer steps too, as `test/<name>_after/<steps>_steps`.
        shown_if: given the value and the number of steps, whether the value is worth a line; None for always.
        row_if: given the results of a run, whether its table has a row of it; None for always.
        least_classes: of data with fewer classes it says nothing, and is neither logged nor shown.
        of_each_image: for what `Results` do not hold otherwise. Given the outputs on rates (batch, classes), the simulation
            and the labels (batch,), the quantity of each image in or after each step (time, batch). Its mean over the images
            is `Results.image_means[name]`.

    Example:
        >>> energy = Metric(
        ...     name="energy", label="energy an image", unit=Unit("J"), more_is_better=False, compute=lambda results: 2e-3
        ... )
        >>> energy.header, energy.header_with(", 5 steps"), energy.after(5)
        ('energy an image (J)', 'energy an image, 5 steps (J)', 'energy_after/5_steps')
    """

    name: str
    label: str
    unit: Unit
    more_is_better: bool | None
    compute: "Compute | None"
    column: str | None = None
    in_groups: Literal["always", "where there is room", "never"] = "where there is room"
    per_layer: bool = False
    over_steps: bool = False
    shown_if: Callable[[float, int], bool] | None = None
    row_if: "Callable[[Results], bool] | None" = None
    least_classes: int = 1
    of_each_image: "OfEachImage | None" = None

    @property
    def column_name(self) -> str:
        """Of its column in the groups' table, without the unit."""
        name = self.label if self.column is None else self.column
        if self.per_layer:
            return f"{name} by layer"
        return name

    @property
    def header(self) -> str:
        """Of its column in the groups' table, with the unit."""
        return self.header_with("")

    def header_with(self, detail: str) -> str:
        """The header of a column that shows the metric under a condition, such as `, 5 steps`."""
        header = f"{self.column_name}{detail}"
        if self.unit.symbol:
            header += f" ({self.unit.symbol})"
        return header

    def after(self, steps: int) -> str:
        """The name under which the value after so many steps is kept."""
        return f"{self.name}_after/{steps}_steps"

    def of_layer(self, name: str) -> str | None:
        """The layer whose value a name stands for; None if it is no name of this metric, or this metric has no layers."""
        prefix = f"{self.name}/"
        if not self.per_layer or not name.startswith(prefix):
            return None
        return name.removeprefix(prefix)

    def suits(self, classes: int) -> bool:
        """Whether it says something of data with so many classes."""
        return classes >= self.least_classes

    def values(self, results: "Results") -> dict[str, float]:
        """The value by name, of a metric per layer one for each layer; nothing if it has none, or if a training logs it."""
        if self.compute is None or not self.suits(results.classes):
            return {}
        value = self.compute(results)
        if value is None:
            return {}
        if isinstance(value, Mapping):
            return {f"{self.name}/{layer}": own for layer, own in value.items()}
        return {self.name: value}
