"""How a simulation starts: the membrane voltage of each neuron before the first step."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ratespike.neurons import Neuron, State
from ratespike.parameters import ParameterError, nearest
from ratespike.simulation.random import uniform

STARTS = ("zero", "uniform")
Start = str | Mapping[str, State]


def check_start(start: Start) -> None:
    """Raises `ParameterError` if there is no such start."""
    if isinstance(start, str) and start not in STARTS:
        raise ParameterError(f"start={start}: {nearest(start, STARTS)}")


def initial_state(
    neuron: Neuron, name: str, layer: int, current: Tensor, start: Start, seed: int, image_index: Tensor
) -> State:
    """The state of one neuron layer before the first step.

    Args:
        neuron: the layer's neuron.
        name: its name in the network, the key in `start` if that is a mapping.
        layer: its number among the neuron layers, from 0.
        current: its input current, for shape, dtype and device.
        start: `zero`; `uniform`, voltages drawn from [0, 1) as Nengo does; or, by layer name, the states themselves,
            which broadcast over the batch.
        seed: of the simulation.
        image_index: shape (batch,), which image each row is.
    """
    if not isinstance(start, str):
        given = start.get(name, {})
        state = neuron.initial_state(torch.zeros_like(current))
        unknown = set(given) - set(state)
        if unknown:
            raise ParameterError(f"start[{name}][{unknown.pop()}]: known: {', '.join(sorted(state))}")
        return state | {key: value.to(current).expand_as(current).clone() for key, value in given.items()}
    if start == "zero":
        return neuron.initial_state(torch.zeros_like(current))
    numbers = uniform(seed, image_index, layer, current[0].numel())
    return neuron.initial_state(_channels_first(numbers, current).to(current.dtype))


def _channels_first(numbers: Tensor, like: Tensor) -> Tensor:
    """Neurons are numbered with the channel fastest; tensors have it first."""
    if like.dim() < 3:
        return numbers.reshape(like.shape)
    batch, channels, *place = like.shape
    return numbers.reshape(batch, *place, channels).movedim(-1, 1)
