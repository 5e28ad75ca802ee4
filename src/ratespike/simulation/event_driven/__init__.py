"""The event-driven engine for CPUs: its cost follows the spikes.

`run` prepares the network for compiled code (`compiled_network`, with `folding` and `connection`), decides how the neurons
begin (`starts`), and lets each thread simulate one block of images after the other (`workspace`, `memory`) with the kernels
(`kernels`, which call `events`, `currents` and `neurons`). `layout` says how all of it lies in memory. Numba compiles the
kernels on first use and keeps them on disk.
"""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from ratespike.simulation.event_driven.compiled_network import CompiledNetwork, compile_network
from ratespike.simulation.event_driven.errors import UnsupportedError
from ratespike.simulation.event_driven.layout import Shape
from ratespike.simulation.event_driven.memory import BLOCK_IMAGES
from ratespike.simulation.event_driven.starts import LayerStart, given_starts, start_currents, uniform_starts
from ratespike.simulation.event_driven.workspace import Results, Workspace
from ratespike.simulation.fan_out import FanOut, fan_out
from ratespike.simulation.result import Simulation
from ratespike.simulation.segments import Segment
from ratespike.simulation.settings import Settings

_DTYPES = {torch.float32: np.float32, torch.float64: np.float64}

__all__ = ["UnsupportedError", "run"]


def run(segments: list[Segment], images: Tensor, image_index: Tensor, settings: Settings) -> Simulation:
    """Simulate images, in as many threads as PyTorch uses; voltages are not recorded.

    Args:
        segments: the network.
        images: shape (batch, channels, height, width) or (batch, features), float32 or float64, on the CPU.
        image_index: shape (batch,), which image each row is: random starts depend on it.
        settings: of the simulation.

    Raises:
        UnsupportedError: a part of the network, or the device or dtype, is not for this engine.
    """
    if images.device.type != "cpu" or images.dtype not in _DTYPES or images.dim() not in (2, 4):
        raise UnsupportedError(f"{images.dtype} of {images.dim()} dimensions on {images.device}")
    counted = fan_out(segments, images[:1])
    network = compile_network(segments, _map_shape(images), settings.dt, _DTYPES[images.dtype], counted.weights_met)
    if settings.start == "uniform":
        starts = uniform_starts(network, settings.seed, image_index)
    else:
        shapes = [met.shape for met in counted.weights_met.values()]
        currents = start_currents(segments, images, image_index, settings, shapes)
        starts = given_starts(segments, network, currents, image_index, settings)
    recorded = [number for number, name in enumerate(counted.weights_met) if name in settings.record]
    results = _new_results(network, len(images), settings.n_steps, recorded)
    _run_threads(network, images, starts, settings, results)
    return _simulation(results, counted, images.dtype, settings)


def _map_shape(images: Tensor) -> Shape:
    """Channels, height and width of an image; one of features alone is a single pixel with many channels."""
    if images.dim() == 2:
        return images.shape[1], 1, 1
    _, channels, height, width = images.shape
    return channels, height, width


def _new_results(network: CompiledNetwork, batch: int, n_steps: int, recorded: list[int]) -> Results:
    neurons = [math.prod(layer.connection.out_shape) for layer in network.layers]
    outputs = math.prod(network.output.connection.out_shape)
    statistics_shape = (len(network.layers), n_steps, batch)
    return Results(
        outputs=np.zeros((n_steps, batch, outputs), network.dtype),
        spike_counts=np.zeros(statistics_shape, np.int64),
        operations=np.zeros(statistics_shape, np.int64),
        recorded={number: np.zeros((batch, n_steps, neurons[number]), np.uint8) for number in recorded},
    )


def _run_threads(
    network: CompiledNetwork, images: Tensor, starts: list[LayerStart], settings: Settings, results: Results
) -> None:
    """Simulate all images; each thread takes one block after the other."""
    batch = len(images)
    channels, height, width = network.image_shape
    pixels = images.reshape(batch, channels, height * width).contiguous().numpy()
    firsts = iter(range(0, batch, BLOCK_IMAGES))  # safe to share, unlike a generator

    def work() -> None:
        workspace = Workspace(network, settings.n_steps, settings.early_exit)
        for first in firsts:
            block = slice(first, min(first + BLOCK_IMAGES, batch))
            workspace.run(pixels, starts, block, results)

    blocks = -(-batch // BLOCK_IMAGES)
    helpers = min(torch.get_num_threads(), blocks) - 1
    with ThreadPoolExecutor(max(1, helpers)) as pool:
        try:
            others = [pool.submit(work) for _ in range(helpers)]
            work()
        finally:
            list(firsts)  # after an interruption nothing is left to do
    for other in others:
        other.result()


def _simulation(results: Results, counted: FanOut, dtype: torch.dtype, settings: Settings) -> Simulation:
    """The arrays that the threads have written, by the names of the neuron layers."""
    operations = torch.from_numpy(results.operations).sum(0)
    operations[0] += counted.first_operations
    spike_counts: dict[str, Tensor] = {}
    recordings: dict[str, Tensor] = {}
    for number, (name, met) in enumerate(counted.weights_met.items()):
        spike_counts[name] = torch.from_numpy(results.spike_counts[number]).to(dtype)
        if number in results.recorded:
            recordings[name] = _channels_first(results.recorded[number], met.shape).to(dtype)
    return Simulation(
        outputs=torch.from_numpy(results.outputs).unflatten(2, counted.output_shape),
        spike_counts=spike_counts,
        synaptic_operations=operations.to(dtype),
        neurons={name: met.numel() for name, met in counted.weights_met.items()},
        recordings=recordings,
        dt=settings.dt,
    )


def _channels_first(recorded: np.ndarray, shape: torch.Size) -> Tensor:
    """Spikes (batch, steps, neurons) with the channel fastest as (steps, batch, *shape)."""
    values = torch.from_numpy(recorded).transpose(0, 1)
    if len(shape) < 3:
        return values
    channels, *place = shape
    unflattened: Tensor = values.unflatten(2, (*place, channels))
    return unflattened.movedim(-1, 2)
