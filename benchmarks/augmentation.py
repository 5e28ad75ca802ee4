"""What augmentation adds to a training: epochs of the program with and without it, in turns; then a batch by itself.

python benchmarks/augmentation.py [rounds]
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
import yaml
from torch import nn
from training import BATCHES, lightning, network

from ratespike.data import MNIST, Augmentation, Splits
from ratespike.neurons import LIF
from ratespike.parameters import build

ROOT = Path(__file__).parents[1]
OPTIONS = ("none", "digits", "photos", "all")


def option(name: str) -> Augmentation:
    """That of a file in `conf/augmentation/`."""
    folder = ROOT / "conf" / "augmentation"
    values = yaml.safe_load((folder / "none.yaml").read_text()) | yaml.safe_load((folder / f"{name}.yaml").read_text())
    values.pop("defaults", None)
    return build(Augmentation, values, "augmentation")


def epochs(splits: Splits, rounds: int) -> None:
    """Epochs with each option in turns; print medians, and the median of each round's ratio to none."""
    ways: dict[str, Callable[[], None]] = {}
    for name in OPTIONS:
        model: nn.Module = network(partial(LIF, sigma=0.02), True)
        ways[name] = partial(lightning, model, splits, option(name))
    seconds: dict[str, list[float]] = {name: [] for name in OPTIONS}
    for round_number in range(rounds + 1):
        for name in OPTIONS if round_number % 2 else reversed(OPTIONS):
            began = time.perf_counter()
            ways[name]()
            if round_number:  # the first warms up
                seconds[name].append(time.perf_counter() - began)
    print(f"{BATCHES} batches of 200 images, {rounds} rounds, {torch.get_num_threads()} threads")
    for name, times in seconds.items():
        ratios = sorted(mine / theirs for mine, theirs in zip(times, seconds["none"], strict=True))
        milliseconds = 1000 * statistics.median(times) / BATCHES
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
        print(f"{name:8s} {milliseconds:6.1f} ms a batch, {spread} x none")


def batches(channels: int, size: int) -> None:
    """Augment a batch of 200 images many times; print medians."""
    images, number = torch.rand(200, channels, size, size), torch.randperm(50_000)[:200]
    for name in OPTIONS[1:]:
        augmentation = option(name)
        times = []
        for _ in range(100):
            began = time.perf_counter()
            augmentation(images, number, seed=0, epoch=0)
            times.append(time.perf_counter() - began)
        print(f"{name:8s} {1000 * statistics.median(times):6.2f} ms for 200 images of {channels} x {size} x {size}")


def main() -> None:
    """Time epochs, then batches of grey and of colour images."""
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    epochs(MNIST(dir="data/mnist", validation_images=5000, train_images=200 * BATCHES).load(ROOT), rounds)
    batches(1, 28)
    batches(3, 32)


if __name__ == "__main__":
    main()
