"""How a simulation starts: the state of each neuron before the first step."""

from collections.abc import Mapping
from contextlib import suppress

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ratespike.neurons import Neuron, State
from ratespike.parameters import ParameterError
from ratespike.simulation.random import START, uniform_like
from ratespike.simulation.settings import Settings, Start
from ratespike.simulation.threads import on_one_thread
from ratespike.simulation.tracing import Call
from ratespike.stateful import Stateful, replaced

STARTS = ("zero", "uniform", "half", "steady_phase", "half_phase")
FROM_CURRENTS = ("steady_phase", "half_phase")  # those that depend on the steady currents
VOLTAGES = {"zero": 0.0, "half": 0.5}  # of the starts at which every membrane is at the same part of its threshold


def initial_state(
    call: Call,
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
      long.
    - `half_phase`: each neuron in the middle of its firing cycle, so that its first spike comes after half a period P: a LIF
      at `v = J - (J - 1) * exp(P / (2 * tau_rc))` if `P / 2 >= tau_ref`; else it begins with the rest of its refractory time.
      Without a leak every membrane that fires begins at half its threshold, up to whole steps if the reset is to zero.

      In both, a LIF that does not fire begins at the voltage that its current holds it at. A neuron without leak that does not
      fire has no such voltage: it begins at the phase times its threshold, or at 0 if its reset is to zero.
    - a mapping from layer names to states, which broadcast over the batch; what it leaves out starts at zero.

    Args:
        call: of the neuron layer.
        layer: its number among the neuron layers, from 0: each layer has random numbers of its own.
        current: the layer's input current (the steady one for a start in `FROM_CURRENTS`; else its shape and dtype count).
        image_index: which image each row is.
        settings: `start`, `seed` and `dt` matter.

    Raises:
        ParameterError: the mapping gives this layer a value that its neuron does not have.
    """
    neuron = call.module
    assert isinstance(neuron, Neuron)
    start = settings.start
    if not isinstance(start, str):
        return _given_state(neuron, call.name, start.get(call.name, {}), current)
    if start in VOLTAGES:
        return neuron.initial_state(torch.full_like(current, VOLTAGES[start]))
    if start == "half_phase":
        return neuron.steady_state(current, torch.full_like(current, 0.5), settings.dt)
    numbers = uniform_like(current, settings.seed, image_index, layer, START)
    if start == "uniform":
        return neuron.initial_state(numbers)
    return neuron.steady_state(current, numbers, settings.dt)


def start_of_rows(start: Start, shapes: Mapping[str, torch.Size], batch: int, rows: slice, filled: int) -> Start:
    """The start of some images of a batch.

    Args:
        start: of all images; a word stays as it is.
        shapes: by neuron layer, of one image's neurons.
        batch: how many images `start` is for.
        rows: which of them are wanted.
        filled: to how many rows they are filled up.
    """
    if isinstance(start, str):
        return start
    chosen: dict[str, State] = {}
    for name, state in start.items():
        chosen[name] = {}
        for key, value in state.items():
            if value.dim() == len(shapes[name]) + 1 and len(value) == batch:  # a value for each image
                part = value[rows]
                value = torch.cat([part, part.new_zeros(filled - len(part), *part.shape[1:])])
            chosen[name][key] = value
    return chosen


def _given_state(neuron: Neuron, name: str, given: State, current: Tensor) -> State:
    """The neuron's state at voltage 0, with the given values instead where there are some."""
    state = neuron.initial_state(torch.zeros_like(current))
    for key, value in given.items():
        if key not in state:
            raise ParameterError(f"start[{name}][{key}]: known: {', '.join(sorted(state))}")
        try:
            state[key] = value.to(current).expand_as(current).clone()
        except RuntimeError:
            shapes = f"has the shape {tuple(value.shape)}; must broadcast to {tuple(current.shape)}, batch first"
            raise ParameterError(f"start[{name}][{key}]: {shapes}") from None
    return state


class _LastCurrentError(Exception):
    """Ends a forward of which the rest is not needed."""


@torch.no_grad()
def steady_currents(network: nn.Module, shown: Float[Tensor, "time batch *shape"], layers: int) -> list[Tensor]:
    """The current of each neuron layer in one pass on rates: exact for the first layer, an estimate for the others.

    The others are an estimate because in a simulation they get spikes, whose mean alone is the rate. One thread computes it on
    a CPU: sums in another order would change spikes.

    Args:
        network: in eval mode.
        shown: what it takes in each step; the mean over time counts.
        layers: how many neuron layers are called.

    Returns:
        In the order of the calls, shape (batch, ...), in float32 at least.
    """
    currents: list[Tensor] = []

    def call(module: Stateful, signal: Tensor) -> Tensor:
        if not isinstance(module, Neuron):
            return module.in_rate_mode(signal)
        if len(currents) == layers - 1:
            currents.append(module.current(signal))
            raise _LastCurrentError
        activation, current = module.activation_and_current(signal)
        currents.append(current)
        return activation

    images = shown.mean(0)
    if images.dim() == 4:
        # in this order convolutions are faster; `contiguous` would keep the other one for images of one channel
        images = torch.empty_like(images, memory_format=torch.channels_last).copy_(images)
    with suppress(_LastCurrentError), on_one_thread(), replaced(call):
        network(images)
    return currents
