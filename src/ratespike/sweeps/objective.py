"""What a search by Optuna optimises: one metric of the validation images, or several.

Which metrics there are, and in which direction each is better, stands in `ratespike.metrics.names`.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ratespike.config.job import Job
from ratespike.metrics import Metric, names
from ratespike.parameters import ParameterError, nearest

if TYPE_CHECKING:
    from ratespike.tracking.runs import Entity, Run

VALIDATION = "val/"  # before a metric's name: of the validation images
_EXAMPLE = "objective=[val/spiking_accuracy,val/synaptic_operations] hydra.sweeper.direction=[maximize,minimize]"


@dataclass(frozen=True)
class Objective:
    """One thing that a search optimises.

    Attributes:
        metric: by its name in MLflow.
        maximize: whether more of it is better.
    """

    metric: str
    maximize: bool

    def check(self, layers: Collection[str], classes: int) -> None:
        """Raise `ParameterError` if a run does not measure it.

        Args:
            layers: the network's neuron layers, of one of which a firing rate is.
            classes: how many the data have.
        """
        name = self.metric.removeprefix(VALIDATION)
        metric = names.find(name)
        if metric is None:
            return
        if not metric.suits(classes):
            raise ParameterError(
                f"objective={self.metric}: is measured of {metric.least_classes} classes or more, but the data have {classes}"
            )
        layer = metric.of_layer(name)
        if layer is not None and layer not in layers:
            raise ParameterError(f"objective={self.metric}: the network has no neurons of this name; {nearest(layer, layers)}")


def objectives(wanted: Any, sweeper: Any) -> tuple[Objective, ...]:
    """The objectives of a multirun, none for a sweep.

    Args:
        wanted: the configuration's `objective`: a name, a list of names or None.
        sweeper: Hydra's configuration of its sweeper; that of a search has a `direction`.

    Raises:
        ParameterError: one of them cannot be an objective, they are not one for each direction, or a direction leads to
            the worst value.

    Example:
        >>> from omegaconf import OmegaConf
        >>> objectives("val/agreement", OmegaConf.create({"direction": "maximize"}))
        (Objective(metric='val/agreement', maximize=True),)
    """
    metrics = _checked(wanted)
    if "direction" not in sweeper:
        if metrics:
            raise ParameterError(f"objective={','.join(metrics)}: only a search has one; add hydra/sweeper=optuna")
        return ()
    directions = [str(getattr(word, "name", word)) for word in _as_list(sweeper.direction)]  # words, or optuna's enum
    if not metrics:
        example = "objective=val/spiking_accuracy hydra.sweeper.direction=maximize"
        raise ParameterError(f"hydra/sweeper: a search needs an objective, for example {example}")
    if len(metrics) != len(directions):
        raise ParameterError(
            f"objective={','.join(metrics)}: one is wanted for each of hydra.sweeper.direction={','.join(directions)}, "
            f"for example {_EXAMPLE}"
        )
    found = []
    for metric, direction in zip(metrics, directions, strict=True):
        _check_direction(metric, direction)
        found.append(Objective(metric, direction == "maximize"))
    return tuple(found)


def _checked(wanted: Any) -> list[str]:
    """The names in the configuration's `objective`, each of which is a metric of the validation images."""
    metrics = list(map(str, _as_list(wanted)))
    for name in metrics:
        if name.startswith("test/"):
            instead = VALIDATION + name.removeprefix("test/")
            raise ParameterError(f"objective={name}: the test images choose nothing; take {instead}")
        if _metric(name) is None:
            raise ParameterError(f"objective={name}: no metric of the validation images; {nearest(name, _known())}")
    return metrics


def _metric(objective: str) -> Metric | None:
    """The metric that an objective is a value of."""
    if not objective.startswith(VALIDATION):
        return None
    return names.find(objective.removeprefix(VALIDATION))


def _known() -> list[str]:
    """What can be an objective."""
    known = []
    for metric in names.metrics():
        name = f"{VALIDATION}{metric.name}"
        known.append(f"{name}/<layer>" if metric.per_layer else name)
    return known


def _check_direction(objective: str, direction: str) -> None:
    """Refuse to look for the worst value of a metric."""
    metric = _metric(objective)
    if metric is None or metric.more_is_better is None:
        return
    if (direction == "maximize") != metric.more_is_better:
        right = "maximize" if metric.more_is_better else "minimize"
        raise ParameterError(f"objective={objective}: hydra.sweeper.direction={direction} looks for the worst; give {right}")


def _as_list(value: Any) -> list[Any]:
    """None, a value or a list of values, as a list."""
    if value is None:
        return []
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(value)
    return [value]


def is_done(job: Job[Any]) -> bool:
    """Whether a job of a sweep has finished before; prints in which run."""
    run = _finished(job)
    if run is not None:
        print(f"#{job.number} {run.info.run_name}: finished before, in run {run.info.run_id}", flush=True)
    return run is not None


def reached(job: Job[Any]) -> list[float] | float | None:
    """The values of the objectives that a job of a search has reached, one or a list.

    Returns:
        None if the job has not finished, or if a value is no finite number, as the loss of a diverged training.
    """
    from ratespike.tracking.runs import Run
    from ratespike.tracking.store import connect

    found = _finished(job)
    if found is None:
        return None
    run = Run(connect(_uri(job)), found.info.run_id, job.config.tracking.experiment)
    values = [value_of(run, metric) for metric in _checked(job.config.objective)]
    if not all(map(math.isfinite, values)):
        return None
    if len(values) == 1:
        return values[0]
    return values


def _finished(job: Job[Any]) -> "Entity | None":
    """The run of a job of a sweep, if it has finished."""
    from ratespike.pipeline.fingerprint import config_hash, data_content
    from ratespike.tracking.store import connect
    from ratespike.tracking.sweeps import finished_child

    try:
        same = config_hash(job.plain, data_content(job.plain, job.root))
        return finished_child(connect(_uri(job)), job.config.tracking.parent, same)
    except ParameterError:  # the job itself reports it better
        return None


def _uri(job: Job[Any]) -> str:
    from ratespike.tracking import address

    return address.resolve(job.config.tracking.uri, job.root)


def value_of(run: "Run", metric: str) -> float:
    """A metric of the trained network; of one that each epoch logs, that of the epoch whose network was kept."""
    history = run.history(metric)
    if len(history) == 1:
        (value,) = history.values()
        return value
    if run.parameter("rate_control.type") not in (None, "NoControl"):
        return history[max(history)]
    accuracies = run.history(f"{VALIDATION}{names.RATE_ACCURACY.name}")
    kept = max(accuracies, key=lambda epoch: (accuracies[epoch], -epoch))  # the first of the best
    return history[kept]
