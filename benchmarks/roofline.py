"""How near each kernel is to what the machine can do, on one core: multiply-adds and bytes of weights in the time they took.

python benchmarks/roofline.py

The bounds are measured with the same vectors: rows of 64 numbers, read at random from 16 KB (first-level cache) and from 256 KB
(second level, where the weights of the third convolution lie) and summed up. A kernel's time holds everything: listing the
events, adding their weights, advancing the neurons, counting.
"""

import time
from collections import defaultdict

import numba
import numpy as np
import torch
from problem import BATCH, STEPS, load

from ratespike import simulate
from ratespike.compiled.options import KERNEL
from ratespike.compiled.simd import lanes_of, store
from ratespike.compiled.simd import load as load_row
from ratespike.simulation.event_driven import workspace
from ratespike.simulation.fan_out import fan_out
from ratespike.simulation.probe import trace

IMAGES = 400
KERNELS = ("run_image_layer", "run_driven_layer", "run_output_layer")


@numba.njit(**KERNEL)
def _sum_rows(rows, order, out, lanes):
    total = load_row(out, 0, lanes)
    for i in range(order.size):
        total = total + load_row(rows, order[i] * 64, lanes)
    store(out, 0, total)


def bandwidth(kilobytes: int) -> float:
    """GB/s at which rows are read and summed."""
    rows, out, lanes = np.ones(kilobytes * 256, np.float32), np.zeros(64, np.float32), lanes_of(64)
    order = np.random.default_rng(0).integers(0, rows.size // 64, 2**20)
    best = np.inf
    for _ in range(6):
        began = time.perf_counter()
        _sum_rows(rows, order, out, lanes)
        best = min(best, time.perf_counter() - began)
    return order.size * 256 / best / 1e9


def kernel_seconds(run) -> list[float]:
    """By layer, the seconds that `run` spends in its kernel."""
    seconds: dict[int, float] = defaultdict(float)
    originals, calls = {name: getattr(workspace, name) for name in KERNELS}, 0

    def timed(kernel):
        def call(*arguments):
            nonlocal calls
            calls = 0 if kernel is originals["run_image_layer"] else calls + 1
            began = time.perf_counter()
            kernel(*arguments)
            seconds[calls] += time.perf_counter() - began

        return call

    for name, kernel in originals.items():
        setattr(workspace, name, timed(kernel))
    run()
    for name, kernel in originals.items():
        setattr(workspace, name, kernel)
    return [seconds[layer] for layer in sorted(seconds)]


def main() -> None:
    """Print a line a kernel."""
    torch.set_num_threads(1)
    problem = load(IMAGES)
    counted = fan_out(trace(problem.network.eval(), problem.images))
    met = counted.weights_met
    names = list(met)
    spikes = simulate(problem.network, problem.images[:100], STEPS, record=names, engine="event_driven").recordings

    def run() -> None:
        for part in problem.images.split(BATCH):
            simulate(problem.network, part, STEPS)

    run()
    seconds = [min(layer) for layer in zip(*(kernel_seconds(run) for _ in range(5)), strict=True)]
    ink = float((problem.images > 0).double().mean())  # pixels of 0 are no events
    multiply_adds = [
        counted.image_operations * ink,
        *(float((spikes[name].sum((0, 1)) / 100 * met[name]).sum()) for name in names),
    ]
    near, far = bandwidth(16), bandwidth(256)
    print(f"rows of 64 float32 summed: {near:.0f} GB/s from the first-level cache, {far:.0f} from the second:")
    print(f"{near / 4:.0f} and {far / 4:.0f} G multiply-adds/s, if all rows came from there")
    for number, took in enumerate(seconds):
        neurons = met[names[number]].numel() * STEPS if number < len(names) else 0
        label = names[number] if number < len(names) else "output"
        work, microseconds = multiply_adds[number], 1e6 * took / IMAGES
        print(
            f"{label:8s} {microseconds:6.0f} us/image: {work / 1e6:6.2f} M multiply-adds, {4 * work / 1e6:5.1f} MB of weights, "
            f"{neurons / 1e3:5.0f} k neuron steps; {work / microseconds / 1e3:5.1f} G multiply-adds/s"
        )


if __name__ == "__main__":
    main()
