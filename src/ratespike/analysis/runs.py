"""A finished run as a comparison sees it, and what is compared of it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from ratespike.analysis.values import find_name, parse
from ratespike.metrics import Metric, names
from ratespike.parameters import ParameterError, nearest

RATE_ACCURACY = f"test/{names.RATE_ACCURACY.name}"
SPIKING_ACCURACY = f"test/{names.SPIKING_ACCURACY.name}"
SPIKING_ACCURACY_AT = f"{SPIKING_ACCURACY}_at"  # the curve: one value a step
SECONDS = "seconds"  # a measure of the whole run

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


def n_steps(record: Record) -> int | None:
    """How many steps were simulated; None if the run does not say.

    Example:
        >>> n_steps(Record("a", "a", 0, 60.0, {"n_steps": "30"}, {}))
        30
    """
    steps = parse(record.parameters.get("n_steps", ""))
    return int(steps) if isinstance(steps, float) else None


def measures(record: Record, steps: Collection[int], read_curve: ReadCurve) -> dict[str, float]:
    """What is compared of a run, as far as it is known.

    Args:
        record: with rate and spiking accuracy.
        steps: of the simulation, after which the spiking accuracy is compared; those that the run did not reach are left out.
        read_curve: called only if the run has no metric for one of the steps.

    Returns:
        By name: all metrics (see `ratespike.metrics.names`) in the units in which they are kept, and seconds.

    Example:
        >>> run = Record("a", "a", 0, 60.0, {"n_steps": "30"}, {"test/rate_accuracy": 0.99, "test/spiking_accuracy": 0.98})
        >>> values = measures(run, [10, 30, 60], read_curve={"a": {10: 0.5}}.__getitem__)
        >>> values["spiking_accuracy_after/10_steps"], values["spiking_accuracy_after/30_steps"], values["seconds"]
        (0.5, 0.98, 60.0)
    """
    values = {}
    for metric in names.metrics():
        values.update(_values(metric, record.metrics))
        if metric.over_steps:
            values.update(_after(metric, record, steps, read_curve))
    values[names.ACCURACY_GAP.name] = record.metrics[RATE_ACCURACY] - record.metrics[SPIKING_ACCURACY]
    seconds = _seconds(record)
    if seconds is not None:
        values[SECONDS] = seconds
    return values


def layers(metric: Metric, known: Collection[str]) -> list[str]:
    """Those of the known measures that are the values of a metric per layer, sorted by the layers' names.

    Example:
        >>> layers(names.FIRING_RATE, ["seconds", "firing_rate_hz/neuron2", "firing_rate_hz/neuron1"])
        ['firing_rate_hz/neuron1', 'firing_rate_hz/neuron2']
    """
    return sorted(name for name in known if metric.of_layer(name))


def _values(metric: Metric, logged: Mapping[str, float]) -> dict[str, float]:
    """The values of a metric on the test images, by the metric's name or, if it has one for each layer, by their names."""
    wanted = [metric.name]
    if metric.per_layer:
        wanted = layers(metric, [name.removeprefix("test/") for name in logged])
    return {name: logged[f"test/{name}"] for name in wanted if f"test/{name}" in logged}


def _after(metric: Metric, record: Record, steps: Collection[int], read_curve: ReadCurve) -> dict[str, float]:
    """The values of a metric after each of the steps that the run has reached, read where that costs least."""
    last = n_steps(record)
    values = {}
    for step in steps:
        name = metric.after(step)
        value = record.metrics.get(f"test/{name}")
        if step == last:
            value = record.metrics.get(f"test/{metric.name}")
        elif value is None and metric is names.SPIKING_ACCURACY and (last is None or step < last):
            value = read_curve(record.id).get(step)
        if value is not None:
            values[name] = value
    return values


def _seconds(record: Record) -> float | None:
    """Of training and test as the run measured them, else from its start to its end."""
    measured = [record.metrics.get("train/seconds"), record.metrics.get("test/seconds")]
    known = [seconds for seconds in measured if seconds is not None]
    if not known:
        return record.duration
    return sum(known)


def select(records: Sequence[Record], where: Mapping[str, object]) -> list[Record]:
    """The runs whose parameters have the wanted values.

    Args:
        records: to choose from.
        where: value by parameter, by its full name or an unambiguous end of it; numbers are compared as numbers.

    Raises:
        ParameterError: a parameter that no run has, or a value; with the nearest ones.

    Example:
        >>> runs = [Record(tau, tau, 0, 60.0, {"neuron.tau_rc": tau}, {}) for tau in ("0.02", "0.020", "0.05")]
        >>> [run.name for run in select(runs, {"tau_rc": 0.02})]
        ['0.02', '0.020']
    """
    chosen = list(records)
    for word, wanted in where.items():
        known = {name for record in chosen for name in record.parameters}
        name = find_name(word, known, f"where.{word}: not a parameter of the runs")
        having = [record for record in chosen if name in record.parameters]
        value = parse(str(wanted))
        chosen = [record for record in having if parse(record.parameters[name]) == value]
        if not chosen:
            present = {record.parameters[name] for record in having}
            raise ParameterError(f"where.{word}={wanted}: no run has this value; {nearest(str(wanted), present)}")
    return chosen
