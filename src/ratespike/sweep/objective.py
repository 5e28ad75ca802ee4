"""What a search by Optuna is after: one measure of the validation images, or several."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ratespike.parameters import ParameterError, nearest

if TYPE_CHECKING:
    from ratespike.command import Job
    from ratespike.tracking.runs import Run

MORE_IS_BETTER = {
    **dict.fromkeys(("val/spiking_accuracy", "val/rate_accuracy", "val/agreement"), True),
    **dict.fromkeys(("val/accuracy_gap", "val/synaptic_operations", "val/mean_steps", "val/loss"), False),
}
_FIRING_RATE = re.compile(r"val/firing_rate_hz/.+")
_EXAMPLE = "objective=[val/spiking_accuracy,val/synaptic_operations] hydra.sweeper.direction=[maximize,minimize]"


@dataclass(frozen=True)
class Objective:
    """A metric, and whether more of it is better."""

    metric: str
    maximize: bool


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
    if len(metrics) != len(words):
        raise ParameterError(
            f"objective={','.join(metrics) or 'null'}: one is wanted for each of hydra.sweeper.direction={','.join(words)}, "
            f"for example {_EXAMPLE}"
        )
    goals = tuple(Objective(metric, word == "maximize") for metric, word in zip(metrics, words, strict=True))
    for goal in goals:
        if goal.maximize != MORE_IS_BETTER.get(goal.metric, goal.maximize):
            wrong, right = ("maximize", "minimize") if goal.maximize else ("minimize", "maximize")
            raise ParameterError(f"objective={goal.metric}: hydra.sweeper.direction={wrong} looks for the worst; give {right}")
    return goals


def reached(job: "Job[Any]") -> list[float] | float | None:
    """What a finished job has reached, as its run keeps it; None if it has not finished, or has no objective."""
    from ratespike.identity import config_hash
    from ratespike.tracking import address, runs
    from ratespike.tracking.runs import Run
    from ratespike.tracking.sweeps import children

    metrics = _metrics(job.config.objective)
    client = runs.connect(address.resolve(job.config.tracking.uri, job.root))
    for found in children(client, job.config.tracking.parent, config_hash(job.plain)) if metrics else ():
        if found.info.status == "FINISHED":
            values = [value_of(Run(client, found.info.run_id, job.config.tracking.experiment), metric) for metric in metrics]
            return values[0] if len(values) == 1 else values
    return None


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
        if name not in MORE_IS_BETTER and not _FIRING_RATE.fullmatch(name):
            known = [*MORE_IS_BETTER, "val/firing_rate_hz/<layer>"]
            raise ParameterError(f"objective={name}: no metric of the validation images; {nearest(name, known)}")
    return metrics


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
