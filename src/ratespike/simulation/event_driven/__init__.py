"""The event-driven engine for CPUs: its cost follows the spikes.

`run` prepares the network for compiled code (`compiled_network`, with `connection`), decides how the neurons begin
(`starts`), and lets each thread simulate one block of images after the other (`workspace`, `memory`) with the kernels
(`kernels`, which call `events`, `currents` and `neurons`). `layout` says how all of it lies in memory. Numba compiles the
kernels on first use and keeps them on disk.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ratespike.simulation.event_driven.compiled_network import DTYPES, CompiledLayer, CompiledNetwork, compile_network
from ratespike.simulation.event_driven.errors import UnsupportedError
from ratespike.simulation.event_driven.memory import FEWEST_IMAGES, MOST_IMAGES
from ratespike.simulation.event_driven.starts import Starts, starts_of
from ratespike.simulation.event_driven.workspace import Images, Results, Workspace
from ratespike.simulation.forward import evaluation_copy
from ratespike.simulation.reference import PreparedNetwork
from ratespike.simulation.result import Simulation
from ratespike.simulation.start import FROM_CURRENTS
from ratespike.simulation.terms import Map, NoTermError
from ratespike.simulation.threads import on_one_thread

AT_REST_BYTES = 128 * 2**20

__all__ = ["UnsupportedError", "run"]


def run(prepared: PreparedNetwork, shown: Tensor, image_index: Tensor) -> Simulation:
    """Simulate images, in as many threads as PyTorch uses; voltages are not recorded.

    Args:
        prepared: the network and the settings.
        shown: the images in each step, shape (time, batch, ...), float32 or float64, on the CPU; of one step if they stay.
        image_index: shape (batch,), which image each row is: random starts depend on it.

    Raises:
        UnsupportedError: a part of the network, or the device or dtype, is not for this engine.
    """
    if shown.device.type != "cpu" or shown.dtype not in DTYPES:
        raise UnsupportedError(f"{shown.dtype} on {shown.device}")
    settings = prepared.settings
    with on_one_thread():
        try:
            network = prepared.analysis.made(compile_network, settings.dt, len(shown) > 1)
        except NoTermError as error:
            raise UnsupportedError(str(error)) from None
    recorded = [number for number, name in enumerate(prepared.analysis.fan_out.weights_met) if name in settings.record]
    results = _new_results(network, len(image_index), settings.n_steps, recorded)
    _run_threads(network, shown, image_index, prepared, results)
    return _simulation(results, network, prepared, shown)


def _new_results(network: CompiledNetwork, batch: int, n_steps: int, recorded: list[int]) -> Results:
    statistics_shape = (len(network.layers), n_steps, batch)
    return Results(
        outputs=np.zeros((n_steps, batch, network.output.neurons), network.dtype),
        spike_counts=np.zeros(statistics_shape, np.int64),
        operations=np.zeros(statistics_shape, np.int64),
        recorded={number: _recording(network.layers[number], batch, n_steps, network.dtype) for number in recorded},
    )


def _recording(layer: CompiledLayer, batch: int, n_steps: int, dtype: type) -> np.ndarray:
    """Room for a layer's spikes, at most one in a step or any number of them."""
    return np.zeros((batch, n_steps, layer.neurons), dtype if layer.kernel.neuron.counts_spikes else np.uint8)


@dataclass(frozen=True)
class _Thread:
    """What one thread works with.

    Attributes:
        workspace: its memory.
        on_rates: the network for its currents on rates.
    """

    workspace: Workspace
    on_rates: nn.Module


