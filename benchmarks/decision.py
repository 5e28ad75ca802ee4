"""What one decision costs: the spiking simulation of a trained network against a forward pass of the same network with ReLUs.

python benchmarks/decision.py [--checkpoint file.ckpt] [--n-steps 1] [--start half] [--readout mean] [--early-exit 0.5]
                              [--rounds 21] [--threads 1 2]

The simulation is that of the checkpoint's settings, with its conversion, unless steps, start, read-out or early exit are
given. A threshold that `simulation.exit_loss` fitted is not in a checkpoint: give it by --early-exit. Each round takes 200
MNIST test images: once through `simulate`, with all that a call costs and counts, and once through the ReLUs (PyTorch,
channels last). The two take turns. Accuracy and operations are of all test images.

Without a checkpoint the network is that of `conf/network/conv3.yaml` with integrate-and-fire neurons, random weights and
biases with which about 2 of 100 neurons spike in the first step: as active as a trained sparse network, but it decides nothing.
"""

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from problem import BATCH, ROOT
from torch import Tensor, nn

from ratespike import Simulation
from ratespike.config.schemas import SimulationConfig
from ratespike.conversion.methods import Conversion
from ratespike.data import MNIST, DataSet
from ratespike.network import build_network
from ratespike.neurons import Neuron
from ratespike.parameters import ParameterError, build
from ratespike.pipeline.checkpoint import Checkpoint, build_trained, read_checkpoint
from ratespike.pipeline.simulator import Simulator
from ratespike.synapses import NoFilter, Synapse

ACTIVE = 0.02  # of the neurons without a checkpoint


@dataclass(frozen=True)
class Problem:
    """A network, how it is simulated, and the test images with their labels."""

    network: nn.Sequential
    spiking: nn.Module  # the same, converted
    simulator: Simulator
    n_steps: int
    images: Tensor
    labels: Tensor

    def simulate(self, first: int) -> Simulation:
        """The simulation of the batch that begins with image `first`."""
        images = self.images[first : first + BATCH]
        return self.simulator(self.spiking, images, torch.arange(first, first + len(images)), self.n_steps)

    def relu_network(self) -> nn.Sequential:
        """The same layers with ReLUs in place of neurons."""
        relu = nn.Sequential(*(nn.ReLU() if isinstance(layer, Neuron) else copy.deepcopy(layer) for layer in self.network))
        return relu.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def trained(path: Path, given: Mapping[str, Any]) -> Problem:
    """The network and the settings of a checkpoint, with others in place of some settings."""
    checkpoint = read_checkpoint(path)
    config = checkpoint.config
    simulator = simulator_of(checkpoint, given)
    splits = build(DataSet, config["data"], "data").load(ROOT)  # type: ignore[type-abstract]
    network = build_trained(checkpoint, str(path))
    spiking = simulator.converted(network, splits)
    n_steps = given.get("n_steps", config["n_steps"])
    return Problem(network, spiking, simulator, n_steps, splits.test.as_inputs(), splits.test.labels)


def simulator_of(checkpoint: Checkpoint, given: Mapping[str, Any]) -> Simulator:
    """The simulation of a checkpoint's settings, with others in place of some.

    Raises:
        ParameterError: the threshold of the early exit was fitted, and is not given.
    """
    config = checkpoint.config
    settings = SimulationConfig(**config["simulation"])
    if settings.exit_loss is not None and "early_exit" not in given:
        raise ParameterError(
            f"simulation.exit_loss={settings.exit_loss}: its threshold is not in the checkpoint; give the run's "
            "test/exit_threshold by --early-exit"
        )
    changed = {name: value for name, value in given.items() if name != "n_steps"}
    synapse = build(Synapse, config["synapse"], "synapse")  # type: ignore[type-abstract]
    conversion = build(Conversion, config.get("conversion", {"type": "AsTrained"}), "conversion")  # type: ignore[type-abstract]
    return Simulator(replace(settings, **changed), config["dt"], synapse, None, conversion)


def invented(given: Mapping[str, Any]) -> Problem:
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
    changed = {name: value for name, value in given.items() if name != "n_steps"}
    settings = replace(SimulationConfig(start="half", readout="mean"), **changed)
    simulator = Simulator(settings, 0.001, NoFilter(), None)
    return Problem(network, network, simulator, given.get("n_steps", 1), images, test.labels)


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
    arguments = parser.parse_args()
    given: dict[str, Any] = {}
    for name in ("n_steps", "start", "readout", "early_exit"):
        if getattr(arguments, name) is not None:
            given[name] = getattr(arguments, name)
    try:
        problem = invented(given) if arguments.checkpoint is None else trained(arguments.checkpoint, given)
    except ParameterError as error:
        sys.exit(str(error))
    print(describe(problem), flush=True)
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        spiking, dense = measure(problem, arguments.rounds)
        ratios = [one / other for one, other in zip(spiking, dense, strict=True)]
        times = f"{1000 * statistics.median(spiking):.1f} ms on spikes, {1000 * statistics.median(dense):.1f} ms with ReLUs"
        print(f"{threads} threads, batches of {BATCH}: {times}; spikes / ReLUs {quartiles(ratios)}", flush=True)


if __name__ == "__main__":
    main()
