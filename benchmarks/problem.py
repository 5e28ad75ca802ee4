"""The fixed task of the speed tables: NengoDL's trained MNIST network, uniform start, the first 2 000 test images."""

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn

from ratespike.conversion.nengodl import load_nengodl
from ratespike.data import MNIST
from ratespike.neurons import Neuron

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "tests" / "data" / "nengodl_mnist_reference.npz"
IMAGES, BATCH, STEPS = 2000, 200, 30


@dataclass(frozen=True)
class Problem:
    """The network, the same with ReLUs (channels last), and the images with their labels."""

    network: nn.Sequential
    relu_network: nn.Sequential
    images: Tensor
    labels: Tensor


def load(n_images: int = IMAGES) -> Problem:
    """Read weights and images; `n_images` from the beginning of the test set."""
    layers = yaml.safe_load((ROOT / "conf" / "network" / "conv3.yaml").read_text())["layers"]
    network, _ = load_nengodl(WEIGHTS, layers, (1, 28, 28))
    relu = nn.Sequential(*(nn.ReLU() if isinstance(layer, Neuron) else copy.deepcopy(layer) for layer in network))
    test = MNIST(dir="data/mnist", validation_images=5000).load(ROOT).test[:n_images]
    return Problem(network, relu.to(memory_format=torch.channels_last), test.pixels.float() / 255, test.labels)  # type: ignore[call-overload]
