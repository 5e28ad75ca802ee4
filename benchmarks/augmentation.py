"""What augmentation adds to a training step: steps with each option, batch by batch in turns; then a batch by itself.

python benchmarks/augmentation.py [batches] [threads]
"""

import statistics
import sys
import time
from functools import partial
from pathlib import Path

import torch
import yaml
from torch.nn import functional as F
from training import LEARNING_RATE, network

from ratespike.data import MNIST, Augmentation, Images
from ratespike.neurons import LIF
from ratespike.parameters import build
from ratespike.pipeline.datamodule import Batches

ROOT = Path(__file__).parents[1]
OPTIONS = ("none", "digits", "photos", "all")
BATCH = 200


def option(name: str) -> Augmentation:
    """That of a file in `conf/augmentation/`."""
    folder = ROOT / "conf" / "augmentation"
    values = yaml.safe_load((folder / "none.yaml").read_text()) | yaml.safe_load((folder / f"{name}.yaml").read_text())
    values.pop("defaults", None)
    return build(Augmentation, values, "augmentation")


def steps(train: Images, n_batches: int) -> None:
    """Training steps of one network, a batch of each option in turns; print medians, and the median of the turns' ratios."""
    model = network(partial(LIF, sigma=0.02), True)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    batches = {name: iter(Batches(train, BATCH, seed=0, augmentation=option(name))) for name in OPTIONS}
    seconds: dict[str, list[float]] = {name: [] for name in OPTIONS}
    for turn in range(n_batches):
        first = turn % len(OPTIONS)  # each option comes first in its turn
        for name in (*OPTIONS[first:], *OPTIONS[:first]):
            began = time.perf_counter()
            images, labels, _ = next(batches[name])
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
            if turn >= len(OPTIONS):  # the first ones warm up
                seconds[name].append(time.perf_counter() - began)
    for name, times in seconds.items():
        ratios = [mine / theirs for mine, theirs in zip(times, seconds["none"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        milliseconds = 1000 * statistics.median(times)
        print(f"{name:8s} {milliseconds:6.1f} ms a step, {middle:.3f} (quartiles {low:.3f}-{high:.3f}) x none")


def batches_alone(channels: int, size: int) -> None:
    """Augment a batch many times; print medians."""
    images, number = torch.rand(BATCH, channels, size, size), torch.randperm(50_000)[:BATCH]
    for name in OPTIONS[1:]:
        augmentation = option(name)
        times = []
        for _ in range(100):
            began = time.perf_counter()
            augmentation(images, number, seed=0, epoch=0)
            times.append(time.perf_counter() - began)
        print(f"{name:8s} {1000 * statistics.median(times):6.2f} ms for {BATCH} images of {channels} x {size} x {size}")


def main() -> None:
    """Time training steps, then batches of grey and of colour images."""
    n_batches = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    if len(sys.argv) > 2:
        torch.set_num_threads(int(sys.argv[2]))
    print(f"{n_batches} batches of {BATCH} MNIST images for each option, {torch.get_num_threads()} threads")
    steps(MNIST(dir="data/mnist", validation_images=5000).load(ROOT).train, n_batches)
    batches_alone(1, 28)
    batches_alone(3, 32)


if __name__ == "__main__":
    main()
