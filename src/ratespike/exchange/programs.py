"""A network as functions of tensors alone, which a compiler can take over: its rates, and one time step of its spikes.

A simulation keeps the state of neurons and filters outside the network. In a step that is exported it comes in and goes out as
tensors. Both functions call the network's own forward, with PyTorch's operations in place of compiled kernels.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ratespike.neurons import Neuron
from ratespike.parameters import ParameterError
from ratespike.simulation.forward import evaluation_copy
from ratespike.simulation.max_pooling import check_max_poolings, is_max_pooling
from ratespike.simulation.network_analysis import analyse
from ratespike.simulation.tracing import Call, Trace
from ratespike.stateful import Stateful, replaced
from ratespike.synapses import NoFilter, Synapse

READOUT = "readout"  # the name of the filter behind the output

_aten = torch.ops.aten
_MAX_POOLING_OPERATIONS = (_aten.max_pool2d_with_indices, _aten.adaptive_max_pool2d)
_MAX_POOLINGS = (F.max_pool2d, torch.max_pool2d, F.adaptive_max_pool2d)


class Rates(nn.Module):
    """The rate mode of a network.

    Args:
        network: it is copied.

    Example:
        >>> from ratespike.neurons import LIF
        >>> network = nn.Sequential(nn.Linear(4, 8), LIF(), nn.Linear(8, 3)).eval()
        >>> images = torch.rand(2, 4)
        >>> bool(torch.allclose(Rates(network)(images), network(images), atol=1e-6))
        True
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = evaluation_copy(network)

    def forward(self, images: Tensor) -> Tensor:
        """The outputs, shape (batch, ...), for images (batch, ...)."""
        with replaced(_by_formula):
            output: Tensor = self.network(images)
        return output


def _by_formula(module: Stateful, signal: Tensor) -> Tensor:
    """The rate mode in PyTorch's operations; a class may have a faster one, in compiled code."""
    if isinstance(module, Neuron):
        return Neuron.in_rate_mode(module, signal)
    return module.in_rate_mode(signal)


@dataclass(frozen=True)
class StateTensor:
    """One tensor that a step takes and returns.

    Attributes:
        name: the layer and what the tensor is, such as `neuron1.voltage`.
        at_zero: its value, the same everywhere, where a simulation starts at zero.
        shape: of an image's part.
        dtype: of the tensor.
    """

    name: str
    at_zero: float
    shape: tuple[int, ...]
    dtype: torch.dtype

    def start(self, batch: int) -> Tensor:
        """The tensor before the first step, shape (batch, ...)."""
        return torch.full((batch, *self.shape), self.at_zero, dtype=self.dtype)


