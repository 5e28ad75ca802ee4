"""How a simulation starts: the state of each neuron before the first step."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ratespike.neurons import Neuron, State
from ratespike.parameters import ParameterError
from ratespike.simulation.random import START, uniform_like
from ratespike.simulation.segments import Segment

STARTS = ("zero", "uniform", "half", "steady_phase")
Start = str | Mapping[str, State]


def initial_state(
    neuron: Neuron, name: str, layer: int, current: Tensor, start: Start, seed: int, image_index: Tensor, dt: float
) -> State:
    """The state of one neuron layer before the first step.

    Args:
        neuron: the layer's neuron.
        name: its name in the network, the key in `start` if that is a mapping.
        layer: its number among the neuron layers, from 0.
        current: its input current (with `steady_phase`, the steady one; else for shape, dtype and device).
        start: voltages, in units of the threshold: `zero`; `uniform`, drawn from [0, 1) as Nengo does; `half`. Or
            `steady_phase`: each neuron at a point of its firing cycle that is drawn uniformly, as if it had had its
            current for long; a neuron that does not fire, at its steady voltage. Or, by layer name, the states
            themselves, which broadcast over the batch.
        seed: of the simulation.
        image_index: shape (batch,), which image each row is.
        dt: the step, seconds.
    """
    if not isinstance(start, str):
        given = start.get(name, {})
        state = neuron.initial_state(torch.zeros_like(current))
        unknown = set(given) - set(state)
        if unknown:
            raise ParameterError(f"start[{name}][{unknown.pop()}]: known: {', '.join(sorted(state))}")
        return state | {key: value.to(current).expand_as(current).clone() for key, value in given.items()}
    if start in ("zero", "half"):
        return neuron.initial_state(torch.full_like(current, 0.5 if start == "half" else 0))
    numbers = uniform_like(current, seed, image_index, layer, START)
    return neuron.initial_state(numbers) if start == "uniform" else neuron.steady_state(current, numbers, dt)


def steady_currents(segments: list[Segment], images: Tensor) -> Iterator[Tensor]:
    """The current of each neuron layer in one pass on rates: exact for the first layer, an estimate for the others."""
    signal = images
    for segment in segments:
        signal = segment.input(signal.to(images.dtype))
        if isinstance(segment.ending, Neuron):
            yield signal
            signal = segment.ending.firing_rate(signal) * segment.ending.scale
