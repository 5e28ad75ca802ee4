"""Train a spiking network on its firing rates, then test it on rates and on spikes."""

from ratespike.config import Job, command


@command
def train(job: Job) -> None:
    from ratespike.run import train_and_test  # imports torch: not before the configuration is known to be good

    train_and_test(job)


if __name__ == "__main__":
    train()