class SimulationStep(nn.Module):
    """One time step of a network on spikes: `outputs, *spikes, *state = step(images, *state)`.

    Args:
        network: it is copied.
        images: some images, shape (batch, ...).
        dt: length of the step, seconds.
        synapse: the filter behind the network's output.

    Attributes:
        layers: the names of the neuron layers, in the order of their spikes among what a step returns.
        state: what it takes and returns, in this order.

    Raises:
        ParameterError: a network that cannot be simulated; random neurons.

    Example:
        >>> from ratespike.neurons import LIF
        >>> network = nn.Sequential(nn.Linear(4, 8), LIF(), nn.Linear(8, 3))
        >>> images = torch.rand(2, 4)
        >>> step = SimulationStep(network, images)
        >>> [tensor.name for tensor in step.state]
        ['1.voltage', '1.refractory_time']
        >>> outputs, spikes, *state = step(images, *[tensor.start(2) for tensor in step.state])
        >>> outputs.shape, spikes.shape
        (torch.Size([2, 3]), torch.Size([2, 8]))
    """

    def __init__(
        self,
        network: nn.Module,
        images: Tensor,
        dt: float = 0.001,
        synapse: Synapse = NoFilter(),  # noqa: B008  # without state
    ) -> None:
        super().__init__()
        trace = analyse(network, images).trace
        check_max_poolings(trace)
        self.network = evaluation_copy(network)
        self.synapse = synapse
        self.dt = dt
        self._calls = trace.calls
        self.layers = [call.name for call in trace.neurons]
        states: list[list[StateTensor]] = []  # of the calls, the max poolings and the filter behind the output
        for call in trace.calls:
            states.append(_state_of(call.name, call.module, call.signal.shape[1:], call.signal.dtype))
        self._pools_spikes, of_poolings = _poolings_of(trace)
        of_readout = _state_of(READOUT, synapse, trace.output.shape[1:], trace.output.dtype)
        self._states = [*states, of_poolings, of_readout]
        self.state = [tensor for tensors in self._states for tensor in tensors]

    def forward(self, images: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """The filtered outputs (batch, ...), each layer's spikes (batch, ...), and the next state.

        Args:
            images: in this step, shape (batch, ...).
            state: as `self.state` says.
        """
        *of_calls, of_poolings, of_readout = self._in_parts(state)
        running = _RunningStep(self._calls, self.dt, of_calls)
        poolings = _PooledBySums(self._pools_spikes, list(of_poolings.values()))
        with replaced(running), poolings if self._pools_spikes else nullcontext():
            raw = self.network(images)
        outputs, after = self.synapse.step(raw, tuple(of_readout.values()), self.dt)
        return (outputs, *running.spikes, *running.after, *poolings.after, *after)

    def _in_parts(self, state: tuple[Tensor, ...]) -> list[dict[str, Tensor]]:
        """For each call, the max poolings and the filter behind the output their part of the state, by its name in there."""
        given = iter(state)
        parts: list[dict[str, Tensor]] = []
        for tensors in self._states:
            parts.append({tensor.name.rpartition(".")[2]: next(given) for tensor in tensors})
        return parts


class _RunningStep:
    """The calls of neurons and filters in one step, whose states come and go.

    Args:
        calls: of the forward, in their order.
        dt: length of the step, seconds.
        before: the states of the calls, by name.

    Attributes:
        before: the argument.
        spikes: of the layers of neurons so far.
        after: the next states so far, one tensor after the other.
    """

    def __init__(self, calls: list[Call], dt: float, before: list[dict[str, Tensor]]) -> None:
        self.before = before
        self.spikes: list[Tensor] = []
        self.after: list[Tensor] = []
        self._calls = calls
        self._dt = dt
        self._next = 0

    def __call__(self, module: Stateful, signal: Tensor) -> Tensor:
        """What leaves the next call."""
        number = self._next
        self._next += 1
        state = self.before[number]
        if isinstance(module, Synapse):
            filtered, after = module.step(signal, tuple(state.values()), self._dt)
            self.after.extend(after)
            return filtered.to(signal.dtype)
        assert isinstance(module, Neuron)
        spikes, next_state = module.step(module.current(signal), state, self._dt)
        self.spikes.append(spikes)
        self.after.extend(next_state[name] for name in state)
        return (spikes * (module.scale / self._dt)).to(signal.dtype)


class _PooledBySums(TorchFunctionMode):
    """While it is active, max poolings of spikes go by sums over time, as in `ratespike.simulation.max_pooling`.

    Args:
        pools_spikes: of each max pooling of the forward, whether it is one of spikes.
        before: of those of spikes, the sum of what has arrived before this step.

    Attributes:
        after: the same sums after this step, so far.
    """

    def __init__(self, pools_spikes: Sequence[bool], before: Sequence[Tensor]) -> None:
        super().__init__()
        self.after: list[Tensor] = []
        self._pools_spikes = pools_spikes
        self._before = before
        self._next = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function not in _MAX_POOLINGS:
            return function(*args, **kwargs)
        number = self._next
        self._next += 1
        if not self._pools_spikes[number]:
            return function(*args, **kwargs)
        signal, *options = args
        before = self._before[len(self.after)]
        self.after.append(before + signal)
        return function(self.after[-1], *options, **kwargs) - function(before, *options, **kwargs)


def _poolings_of(trace: Trace) -> tuple[list[bool], list[StateTensor]]:
    """Of each max pooling of a forward, whether it is one of spikes; and the state of these, which starts at zero."""
    pools_spikes: list[bool] = []
    state: list[StateTensor] = []
    for operation in trace.operations:
        is_of_spikes = is_max_pooling(operation)
        if operation.function.overloadpacket in _MAX_POOLING_OPERATIONS:
            pools_spikes.append(is_of_spikes)
        elif is_of_spikes:
            raise ParameterError(
                f"{operation.module or 'network'}: a step has no {operation.name} of spikes, only one of images"
            )
        if is_of_spikes:
            value = operation.inputs[0]
            name = f"{operation.module or 'network'}.sum_of_pooling_{len(state) + 1}"
            state.append(StateTensor(name, 0.0, tuple(value.shape[1:]), value.dtype))
    return pools_spikes, state


def _state_of(name: str, module: Stateful, shape: tuple[int, ...], dtype: torch.dtype) -> list[StateTensor]:
    """The state of one call of a neuron or filter, one of which starts at zero."""
    zeros = torch.zeros(1, *shape, dtype=dtype)
    if isinstance(module, Neuron):
        if module.random:
            raise ParameterError(f"{name}: {type(module).__name__} draws random numbers, which a step does not have")
        found: Mapping[str, Tensor] = module.initial_state(zeros)
    else:
        assert isinstance(module, Synapse)
        found = {str(number): tensor for number, tensor in enumerate(module.initial_state(zeros))}
    tensors: list[StateTensor] = []
    for key, tensor in found.items():
        tensors.append(StateTensor(f"{name}.{key}", float(tensor.flatten()[0]), tuple(shape), tensor.dtype))
    return tensors
