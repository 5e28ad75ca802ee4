"""Compare finished runs: what the step from rates to spikes costs, for each setting, over its seeds."""

from pathlib import Path

from ratespike.cli.main import command
from ratespike.config.job import Job
from ratespike.config.schemas import CompareConfig


def compare(job: Job[CompareConfig]) -> None:
    """Imports matplotlib and MLflow only now that the options are known to be good."""
    from ratespike.cli.compare import compare_runs

    compare_runs(job)


if __name__ == "__main__":
    command("compare", compare, root=Path(__file__).resolve().parent)
