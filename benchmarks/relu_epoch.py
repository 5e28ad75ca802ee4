"""Seconds an epoch takes in a plain PyTorch loop: the network of `conf/network/conv3.yaml` with ReLUs, Adam, batch 200.

python benchmarks/relu_epoch.py
"""

import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from ratespike.data import MNIST

ROOT = Path(__file__).parents[1]


def epoch(network: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor, labels: torch.Tensor) -> None:
    """One pass over all images in random order."""
    for index in torch.randperm(len(images)).split(200):
        optimizer.zero_grad()
        F.cross_entropy(network(images[index]), labels[index]).backward()
        optimizer.step()


def main() -> None:
    """Train for one epoch and print its time."""
    train = MNIST(dir="data/mnist", validation_images=5000).load(ROOT).train
    images, labels = train.pixels.float() / 255, train.labels
    network = nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(64, 128, 3), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(128 * 5 * 5, 10)),
    )
    began = time.perf_counter()
    epoch(network, torch.optim.Adam(network.parameters()), images, labels)
    print(f"{time.perf_counter() - began:.1f} s for one epoch of {len(images)} images")


if __name__ == "__main__":
    main()
