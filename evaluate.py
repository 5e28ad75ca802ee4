"""Simulate a trained network again, with other settings, without training."""

from pathlib import Path

from ratespike.cli.main import command
from ratespike.config.job import Job
from ratespike.config.schemas import EvaluateConfig
from ratespike.pipeline.saved_settings import offer_settings


def evaluate(job: Job[EvaluateConfig]) -> None:
    from ratespike.pipeline.assembly import check_and_build

    components = check_and_build(job)  # before Lightning and MLflow are imported
    from ratespike.pipeline.run import run_experiment

    run_experiment(job, components)


if __name__ == "__main__":
    command("evaluate", evaluate, root=Path(__file__).resolve().parent, settings_of=offer_settings)
