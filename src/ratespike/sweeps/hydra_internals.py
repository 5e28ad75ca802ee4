"""What this project uses of Hydra that is not public; `tests/sweeps/test_hydra_internals.py` fails when it changes."""

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override

BASIC_SWEEPER = f"{BasicSweeper.__module__}.{BasicSweeper.__qualname__}"  # the `_target_` of the sweeper without a plugin


def jobs_of_basic_sweeper(overrides: list[Override]) -> list[list[str]]:
    """The overrides of each job that Hydra's own sweeper makes of a multirun's, in its order."""
    (jobs,) = BasicSweeper.split_arguments(overrides, None)  # None: all in one batch
    return jobs
