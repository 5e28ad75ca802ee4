"""Why accuracy falls from rates to spikes: `diagnose(network, images, labels)`."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from ratespike.diagnosis.activity import LayerActivity
from ratespike.diagnosis.advice import Tried, advised, try_remedies
from ratespike.diagnosis.case import Case
from ratespike.diagnosis.causes import Evidence
from ratespike.diagnosis.decomposition import PARTS, LayerError
from ratespike.diagnosis.lost import LostImage, lost_images
from ratespike.diagnosis.measured import measure
from ratespike.diagnosis.swap import Swapped, swap

_LOOKED_AT = 200  # images whose layers are looked at, and with which layers are swapped


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a network on spikes.

    Attributes:
        images: how many were diagnosed.
        looked_at: how many of them the rows of layers are of, and the swap test.
        n_steps: how many steps were simulated.
        rate_accuracy: on rates, of all diagnosed images.
        spiking_accuracy: on spikes.
        rate_accuracy_looked_at: on rates, of the images that were looked at.
        spiking_accuracy_looked_at: on spikes, of these.
        errors: of each layer of neurons, in the order of their calls, and of the output.
        activity: of each layer of neurons.
        swapped: of each layer of neurons.
        lost: the images that rates have right and spikes wrong.
        tried: the remedies of all causes whose evidence was there.
        advised: the one of them to try; None: none gains anything beyond chance.
    """

    images: int
    looked_at: int
    n_steps: int
    rate_accuracy: float
    spiking_accuracy: float
    rate_accuracy_looked_at: float
    spiking_accuracy_looked_at: float
    errors: list[LayerError]
    activity: list[LayerActivity]
    swapped: list[Swapped]
    lost: list[LostImage]
    tried: list[Tried]
    advised: Tried | None

    @property
    def advice(self) -> str:
        """One sentence: what was found and the override to try; or that nothing gains anything."""
        now = f"{100 * self.spiking_accuracy:.1f} % of {self.images} images"
        if self.advised is None:
            return f"Nothing to mend: spikes have {now} right, and no remedy gains more than chance explains."
        found = self.advised
        finding = found.finding[:1].upper() + found.finding[1:]
        how = "try" if found.program == "evaluate" else "train with"
        then = f"{100 * found.accuracy:.1f} % are right in place of {now}"
        return f"{finding} ({found.cause}): {how} {found.override}, by which {then}."

    def columns(self) -> list[str]:
        """The names of the table's columns: those of parts that no layer has are left out."""
        shown = [part for part in PARTS if any(abs(error.parts.get(part, 0.0)) >= 0.005 for error in self.errors)]
        return ["layer", "error", *shown, "rest", "dead", "silent", "saturated", "only here spikes", "only here rates"]

    def rows(self) -> list[list[str]]:
        """The table's rows: of each layer its error, the parts of it, its neurons and the swap test, in per cent."""
        parts = self.columns()[2:-6]
        activity = {layer.name: layer for layer in self.activity}
        swapped = {layer.name: layer for layer in self.swapped}
        rows = []
        for error in self.errors:
            row = [error.name, _percent(error.size)]
            row += [_percent(error.parts[part]) if part in error.parts else "" for part in parts]
            row.append(_percent(error.rest))
            if error.name in activity:
                neurons, swaps = activity[error.name], swapped[error.name]
                row += [_percent(value) for value in (neurons.dead, neurons.silent, neurons.saturated)]
                row += [_percent(value) for value in (swaps.only_on_spikes, swaps.only_on_rates)]
            rows.append(row + [""] * (len(self.columns()) - len(row)))
        return rows

    def markdown(self) -> str:
        """Accuracies, the table and the advice."""
        columns = self.columns()
        lines = [f"| {' | '.join(columns)} |", f"| {' | '.join('---' for _ in columns)} |"]
        lines += [f"| {' | '.join(row)} |" for row in self.rows()]
        return f"{self.summary}\n\n" + "\n".join(lines) + f"\n\n{self.advice}\n"

    @property
    def summary(self) -> str:
        """The accuracies and what was looked at, in a line."""
        return (
            f"{self.images} images: {100 * self.rate_accuracy:.2f} % right on rates, {100 * self.spiking_accuracy:.2f} % on "
            f"spikes after {self.n_steps} steps, {len(self.lost)} lost; layers of the first {self.looked_at}, per cent"
        )

    def metrics(self) -> dict[str, float]:
        """All numbers by name, without a prefix."""
        values = {
            "images": float(self.images),
            "rate_accuracy": self.rate_accuracy,
            "spiking_accuracy": self.spiking_accuracy,
            "lost_images": float(len(self.lost)),
        }
        for error in self.errors:
            values[f"error/{error.name}"] = error.size
            values[f"rest/{error.name}"] = error.rest
            for part, share in error.parts.items():
                values[f"{part.replace(' ', '_')}/{error.name}"] = share
        for layer in self.activity:
            values[f"dead/{layer.name}"] = layer.dead
            values[f"silent/{layer.name}"] = layer.silent
            values[f"saturated/{layer.name}"] = layer.saturated
        for swaps in self.swapped:
            values[f"only_on_spikes/{swaps.name}"] = swaps.only_on_spikes
            values[f"only_on_rates/{swaps.name}"] = swaps.only_on_rates
        return values


