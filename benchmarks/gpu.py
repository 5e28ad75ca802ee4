"""Images a second on a GPU, and the memory for them: rates, spikes, and a training in single and in mixed precision.

python benchmarks/gpu.py [--device cuda] [--images 2000] [--rounds 5]

The task is that of the other benchmarks (`problem.py`): NengoDL's MNIST network, 30 steps of spikes, batches of 200 images for
rates and training. The ways take turns. Without a GPU it says so; `--device cpu` runs it there, with the reference engine too.
"""

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from problem import BATCH, IMAGES, STEPS, Problem, load
from torch import nn
from torch.nn import functional as F

from ratespike import simulate

LEARNING_RATE = 1e-3
MIB = 2**20


def on_rates(problem: Problem) -> None:
    """The rate mode of all images."""
    with torch.no_grad():
        for images in problem.images.split(BATCH):
            problem.network(images)


def on_spikes(problem: Problem) -> None:
    """A simulation of all images at once, which the reference engine cuts to its budget of memory."""
    simulate(problem.network, problem.images, STEPS, engine="torch")


def training(problem: Problem, is_mixed: bool) -> None:
    """One pass over all images as training images, by a new optimizer."""
    optimizer = torch.optim.Adam(problem.network.parameters(), LEARNING_RATE)
    mixed = torch.autocast(problem.images.device.type, torch.bfloat16) if is_mixed else contextlib.nullcontext()
    for images, labels in zip(problem.images.split(BATCH), problem.labels.split(BATCH), strict=True):
        optimizer.zero_grad()
        with mixed:
            loss = F.cross_entropy(problem.network(images), labels)
        loss.backward()
        optimizer.step()


WAYS: dict[str, Callable[[Problem], None]] = {
    "rates": on_rates,
    f"{STEPS} steps of spikes": on_spikes,
    "training": partial(training, is_mixed=False),
    "training, bf16-mixed": partial(training, is_mixed=True),
}


def measured(run: Callable[[Problem], None], problem: Problem) -> tuple[float, int]:
    """How many seconds a run takes, and how many bytes of GPU memory it has at most besides what was there before."""
    is_gpu = problem.images.device.type == "cuda"
    if is_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if is_gpu else 0
    began = time.perf_counter()
    run(problem)
    if is_gpu:
        torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() - before if is_gpu else 0
    return time.perf_counter() - began, peak


def task(device: torch.device, n_images: int) -> Problem:
    """The task on a device; each way gets its own, because a training changes the network."""
    problem = load(n_images)
    network: nn.Sequential = problem.network.to(device)
    return Problem(network, problem.relu_network, problem.images.to(device), problem.labels.to(device))


def main() -> None:
    """Time all ways in turns; print the median of images a second, its range, and the most memory."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("skipped: there is no GPU here, torch.cuda.is_available() is False; --device cpu runs it on the CPU")
    tasks = {name: task(device, options.images) for name in WAYS}
    speeds: dict[str, list[float]] = {name: [] for name in WAYS}
    peaks = dict.fromkeys(WAYS, 0)
    for round_number in range(options.rounds + 1):
        for name, run in WAYS.items():
            seconds, peak = measured(run, tasks[name])
            peaks[name] = max(peaks[name], peak)
            if round_number:  # the first warms up
                speeds[name].append(options.images / seconds)
    shown = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{shown}: {options.images} images, {options.rounds} rounds")
    for name, found in speeds.items():
        memory = f", at most {peaks[name] / MIB:.0f} MiB" if device.type == "cuda" else ""
        print(f"{name:24s} {statistics.median(found):10.0f} images/s ({min(found):.0f}-{max(found):.0f}){memory}")


if __name__ == "__main__":
    main()
