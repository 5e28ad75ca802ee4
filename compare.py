"""Compare finished runs: what the step from rates to spikes costs, for each setting, over its seeds."""

from pathlib import Path

from ratespike.command import Job, command
from ratespike.config import CompareConfig


def compare(job: Job[CompareConfig]) -> None:
    """Imports matplotlib and MLflow only now that the options are known to be good."""
    from ratespike.compare import compare_runs

    compare_runs(job)


if __name__ == "__main__":
    command("compare", compare, root=Path(__file__).resolve().parent)
