"""What a training step costs, in turns: ReLUs in a plain PyTorch loop, our neurons in the same loop, the Lightning program.

python benchmarks/training.py [rounds]
"""

import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from pytorch_lightning import Trainer
from torch import nn
from torch.nn import functional as F

from ratespike.config.schemas import SimulationConfig
from ratespike.data import MNIST, Splits
from ratespike.metrics import RateVsSpike
from ratespike.neurons import LIF
from ratespike.pipeline.classifier import Classifier
from ratespike.pipeline.datamodule import DataModule
from ratespike.pipeline.forwards import Rates
from ratespike.pipeline.losses import CrossEntropy
from ratespike.pipeline.optimizers import Adam
from ratespike.pipeline.simulator import Simulator
from ratespike.synapses import NoFilter

ROOT = Path(__file__).parents[1]
BATCHES = 100  # of 200 images, in each turn
LEARNING_RATE = 1e-3
OURS = "soft LIF, plain loop, channels last"


def network(activation: Callable[[], nn.Module], channels_last: bool) -> nn.Sequential:
    """The network of `conf/network/conv3.yaml`."""
    layers = nn.Sequential(
        *(nn.Conv2d(1, 32, 3), activation()),
        *(nn.Conv2d(32, 64, 3), activation(), nn.AvgPool2d(2)),
        *(nn.Conv2d(64, 128, 3), activation(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(128 * 5 * 5, 10)),
    )
    return layers.to(memory_format=torch.channels_last) if channels_last else layers  # type: ignore[call-overload,no-any-return]


def plain_loop(model: nn.Module, splits: Splits) -> None:
    """One pass over the training images, as anyone would write it."""
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    images, labels = splits.train.pixels.float() / 255, splits.train.labels
    for index in torch.randperm(len(images)).split(200):
        optimizer.zero_grad()
        F.cross_entropy(model(images[index]), labels[index]).backward()
        optimizer.step()


def lightning(model: nn.Module, splits: Splits) -> None:
    """One epoch of the program's training."""
    comparison = RateVsSpike(1, 0.001, 10, {}, None)
    simulator = Simulator(SimulationConfig(), 0.001, NoFilter(), None)
    description = {"classes": 10}
    optimizer = Adam(lr=LEARNING_RATE)
    classifier = Classifier(model, Rates(), [], CrossEntropy(), optimizer, simulator, 1, comparison, 0, description)
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        use_distributed_sampler=False,
    )
    trainer.fit(classifier, DataModule(splits, 200, 0))


def main() -> None:
    """Time all ways in turns; print medians and the median of each round's ratio to ReLUs."""
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    splits = MNIST(dir="data/mnist", validation_images=5000, train_images=200 * BATCHES).load(ROOT)
    soft = partial(LIF, sigma=0.02)
    ways = {
        "ReLU, plain loop": partial(plain_loop, network(nn.ReLU, False)),
        OURS: partial(plain_loop, network(soft, True)),
        "soft LIF, Lightning": partial(lightning, network(soft, True)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for round_number in range(rounds + 1):
        for name, run in ways.items():
            began = time.perf_counter()
            run(splits)
            if round_number:  # the first warms up
                seconds[name].append(time.perf_counter() - began)
    print(f"{BATCHES} batches of 200 images, {rounds} rounds, {torch.get_num_threads()} threads")
    for name, times in seconds.items():
        milliseconds = 1000 * statistics.median(times) / BATCHES
        words = ", ".join(f"{_ratio(times, seconds[other])} {other}" for other in ("ReLU, plain loop", OURS))
        print(f"{name:36s} {milliseconds:6.1f} ms a batch, {words}")


def _ratio(times: list[float], others: list[float]) -> str:
    ratios = sorted(mine / theirs for mine, theirs in zip(times, others, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}) x"


if __name__ == "__main__":
    main()
