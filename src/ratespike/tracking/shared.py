"""Work that runs share: a training or a simulation that another run has done already is found by a hash, and used.

Two runs have the same training hash, a tag, if their trainings give the same network, and the same simulation hash if
their simulations differ at most in how long they are. A second tag says that the work has been done and kept.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ratespike.checked_files import check_archive, read_npz, sha256
from ratespike.parameters import ParameterError
from ratespike.tracking.kept_files import in_a_line, sign, signed
from ratespike.tracking.runs import Entity, Run
from ratespike.tracking.store import experiment_ids

TRAINING_HASH = "ratespike.training_hash"
TRAINED = "ratespike.trained"
TRAINED_IN = "ratespike.trained_in"  # the run whose training another run uses

SIMULATION_HASH = "ratespike.simulation_hash"
SIMULATED = "ratespike.simulated_steps"
SIMULATED_IN = "ratespike.simulated_in"  # the run whose simulation another run uses

_SIMULATION = "simulation"
_ARRAYS = f"results/{_SIMULATION}.npz"
_logger = logging.getLogger(__name__)
_EPOCH_METRICS = (
    *("train/loss", "train/rate_accuracy", "train/spike_operations", "train/channels_in_rate_band"),
    *("val/loss", "val/rate_accuracy", "val/spike_operations", "val/channels_in_rate_band"),
)


def take_training(run: Run, checkpoint: str) -> bool:
    """Copy a finished training of another run into this one: its best checkpoint and its epochs' metrics.

    Args:
        run: the run that needs the training, which is the one of its training hash.
        checkpoint: path of the artifact.

    Returns:
        Whether there was one.
    """
    same = f"tags.`{TRAINING_HASH}` = '{run.tag(TRAINING_HASH)}' and tags.`{TRAINED}` = 'true'"
    for other, tags in _others(run, same):
        if not _copied(other, run, checkpoint):
            continue
        _copy_epochs(other, run)
        run.tags({TRAINED_IN: tags.get(TRAINED_IN, other.id)})
        return True
    return False


def _copied(source: Run, target: Run, checkpoint: str) -> bool:
    """Whether a run had a whole checkpoint, which another one has now."""
    try:
        with signed(source, checkpoint) as path:
            if path is None:
                return False
            check_archive(path)
            target.file(path, str(Path(checkpoint).parent))
            sign(target, checkpoint, sha256(path))
    except ParameterError as error:
        _logger.warning("%s; it is trained anew", in_a_line(source, checkpoint, error))
        return False
    return True


def find_simulation(run: Run, n_steps: int) -> dict[str, np.ndarray] | None:
    """The results of a simulation of at least `n_steps` steps, by this run or another one; None if there is none.

    Args:
        run: the run that needs the simulation, which is the one of its simulation hash.
        n_steps: how many time steps are needed.

    Returns:
        The arrays that were given to `keep_simulation`; the simulation may be longer.
    """
    own_tags = run.seen().data.tags
    own = _kept_simulation(run, own_tags, n_steps)
    if own is not None:
        return own
    for other, tags in _others(run, f"tags.`{SIMULATION_HASH}` = '{own_tags[SIMULATION_HASH]}'"):
        found = _kept_simulation(other, tags, n_steps)
        if found is not None:
            run.tags({SIMULATED_IN: tags.get(SIMULATED_IN, other.id)})
            return found
    return None


def keep_simulation(run: Run, n_steps: int, arrays: dict[str, np.ndarray]) -> None:
    """Keep the results of a simulation of `n_steps` steps for other runs, and for this one if it is interrupted."""
    digest = run.arrays(_SIMULATION, arrays)
    sign(run, _ARRAYS, digest)
    run.tags({SIMULATED: str(n_steps)})  # after the file, so that it says that the file is whole


def _kept_simulation(run: Run, tags: Mapping[str, str], n_steps: int) -> dict[str, np.ndarray] | None:
    """The results that a run has kept; None if it has none, damaged ones, or of a simulation shorter than `n_steps`."""
    if int(tags.get(SIMULATED, 0)) < n_steps:
        return None
    try:
        with signed(run, _ARRAYS) as path:
            return None if path is None else read_npz(path)
    except ParameterError as error:
        _logger.warning("%s; it is simulated anew", in_a_line(run, _ARRAYS, error))
    return None


def _copy_epochs(source: Run, target: Run) -> None:
    """Log the metrics of each epoch in another run."""
    epochs: dict[int, dict[str, float]] = {}
    for name in _EPOCH_METRICS:
        for epoch, value in source.history(name).items():
            epochs.setdefault(epoch, {})[name] = value
    for epoch, values in epochs.items():
        target.metrics(values, epoch)


def _others(run: Run, same: str) -> Iterator[tuple[Run, dict[str, str]]]:
    """Other runs that a filter finds, the oldest first, with their tags; none while the store is away."""

    def search() -> list[Entity]:
        everywhere = experiment_ids(run.client)
        return list(run.client.search_runs(everywhere, same, max_results=100, order_by=["attributes.start_time"]))

    nobody: list[Entity] = []
    for found in run.read_or(search, nobody):
        if found.info.run_id != run.id:
            yield Run(run.client, found.info.run_id, ""), found.data.tags
