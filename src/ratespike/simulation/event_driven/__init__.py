"""The event-driven engine for CPUs: its cost follows the spikes. Compiled by Numba on first use, then kept on disk."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from ratespike.neurons import Neuron, State
from ratespike.simulation.event_driven.connection import Shape, UnsupportedError
from ratespike.simulation.event_driven.neurons import longest_rest
from ratespike.simulation.event_driven.plan import NeuronLayer, Plan, make_plan
from ratespike.simulation.event_driven.workspace import BLOCK_IMAGES, GivenStart, Result, UniformStart, Workspace
from ratespike.simulation.fan_out import fan_out
from ratespike.simulation.result import Simulation
from ratespike.simulation.segments import Segment
from ratespike.simulation.settings import Settings
from ratespike.simulation.slices import slices
from ratespike.simulation.start import initial_state, steady_currents

_DTYPES = {torch.float32: np.float32, torch.float64: np.float64}

__all__ = ["UnsupportedError", "run"]


def run(segments: list[Segment], images: Tensor, image_index: Tensor, settings: Settings) -> Simulation:
    """Simulate `images`, in as many threads as PyTorch uses; voltages are not recorded.

    Raises:
        UnsupportedError: a part of the network, or the device or dtype, is not for this engine.
    """
    if images.device.type != "cpu" or images.dtype not in _DTYPES or images.dim() not in (2, 4):
        raise UnsupportedError(f"{images.dtype} of {images.dim()} dimensions on {images.device}")
    shape: Shape = tuple(images.shape[1:]) if images.dim() == 4 else (images.shape[1], 1, 1)  # type: ignore[assignment]
    counted = fan_out(segments, images[:1])
    met = counted.weights_met
    plan = make_plan(segments, shape, settings.dt, _DTYPES[images.dtype], [places.numpy() for places in met.values()])
    start = _starts(segments, images, image_index, settings, plan, [places.shape for places in met.values()])
    pixels = images.flatten(2) if images.dim() == 4 else images.unsqueeze(2)
    result = _run(plan, pixels.contiguous().numpy(), start, settings, list(met))
    counts, operations = torch.from_numpy(result.spike_counts), torch.from_numpy(result.operations).sum(2)
    operations[0] += counted.first_operations
    return Simulation(
        outputs=torch.from_numpy(result.outputs).unflatten(2, counted.output_shape),
        spike_counts={name: counts[:, :, number].to(images.dtype) for number, name in enumerate(met)},
        synaptic_operations=operations.to(images.dtype),
        neurons={name: places.numel() for name, places in met.items()},
        recordings={
            name: _channels_first(result.recorded[number], places.shape).to(images.dtype)
            for number, (name, places) in enumerate(met.items())
            if number in result.recorded
        },
        dt=settings.dt,
    )


def _run(
    plan: Plan, images: np.ndarray, start: list[GivenStart | UniformStart], settings: Settings, names: list[str]
) -> Result:
    batch, threads = len(images), torch.get_num_threads()
    shape = (settings.n_steps, batch, len(plan.layers))
    neurons = [int(np.prod(layer.connection.out_shape)) for layer in plan.layers]
    result = Result(
        outputs=np.zeros((settings.n_steps, batch, int(np.prod(plan.output.out_shape))), plan.dtype),
        spike_counts=np.zeros(shape, np.int64),
        operations=np.zeros(shape, np.int64),
        recorded={
            number: np.zeros((batch, settings.n_steps, neurons[number]), np.uint8)
            for number, name in enumerate(names)
            if name in settings.record
        },
    )
    blocks = iter(range(0, batch, BLOCK_IMAGES))

    def work() -> None:
        workspace = Workspace(plan, settings.n_steps, settings.early_exit)
        for first in blocks:
            workspace.run(images, start, slice(first, min(first + BLOCK_IMAGES, batch)), result)

    helpers = min(threads, -(-batch // BLOCK_IMAGES)) - 1
    with ThreadPoolExecutor(max(1, helpers)) as pool:
        try:
            others = [pool.submit(work) for _ in range(helpers)]
            work()
        finally:
            list(blocks)  # after an interruption nothing is left to do
    for other in others:
        other.result()
    return result


def _starts(
    segments: list[Segment], images: Tensor, image_index: Tensor, settings: Settings, plan: Plan, shapes: list[torch.Size]
) -> list[GivenStart | UniformStart]:
    if settings.start == "uniform":
        index = image_index.numpy()
        sizes = [int(np.prod(layer.connection.out_shape)) for layer in plan.layers]
        return [UniformStart(settings.seed, index, number, size) for number, size in enumerate(sizes)]
    currents = _currents(segments, images, image_index, settings, shapes)
    neurons = [segment for segment in segments if isinstance(segment.ending, Neuron)]
    starts: list[GivenStart | UniformStart] = []
    for number, (segment, layer, current) in enumerate(zip(neurons, plan.layers, currents, strict=True)):
        state = initial_state(segment, number, current, image_index, settings)
        starts.append(_given_start(layer, state, settings.dt))
    return starts


def _currents(
    segments: list[Segment], images: Tensor, image_index: Tensor, settings: Settings, shapes: list[torch.Size]
) -> list[Tensor]:
    """Each neuron layer's currents, as far as the start depends on them; else only their shape is right."""
    if settings.start != "steady_phase":
        return [images.new_zeros(1, *shape).expand(len(images), *shape) for shape in shapes]
    largest = max(shape.numel() for shape in shapes)
    parts = [
        [part[:count] for part in steady_currents(segments, padded)]
        for padded, _, count in slices(images, image_index, largest)
    ]
    return [torch.cat(layer) for layer in zip(*parts, strict=True)]


def _given_start(layer: NeuronLayer, state: State, dt: float) -> GivenStart:
    arrays = {name: _channels_last(values) for name, values in state.items()}
    resting = arrays.get("refractory_time")
    if resting is None or not (resting > dt).any():
        return GivenStart(arrays["voltage"], None)
    if resting.max() > longest_rest(layer.step) or arrays["voltage"][resting > dt].any():
        raise UnsupportedError("a start in a refractory time longer than the neuron's, or with a voltage other than 0")
    return GivenStart(arrays["voltage"], resting)


def _channels_last(values: Tensor) -> np.ndarray:
    values = values.movedim(1, -1) if values.dim() == 4 else values
    return np.ascontiguousarray(values.flatten(1).numpy())


def _channels_first(recorded: np.ndarray, shape: torch.Size) -> Tensor:
    """(batch, steps, neurons) to (steps, batch, *shape)."""
    values = torch.from_numpy(recorded).transpose(0, 1)
    if len(shape) < 3:
        return values
    channels, *place = shape
    unflattened: Tensor = values.unflatten(2, (*place, channels))
    return unflattened.movedim(-1, 2)
