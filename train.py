"""Train a spiking network on its firing rates, then test it on rates and on spikes."""

from pathlib import Path

from ratespike.cli.main import command
from ratespike.config.job import Job
from ratespike.config.schemas import Config


def train(job: Job[Config]) -> None:
    from ratespike.pipeline.assembly import check_and_build

    components = check_and_build(job)  # before Lightning and MLflow are imported
    from ratespike.pipeline.run import run_experiment

    run_experiment(job, components)


if __name__ == "__main__":
    command("config", train, root=Path(__file__).resolve().parent)