def diagnose(
    network: nn.Module,
    images: Float[Tensor, "images ..."],
    labels: Int[Tensor, " images"],
    n_steps: int = 30,
    dt: float = 0.001,
    **settings: Any,
) -> Diagnosis:
    """Find out why a network is right less often on spikes than on rates.

    Args:
        network: any that `ratespike.simulate` runs; of a conversion, what it has made.
        images: that it was not trained on, and of no test whose result is to be reported: advice is a choice.
        labels: their classes.
        n_steps: how many steps.
        dt: length of a step, seconds.
        settings: the other attributes of `Case`: `start`, `readout`, `synapse`, `training` and so on.

    Raises:
        ParameterError: what `ratespike.simulate` refuses, or images and labels that do not belong together.

    Example:
        >>> import torch
        >>> from ratespike.neurons import IntegrateAndFire
        >>> network = nn.Sequential(nn.Linear(4, 8), IntegrateAndFire(max_rate=1000), nn.Linear(8, 3))
        >>> found = diagnose(network, torch.rand(20, 4), torch.zeros(20).long(), n_steps=8, start="half")
        >>> [error.name for error in found.errors]
        ['1', 'output']
    """
    return diagnose_case(Case(network=network, images=images, labels=labels, n_steps=n_steps, dt=dt, **settings))


def diagnose_case(case: Case) -> Diagnosis:
    """The same of a `Case`."""
    case.check()
    spikes = case.answers()
    case.check_classes(spikes.shape[1])
    rates = case.rates()
    right = spikes.argmax(1) == case.labels
    right_on_rates = rates.argmax(1) == case.labels
    some = case.first(_LOOKED_AT)
    measured = measure(some)
    tried = try_remedies(Evidence(case, measured.errors, measured.activity), right)
    return Diagnosis(
        images=len(case.images),
        looked_at=len(some.images),
        n_steps=case.n_steps,
        rate_accuracy=_accuracy(right_on_rates),
        spiking_accuracy=_accuracy(right),
        rate_accuracy_looked_at=_accuracy(right_on_rates[:_LOOKED_AT]),
        spiking_accuracy_looked_at=_accuracy(right[:_LOOKED_AT]),
        errors=measured.errors,
        activity=measured.activity,
        swapped=swap(some),
        lost=lost_images(rates, spikes, case.labels, case.index),
        tried=tried,
        advised=advised(tried),
    )


def _accuracy(right: Tensor) -> float:
    return float(right.double().mean())


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"
