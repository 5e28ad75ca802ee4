"""What the simulation costs as steps, network, firing rates, images and threads grow, what an early exit saves, what a
start costs, and whether two engines agree.

python benchmarks/scaling.py [steps | size | rate | images | threads | exit | start | engines ...]      all, if none is named

Every line is measured in a process of its own (peak memory is the whole process's, Python and PyTorch with it); times are
medians.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from problem import BATCH, ROOT, STEPS, load
from torch import nn
from torch.nn import functional as F

from ratespike import simulate
from ratespike.network import build_network
from ratespike.neurons import LIF, State
from ratespike.simulation.start import steady_currents

TEST_IMAGES = 10_000
REPETITIONS = 5


def _seconds(run: Callable[[], object]) -> float:
    """Median; the first run warms up."""
    times = []
    for _ in range(REPETITIONS + 1):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _spikes(network: nn.Sequential, images: torch.Tensor, n_steps: int = STEPS) -> None:
    for first in range(0, len(images), BATCH):
        part = images[first : first + BATCH]
        simulate(network, part, n_steps, image_index=torch.arange(first, first + len(part)))


@torch.no_grad()
def _dense(network: nn.Module, images: torch.Tensor) -> None:
    for part in images.split(BATCH):
        network(part)


def steps(n_steps: int) -> dict[str, float]:
    """Cost and memory of longer simulations, each in turns with one of 30 steps."""
    problem = load(400)
    times = []
    for _ in range(REPETITIONS + 1):
        began = time.perf_counter()
        _spikes(problem.network, problem.images, n_steps)
        between = time.perf_counter()
        _spikes(problem.network, problem.images)
        times.append((between - began, time.perf_counter() - between))
    own, ratios = [own for own, _ in times[1:]], [own / thirty for own, thirty in times[1:]]
    return {
        "ms/image": 1000 * statistics.median(own) / 400,
        "x 30 steps": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "MB": _megabytes(),
    }


def size(neurons_times: int) -> dict[str, float]:
    """The same convolutions on larger images; the dense layer's weights are drawn."""
    problem, side = load(100), 28 * round(neurons_times**0.5)
    images = F.interpolate(problem.images, size=side, mode="bilinear")
    pooled = (((side - 4) // 2) - 2) // 2
    torch.manual_seed(0)
    dense = nn.Linear(128 * pooled * pooled, 10)
    network, relu = (nn.Sequential(*layers[:-1], nn.Flatten(), dense) for layers in (problem.network, problem.relu_network))
    result = simulate(network, images[:10])
    spiking, passed = _seconds(lambda: _spikes(network, images)), _seconds(lambda: _dense(relu, images))
    return {
        "neurons": sum(result.neurons.values()),
        "M multiply-adds": float(result.synaptic_operations.sum(0).mean()) / 1e6,
        "ms/image": 1000 * spiking / len(images),
        "x ReLU pass": spiking / passed,
        "MB": _megabytes(),
    }


def rate(hz: int) -> dict[str, float]:
    """A mean rate: biases such that all channels fire, below 20 Hz a part of them at 20; weights 0, added all the same."""
    problem = load(200)
    x = (LIF().current_for(max(hz, 20)) - 1) / LIF().gain_and_bias()[0]
    with torch.no_grad():
        for layer in (*problem.network, *problem.relu_network):
            if isinstance(layer, nn.Conv2d):
                layer.weight.zero_()
                active = torch.arange(layer.out_channels) < max(1, round(layer.out_channels * hz / 20))
                layer.bias.copy_(torch.where(active, x, -1.0))  # type: ignore[union-attr]
    start = _phases(problem.network, problem.images[:1])
    measured = simulate(problem.network, problem.images[:10], start=start).firing_rates_hz()
    spiking = _seconds(lambda: simulate(problem.network, problem.images, STEPS, start=start))
    passed = _seconds(lambda: _dense(problem.relu_network, problem.images))
    few = problem.images[:32]  # the reference takes 16 at a time in any case
    reference = _seconds(lambda: simulate(problem.network, few, STEPS, start=start, engine="torch")) * len(problem.images) / 32
    return {
        "measured Hz": sum(measured.values()) / len(measured),
        "ms/image": 1000 * spiking / len(problem.images),
        "x ReLU pass": spiking / passed,
        "x PyTorch engine": spiking / reference,
    }


def _phases(network: nn.Sequential, image: torch.Tensor) -> dict[str, State]:
    """Neurons of constant currents somewhere in their firing cycles."""
    start = {}
    neurons = [(name, module) for name, module in network.named_modules() if isinstance(module, LIF)]
    for (name, neuron), current in zip(neurons, steady_currents(network, image[None], len(neurons)), strict=True):
        start[name] = neuron.steady_state(current, torch.rand_like(current), 0.001)
    return start


def images(n_images: int) -> dict[str, float]:
    """One call of `simulate` for many images, once, in a new process."""
    problem = load(n_images)
    began = time.perf_counter()
    simulate(problem.network, problem.images, STEPS)
    return {"ms/image": 1000 * (time.perf_counter() - began) / n_images, "MB": _megabytes()}


def threads(number: int) -> dict[str, float]:
    """Cost by number of threads."""
    torch.set_num_threads(number)
    problem = load(400)
    return {"ms/image": 1000 * _seconds(lambda: _spikes(problem.network, problem.images)) / 400}


def early_exit(hundredths: int) -> dict[str, float]:
    """An early exit at this lead, in turns with none."""
    problem = load(400)
    times: dict[float | None, list[float]] = {hundredths / 100: [], None: []}
    measured = {}
    for _ in range(REPETITIONS + 1):
        for margin, took in times.items():
            began = time.perf_counter()
            result = simulate(problem.network, problem.images, STEPS, early_exit=margin)
            took.append(time.perf_counter() - began)
            right = float((result.predictions[-1] == problem.labels).double().mean())
            operations = float(result.synaptic_operations.sum(0).mean()) / 1e6
            measured[margin] = (float(result.steps.double().mean()), operations, right)
    (exits, own), (_, whole) = times.items()
    mean_steps, operations, right = measured[exits]
    return {
        "steps": mean_steps,
        "M multiply-adds": operations,
        "x no exit": statistics.median(one / other for one, other in zip(own[1:], whole[1:], strict=True)),
        "accuracy": right,
        "accuracy without": measured[None][2],
    }


def start(threads: int) -> dict[str, float]:
    """A steady phase in turns with a uniform start, by number of threads; processor time of 200 images, random weights."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    layers = yaml.safe_load((ROOT / "conf" / "network" / "conv3.yaml").read_text())["layers"]
    network = build_network(layers, {"type": "LIF", "sigma": 0.02}, (1, 28, 28), 10)
    images = torch.rand(BATCH, 1, 28, 28)
    times: dict[str, list[float]] = {"uniform": [], "steady_phase": []}
    operations: dict[str, float] = {}
    for _ in range(REPETITIONS + 1):
        for word, took in times.items():
            began = time.process_time()
            result = simulate(network, images, STEPS, start=word)
            took.append(time.process_time() - began)
            operations[word] = float(result.synaptic_operations.sum(0).mean())
    uniform, steady = (took[1:] for took in times.values())
    ratios = [one / other for one, other in zip(steady, uniform, strict=True)]
    return {
        "x uniform": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "x operations": operations["steady_phase"] / operations["uniform"],
        "ms/image": 1000 * statistics.median(steady) / BATCH,
    }


def engines(bits: int) -> dict[str, float]:
    """1 000 images on both engines."""
    problem, dtype = load(1000), {32: torch.float32, 64: torch.float64}[bits]
    network, shown = problem.network.to(dtype), problem.images.to(dtype)
    layers = [name for name, layer in network.named_children() if isinstance(layer, LIF)]
    spikes, differ, right = 0, 0, {"event_driven": 0, "torch": 0}
    for first in range(0, len(shown), 40):
        part, index = shown[first : first + 40], torch.arange(first, first + 40)
        both = {e: simulate(network, part, STEPS, image_index=index, record=layers, engine=e) for e in right}
        for name in layers:
            mine, reference = (result.recordings[name] for result in both.values())
            spikes += int(reference.sum())
            differ += int((mine != reference).sum())
        for engine, result in both.items():
            right[engine] += int((result.predictions[-1] == problem.labels[first : first + 40]).sum())
    return {
        "spikes": spikes,
        "differ": differ,
        "fraction": differ / spikes,
        "accuracy differs": (right["event_driven"] - right["torch"]) / 1000,
    }


CASES: dict[str, tuple[Callable[[int], dict[str, float]], tuple[int, ...]]] = {
    "steps": (steps, (10, 30, 100, 300)),
    "size": (size, (1, 4, 16)),
    "rate": (rate, (1, 3, 10, 30, 100, 300)),
    "images": (images, (100, 1000, TEST_IMAGES)),
    "threads": (threads, (1, 2)),
    "exit": (early_exit, (50,)),
    "start": (start, (1, 2)),
    "engines": (engines, (32, 64)),
}


def main() -> None:
    """Run each case in a process of its own."""
    if len(sys.argv) == 3 and sys.argv[2].isdigit():
        print(json.dumps(CASES[sys.argv[1]][0](int(sys.argv[2]))))
        return
    for name in sys.argv[1:] or CASES:
        case, values = CASES[name]
        print(f"\n{name}: {case.__doc__}")
        for value in values:
            command = [sys.executable, Path(__file__), name, str(value)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
            measured = json.loads(done.stdout.splitlines()[-1])
            print(f"  {value:6d}  " + "  ".join(f"{key} {number:.4g}" for key, number in measured.items()), flush=True)


if __name__ == "__main__":
    main()