def _run_threads(
    network: CompiledNetwork, shown: Tensor, image_index: Tensor, prepared: PreparedNetwork, results: Results
) -> None:
    """Simulate all images, some hundreds at a time."""
    batch = shown.shape[1]
    number = max(1, min(torch.get_num_threads(), -(-batch // FEWEST_IMAGES)))
    threads = _threads(network, prepared, number)
    with ThreadPoolExecutor(number) as pool:
        for part in _parts(network, shown):
            prepared.analysis.probe.check_batch(len(shown) * (part.stop - part.start))
            starts = starts_of(prepared.for_rows(part, batch), network, shown[:, part], image_index[part])
            images = _images(network, shown, part)
            _run_part(images, starts, shown[:, part], threads, pool, results)


def _threads(network: CompiledNetwork, prepared: PreparedNetwork, number: int) -> list[_Thread]:
    """One of them computes on rates with the network, the others with copies: a forward may keep values in its modules."""
    settings = prepared.settings
    threads: list[_Thread] = []
    for _ in range(number):
        on_rates = prepared.analysis.network
        if threads and settings.start in FROM_CURRENTS:
            on_rates = evaluation_copy(on_rates)
        threads.append(_Thread(Workspace(network, settings.n_steps, settings.early_exit), on_rates))
    return threads


def _run_part(
    images: Images, starts: Starts, shown: Tensor, threads: list[_Thread], pool: ThreadPoolExecutor, results: Results
) -> None:
    """Simulate some images; each thread takes one group of them after the other, and of a group one block after the other.

    Args:
        images: what they are for the layers.
        starts: of the layers.
        shown: these images in each step, or in one.
        threads: the first one is this thread.
        pool: the others.
        results: written.
    """
    batch = shown.shape[1]
    size = min(threads[0].workspace.block_images, max(FEWEST_IMAGES, -(-batch // len(threads))))  # every thread has some
    group_size = max(size, starts.group_images(batch // len(threads)))
    firsts = iter(range(0, batch, group_size))  # safe to share, unlike a generator

    def work(thread: _Thread) -> None:
        for first in firsts:
            group = slice(first, min(first + group_size, batch))
            of_group = starts.of(group, shown, thread.on_rates)
            for place in range(group.start, group.stop, size):
                block = slice(images.first + place, images.first + min(place + size, group.stop))
                thread.workspace.run(images, of_group, block, results)

    try:
        others = [pool.submit(work, thread) for thread in threads[1:]]
        work(threads[0])
    finally:
        list(firsts)  # after an interruption nothing is left to do
    for other in others:
        other.result()


def _parts(network: CompiledNetwork, shown: Tensor) -> Iterator[slice]:
    """The images, cut so that what is computed of them at once fits a budget of memory."""
    steps, batch = shown.shape[:2]
    size = 0  # bytes of an image
    for layer in (*network.layers, network.output):
        if layer.constant is None:
            size += layer.neurons * 3 * 8 * steps  # currents at rest, and what is made on the way
    at_once = max(1, AT_REST_BYTES // size // MOST_IMAGES) * MOST_IMAGES if size else max(1, batch)
    for first in range(0, batch, at_once):
        yield slice(first, min(first + at_once, batch))


def _images(network: CompiledNetwork, shown: Tensor, part: slice) -> Images:
    """What the layers get of some images."""
    images = shown[:, part]  # (steps, images, ...)
    channels = images.shape[2]
    pixels = images[0].reshape(images.shape[1], channels, -1).contiguous().numpy()
    at_rest: dict[int, np.ndarray] = {}
    for number, currents in network.currents_at_rest(images.transpose(0, 1).flatten(0, 1)).items():
        at_rest[number] = currents.reshape(images.shape[1], images.shape[0], -1)
    return Images(part.start, pixels, at_rest)


def _simulation(results: Results, network: CompiledNetwork, prepared: PreparedNetwork, shown: Tensor) -> Simulation:
    """The arrays that the threads have written, by the names of the neuron layers."""
    operations = torch.from_numpy(results.operations)
    spike_counts: dict[str, Tensor] = {}
    spike_operations: dict[str, Tensor] = {}
    recordings: dict[str, Tensor] = {}
    for number, name in enumerate(prepared.analysis.fan_out.weights_met):
        spike_counts[name] = torch.from_numpy(results.spike_counts[number]).to(shown.dtype)
        spike_operations[name] = operations[number].double()
        if number in results.recorded:
            recordings[name] = _as_called(results.recorded[number], network.layers[number].map).to(shown.dtype)
    return Simulation(
        outputs=network.output.map.as_called(torch.from_numpy(results.outputs).unflatten(2, network.output.map.shape)),
        spike_counts=spike_counts,
        synaptic_operations=operations.sum(0).to(shown.dtype),
        neurons={name: met.numel() for name, met in prepared.analysis.fan_out.weights_met.items()},
        recordings=recordings,
        dt=prepared.settings.dt,
        spike_operations=spike_operations,
    )


def _as_called(recorded: np.ndarray, layer: Map) -> Tensor:
    """Spikes (batch, steps, neurons) with the channel fastest as the forward has them, (steps, batch, ...)."""
    channels, height, width = layer.shape
    spikes = torch.from_numpy(recorded).transpose(0, 1).unflatten(2, (height, width, channels)).movedim(-1, 2)
    return layer.as_called(spikes)
