"""Train a spiking network on its firing rates, then test it on rates and on spikes."""

from pathlib import Path

from ratespike.command import Job, command
from ratespike.config import Config


def train(job: Job[Config]) -> None:
    from ratespike.parts import check_and_build

    parts = check_and_build(job)  # before Lightning and MLflow are imported
    from ratespike.run import train_and_test

    train_and_test(job, parts)


if __name__ == "__main__":
    command("config", train, root=Path(__file__).resolve().parent)
