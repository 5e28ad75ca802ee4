"""What one decision costs: the spiking simulation of a trained network against a forward pass of the same network with ReLUs.

python benchmarks/decision.py [--checkpoint file.ckpt] [--n-steps 1] [--start half] [--readout mean] [--early-exit 0.5]
                              [--rounds 21] [--threads 1 2]

Steps, start, read-out and early exit are those of the checkpoint, unless they are given. Each round takes 200 MNIST test
images: once through `simulate`, with all that a call costs and counts, and once through the ReLUs (PyTorch, channels last). The
two take turns. Accuracy and operations are of all test images.

Without a checkpoint the network is that of `conf/network/conv3.yaml` with integrate-and-fire neurons, random weights and
biases with which about 2 of 100 neurons spike in the first step: as active as a trained sparse network, but it decides nothing.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from problem import BATCH, ROOT
from torch import Tensor, nn

from ratespike import Simulation, simulate
from ratespike.data import MNIST, DataSet
from ratespike.network import build_network
from ratespike.neurons import Neuron
from ratespike.parameters import build
from ratespike.pipeline.checkpoint import build_trained, read_checkpoint
from ratespike.synapses import NoFilter, Synapse

ACTIVE = 0.02  # of the neurons without a checkpoint


@dataclass(frozen=True)
class Problem:
    """A network, how it is simulated, and the test images with their labels."""

    network: nn.Sequential
    options: dict[str, Any]
    images: Tensor
    labels: Tensor

    def simulate(self, first: int) -> Simulation:
        """The simulation of the batch that begins with image `first`."""
        images = self.images[first : first + BATCH]
        return simulate(self.network, images, image_index=torch.arange(first, first + len(images)), **self.options)

    def relu_network(self) -> nn.Sequential:
        """The same layers with ReLUs in place of neurons."""
        relu = nn.Sequential(*(nn.ReLU() if isinstance(layer, Neuron) else copy.deepcopy(layer) for layer in self.network))
        return relu.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def trained(path: Path) -> Problem:
    """The network and the settings of a checkpoint."""
    checkpoint = read_checkpoint(path)
    config = checkpoint.config
    settings = config["simulation"]
    options = {name: settings[name] for name in ("start", "readout", "burn_in", "early_exit", "seed")}
    synapse = build(Synapse, config["synapse"], "synapse")  # type: ignore[type-abstract]
    options |= {"n_steps": config["n_steps"], "dt": config["dt"], "synapse": synapse}
    test = build(DataSet, config["data"], "data").load(ROOT).test  # type: ignore[type-abstract]
    return Problem(build_trained(checkpoint, str(path)), options, test.as_inputs(), test.labels)


def invented() -> Problem:
    """Random weights, and biases such that few neurons spike."""
    test = MNIST(dir="data/mnist", validation_images=5000).load(ROOT).test
    images = test.as_inputs()
    torch.manual_seed(0)
    layers = yaml.safe_load((ROOT / "conf" / "network" / "conv3.yaml").read_text())["layers"]
    neuron = {"type": "IntegrateAndFire", "max_rate": 1000, "levels": 1}
    network = build_network(layers, neuron, (1, 28, 28), 10).eval()
    signal = images[:BATCH]
    with torch.no_grad():
        modules: list[Any] = list(network)
        for layer, behind in zip(modules, [*modules[1:], None], strict=True):
            signal = layer(signal)
            if isinstance(behind, Neuron):  # which spikes from 0.5 on
                shift = 0.5 - signal.flatten()[:: len(signal)].quantile(1 - ACTIVE)
                layer.bias += shift
                signal = signal + shift
    options = {"n_steps": 1, "start": "half", "readout": "mean", "synapse": NoFilter()}
    return Problem(network, options, images, test.labels)


def seconds(run: Callable[[], object]) -> float:
    """Of one call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


@torch.inference_mode()
def forward(network: nn.Module, images: Tensor) -> Tensor:
    """The answers of a network without neurons."""
    answers: Tensor = network(images).argmax(1)
    return answers


def measure(problem: Problem, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds that a batch takes on spikes, and with ReLUs, in each round."""
    relu = problem.relu_network()
    spiking: list[float] = []
    dense: list[float] = []
    for number in range(rounds + 2):  # two warm up
        first = number * BATCH % len(problem.images)
        ways: list[tuple[list[float], Callable[[], object]]] = [
            (spiking, lambda first=first: problem.simulate(first).predictions[-1]),
            (dense, partial(forward, relu, problem.images[first : first + BATCH])),
        ]
        for times, run in ways if number % 2 else ways[::-1]:
            times.append(seconds(run))
    return spiking[2:], dense[2:]


def describe(problem: Problem) -> str:
    """Accuracy, steps and operations on all test images."""
    right = 0
    steps = 0.0
    operations = 0.0
    for first in range(0, len(problem.images), BATCH):
        result = problem.simulate(first)
        right += int((result.predictions[-1] == problem.labels[first : first + BATCH]).sum())
        steps += float(result.steps.sum())
        operations += float(result.synaptic_operations.sum())
    images = len(problem.images)
    mean = f"{steps / images:.2f} steps, {operations / images / 1e6:.2f} million operations an image"
    return f"{100 * right / images:.2f} % of {images} test images, {mean}"


def quartiles(values: list[float]) -> str:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.3f} ({low:.3f}-{high:.3f})"


def main() -> None:
    """Print accuracy and operations, then times by number of threads."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--n-steps", type=int)
    parser.add_argument("--start")
    parser.add_argument("--readout")
    parser.add_argument("--early-exit", type=float)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    given = vars(parser.parse_args())
    problem = invented() if given["checkpoint"] is None else trained(given["checkpoint"])
    for name in ("n_steps", "start", "readout", "early_exit"):
        if given[name] is not None:
            problem.options[name] = given[name]
    print(describe(problem), flush=True)
    for threads in given["threads"]:
        torch.set_num_threads(threads)
        spiking, dense = measure(problem, given["rounds"])
        ratios = [one / other for one, other in zip(spiking, dense, strict=True)]
        times = f"{1000 * statistics.median(spiking):.1f} ms on spikes, {1000 * statistics.median(dense):.1f} ms with ReLUs"
        print(f"{threads} threads, batches of {BATCH}: {times}; spikes / ReLUs {quartiles(ratios)}", flush=True)


if __name__ == "__main__":
    main()
