"""A finished run as a comparison sees it, and what is compared of it."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ratespike.analysis.values import find_name, parse
from ratespike.parameters import ParameterError, nearest

RATE_ACCURACY, SPIKING_ACCURACY = "test/rate_accuracy", "test/spiking_accuracy"
SPIKING_ACCURACY_AT = "test/spiking_accuracy_at"  # the curve: one value a step

ReadCurve = Callable[[str], Mapping[int, float]]
"""From a run's id to its spiking accuracy by step; costs a call to the tracking store."""


@dataclass(frozen=True, slots=True)
class Record:
    """One run.

    Attributes:
        id: MLflow's.
        name: for people.
        started: milliseconds since 1970.
        duration: seconds from start to end; None if the end is unknown.
        parameters: as MLflow keeps them, by full name.
        metrics: the last values, by full name.
    """

    id: str
    name: str
    started: int
    duration: float | None
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]


def after(step: int) -> str:
    """The name under which the spiking accuracy after so many steps is compared."""
    return f"spiking_accuracy_after/{step}_steps"


def n_steps(record: Record) -> int | None:
    """How many steps were simulated, if the run tells."""
    steps = parse(record.parameters.get("n_steps", ""))
    return int(steps) if isinstance(steps, float) else None


def measures(record: Record, steps: Collection[int], read_curve: ReadCurve) -> dict[str, float]:
    """What is compared of a run, as far as it is known.

    Args:
        record: with rate and spiking accuracy.
        steps: of the simulation, after which the spiking accuracy is compared; those that the run did not reach are left out.
        read_curve: asked only if the run has no metric for one of the steps.

    Returns:
        By name: accuracies, gap and agreement as fractions; firing rates in Hz; synaptic operations an image; seconds.

    Example:
        >>> run = Record("a", "a", 0, 60.0, {"n_steps": "30"}, {"test/rate_accuracy": 0.99, "test/spiking_accuracy": 0.98})
        >>> values = measures(run, [10, 30, 60], read_curve={"a": {10: 0.5}}.__getitem__)
        >>> values["spiking_accuracy_after/10_steps"], values["spiking_accuracy_after/30_steps"], values["seconds"]
        (0.5, 0.98, 60.0)
    """
    metrics = record.metrics
    values = {"rate_accuracy": metrics[RATE_ACCURACY], **_accuracy_after(record, steps, read_curve)}
    values["spiking_accuracy"] = metrics[SPIKING_ACCURACY]
    values["accuracy_gap"] = metrics[RATE_ACCURACY] - metrics[SPIKING_ACCURACY]
    for name in ("agreement", "mean_steps", *sorted(firing_rates(metrics)), "synaptic_operations"):
        if f"test/{name}" in metrics:
            values[name] = metrics[f"test/{name}"]
    seconds = _seconds(record)
    return values if seconds is None else {**values, "seconds": seconds}


def firing_rates(names: Iterable[str]) -> list[str]:
    """Those names, of metrics or measures, that are firing rates of layers, without the `test/`."""
    return [name.removeprefix("test/") for name in names if name.removeprefix("test/").startswith("firing_rate_hz/")]


def _accuracy_after(record: Record, steps: Collection[int], read_curve: ReadCurve) -> dict[str, float]:
    last = n_steps(record)
    values = {}
    for step in steps:
        value = record.metrics.get(f"test/{after(step)}")
        if step == last:
            value = record.metrics[SPIKING_ACCURACY]
        elif value is None and (last is None or step < last):
            value = read_curve(record.id).get(step)
        if value is not None:
            values[after(step)] = value
    return values


def _seconds(record: Record) -> float | None:
    """Of training and test as the run measured them, else from its start to its end."""
    parts = [record.metrics.get(f"{part}/seconds") for part in ("train", "test")]
    known = [part for part in parts if part is not None]
    return sum(known) if known else record.duration


def select(records: Sequence[Record], where: Mapping[str, object]) -> list[Record]:
    """The runs whose parameters have the wanted values.

    Args:
        records: to choose from.
        where: value by parameter, by its full name or an unambiguous end of it; numbers are compared as numbers.

    Raises:
        ParameterError: a parameter that no run has, or a value; with the nearest ones.
    """
    chosen = list(records)
    for word, wanted in where.items():
        known_names = {name for record in chosen for name in record.parameters}
        name = find_name(word, known_names, f"where.{word}: not a parameter of the runs")
        value = parse(str(wanted))
        found = [record for record in chosen if name in record.parameters and parse(record.parameters[name]) == value]
        if not found:
            known = {record.parameters[name] for record in chosen if name in record.parameters}
            raise ParameterError(f"where.{word}={wanted}: no run has this value; {nearest(str(wanted), known)}")
        chosen = found
    return chosen
