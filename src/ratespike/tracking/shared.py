"""What runs share: a training or a simulation that one of them has done already."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ratespike.tracking.runs import Run, experiment_ids

TRAINING_HASH, TRAINED = "ratespike.training_hash", "ratespike.trained"
SIMULATION_HASH, SIMULATED = "ratespike.simulation_hash", "ratespike.simulated_steps"
TRAINED_IN, SIMULATED_IN = "ratespike.trained_in", "ratespike.simulated_in"
_OF_EPOCHS = ("train/loss", "train/rate_accuracy", "val/loss", "val/rate_accuracy")


def take_training(run: Run, checkpoint: str) -> bool:
    """Take over a finished training of another run: its best checkpoint and its epochs' metrics.

    Args:
        run: the run that needs it, which says so by its training hash.
        checkpoint: path of the artifact.

    Returns:
        Whether there was one.
    """
    same = f"tags.`{TRAINING_HASH}` = '{run.tag(TRAINING_HASH)}' and tags.`{TRAINED}` = 'true'"
    for other, tags in _others(run, same):
        with other.artifact(checkpoint) as path:
            if path is None:
                continue
            run.file(path, str(Path(checkpoint).parent))
        epochs: dict[int, dict[str, float]] = {}
        for name in _OF_EPOCHS:
            for step, value in other.history(name).items():
                epochs.setdefault(step, {})[name] = value
        for step, values in epochs.items():
            run.metrics(values, step)
        run.tags({TRAINED_IN: tags.get(TRAINED_IN, other.id)})
        return True
    return False


def find_simulation(run: Run, n_steps: int) -> dict[str, np.ndarray] | None:
    """The results of a simulation, this run's or another's, that differs at most by being longer; None if there is none."""
    own = run.client.get_run(run.id).data.tags
    for other, tags in ((run, own), *_others(run, f"tags.`{SIMULATION_HASH}` = '{own[SIMULATION_HASH]}'")):
        if int(tags.get(SIMULATED, 0)) < n_steps:
            continue
        with other.artifact("results/simulation.npz") as path:
            if path is None:
                continue
            with np.load(path) as arrays:
                found = dict(arrays)
        if other is not run:
            run.tags({SIMULATED_IN: tags.get(SIMULATED_IN, other.id)})
        return found
    return None


def keep_simulation(run: Run, n_steps: int, arrays: dict[str, np.ndarray]) -> None:
    """Keep the results of a simulation of `n_steps` steps for other runs, and for this one if it is interrupted."""
    run.arrays("simulation", arrays)
    run.tags({SIMULATED: str(n_steps)})  # says that the file is whole


def _others(run: Run, same: str) -> Iterator[tuple[Run, dict[str, str]]]:
    """Other runs that a filter finds, the oldest first, with their tags."""
    experiments = experiment_ids(run.client)
    for found in run.client.search_runs(experiments, same, max_results=100, order_by=["attributes.start_time"]):
        if found.info.run_id != run.id:
            yield Run(run.client, found.info.run_id, ""), found.data.tags
