"""What a search by Optuna is after: one measure of the validation images, or several."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ratespike.config.job import Job
from ratespike.parameters import ParameterError, nearest

if TYPE_CHECKING:
    from ratespike.tracking.runs import Entity, Run

MORE_IS_BETTER = {
    **dict.fromkeys(("val/spiking_accuracy", "val/rate_accuracy", "val/agreement"), True),
    **dict.fromkeys(("val/accuracy_gap", "val/synaptic_operations", "val/mean_steps", "val/loss"), False),
}
_RATE_OF = "val/firing_rate_hz/"
_EXAMPLE = "objective=[val/spiking_accuracy,val/synaptic_operations] hydra.sweeper.direction=[maximize,minimize]"


@dataclass(frozen=True)
class Objective:
    """A metric, and whether more of it is better."""

    metric: str
    maximize: bool

    def check(self, layers: Collection[str]) -> None:
        """Raise `ParameterError` if it is the firing rate of none of the network's neuron layers."""
        layer = self.metric.removeprefix(_RATE_OF)
        if layer != self.metric and layer not in layers:
            raise ParameterError(f"objective={self.metric}: the network has no neurons of this name; {nearest(layer, layers)}")


def objectives(names: Any, sweeper: Any) -> tuple[Objective, ...]:
    """The objectives of a multirun, none for a sweep.

    Args:
        names: the configuration's `objective`.
        sweeper: Hydra's configuration of its sweeper.

    Raises:
        ParameterError: one of them cannot be an objective, or they are not one for each direction.
    """
    metrics = _metrics(names)
    if "direction" not in sweeper:
        if metrics:
            raise ParameterError(f"objective={','.join(metrics)}: only a search has one; add hydra/sweeper=optuna")
        return ()
    given = sweeper.direction
    words = [str(getattr(word, "name", word)) for word in ([given] if not _is_list(given) else given)]
    if not metrics:
        example = "objective=val/spiking_accuracy hydra.sweeper.direction=maximize"
        raise ParameterError(f"hydra/sweeper: a search needs an objective, for example {example}")
    if len(metrics) != len(words):
        raise ParameterError(
            f"objective={','.join(metrics)}: one is wanted for each of hydra.sweeper.direction={','.join(words)}, "
            f"for example {_EXAMPLE}"
        )
    goals = tuple(Objective(metric, word == "maximize") for metric, word in zip(metrics, words, strict=True))
    for goal in goals:
        if goal.maximize != MORE_IS_BETTER.get(goal.metric, goal.maximize):
            wrong, right = ("maximize", "minimize") if goal.maximize else ("minimize", "maximize")
            raise ParameterError(f"objective={goal.metric}: hydra.sweeper.direction={wrong} looks for the worst; give {right}")
    return goals


def is_done(job: Job[Any]) -> bool:
    """Whether a job of a sweep has finished before, which is said."""
    run = _finished(job)
    if run is not None:
        print(f"#{job.number} {run.info.run_name}: finished before, in run {run.info.run_id}", flush=True)
    return run is not None


def reached(job: Job[Any]) -> list[float] | float | None:
    """What a finished job of a search has reached, as its run keeps it; None if it has not finished or that is no number."""
    from ratespike.tracking.runs import Run, connect

    found = _finished(job)
    if found is None:
        return None
    run = Run(connect(_uri(job)), found.info.run_id, job.config.tracking.experiment)
    values = [value_of(run, metric) for metric in _metrics(job.config.objective)]
    if not all(map(math.isfinite, values)):
        return None
    return values[0] if len(values) == 1 else values


def _finished(job: Job[Any]) -> "Entity | None":
    """The run of a job of a sweep, if it has finished."""
    from ratespike.pipeline.fingerprint import config_hash
    from ratespike.tracking.runs import connect
    from ratespike.tracking.sweeps import finished_child

    try:
        return finished_child(connect(_uri(job)), job.config.tracking.parent, config_hash(job.plain))
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
    accuracies = run.history("val/rate_accuracy")
    return history[max(accuracies, key=lambda epoch: (accuracies[epoch], -epoch))]


def _metrics(names: Any) -> list[str]:
    metrics = [str(name) for name in names] if _is_list(names) else [] if names is None else [str(names)]
    for name in metrics:
        if name.startswith("test/"):
            raise ParameterError(f"objective={name}: the test images choose nothing; take val/{name.removeprefix('test/')}")
        if name not in MORE_IS_BETTER and not name.startswith(_RATE_OF):
            known = [*MORE_IS_BETTER, f"{_RATE_OF}<layer>"]
            raise ParameterError(f"objective={name}: no metric of the validation images; {nearest(name, known)}")
    return metrics


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
