"""How a simulation starts: the state of each neuron before the first step."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ratespike.neurons import Neuron, State
from ratespike.parameters import ParameterError
from ratespike.simulation.random import START, uniform_like
from ratespike.simulation.segments import Segment
from ratespike.simulation.settings import Settings

STARTS = ("zero", "uniform", "half", "steady_phase")


def initial_state(
    segment: Segment,
    layer: int,
    current: Float[Tensor, " batch *shape"],
    image_index: Int[Tensor, " batch"],
    settings: Settings,
) -> State:
    """The state of one neuron layer before the first step, each value of the current's shape.

    `settings.start` is a word or gives the state itself:

    - `zero`, `half`: every membrane at this part of the threshold.
    - `uniform`: each membrane somewhere between 0 and the threshold, drawn uniformly, as Nengo does.
    - `steady_phase`: each neuron at a point of its firing cycle that is drawn uniformly, as if it had had its current for
      long; a neuron that does not fire, at its steady voltage.
    - a mapping from layer names to states, which broadcast over the batch; what it leaves out starts at zero.

    Args:
        segment: the segment that ends in the neuron layer.
        layer: its number among the neuron layers, from 0: each layer has random numbers of its own.
        current: the layer's input current (with `steady_phase`, the steady one; else for its shape, dtype and device).
        image_index: which image each row is.
        settings: `start`, `seed` and `dt` matter.

    Raises:
        ParameterError: the mapping gives this layer a value that its neuron does not have.
    """
    neuron = segment.ending
    assert isinstance(neuron, Neuron)
    start = settings.start
    if not isinstance(start, str):
        return _given_state(neuron, segment.name, start.get(segment.name, {}), current)
    if start == "zero":
        return neuron.initial_state(torch.zeros_like(current))
    if start == "half":
        return neuron.initial_state(torch.full_like(current, 0.5))
    numbers = uniform_like(current, settings.seed, image_index, layer, START)
    if start == "uniform":
        return neuron.initial_state(numbers)
    return neuron.steady_state(current, numbers, settings.dt)


def _given_state(neuron: Neuron, name: str, given: State, current: Tensor) -> State:
    """The neuron's state at voltage 0, with the given values instead where there are some."""
    state = neuron.initial_state(torch.zeros_like(current))
    for key, value in given.items():
        if key not in state:
            raise ParameterError(f"start[{name}][{key}]: known: {', '.join(sorted(state))}")
        state[key] = value.to(current).expand_as(current).clone()
    return state


def steady_currents(segments: list[Segment], images: Tensor) -> Iterator[Tensor]:
    """The current of each neuron layer in one pass on rates: exact for the first layer, an estimate for the others.

    The others are an estimate because in a simulation they get spikes, whose mean alone is the rate.

    Args:
        segments: a network.
        images: what it takes.

    Yields:
        In the network's order, shape (batch, ...), in float32 at least.
    """
    signal = images
    for segment in segments:
        signal = segment.input(signal.to(images.dtype))
        if isinstance(segment.ending, Neuron):
            yield signal
            signal = segment.ending.firing_rate(signal) * segment.ending.scale
