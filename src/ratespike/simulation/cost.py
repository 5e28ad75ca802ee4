"""What a network costs whatever its spikes are: its memory, its connections, one pass on rates, and its neurons' updates.

All of it is read from the operations that the network's forward does (`tracing`), once for a network. `docs/energy.md` says
what is made of it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ratespike.neurons import LIF, AdaptiveLIF, Neuron
from ratespike.simulation.network_analysis import Analysis
from ratespike.simulation.replay import CHOICES
from ratespike.simulation.tracing import IMAGES, Operation, Trace, Value
from ratespike.synapses import NoFilter

_aten = torch.ops.aten

# Operations behind which spikes are still 0 or of one height. A max pooling of spikes lets spikes through one by one.
_KEEPS_SPIKES = CHOICES | {
    _aten._to_copy,
    _aten.lift_fresh,
    _aten.max_pool2d_with_indices,
    _aten.max_pool3d_with_indices,
    _aten.adaptive_max_pool2d,
    _aten.adaptive_max_pool3d,
}


@dataclass(frozen=True)
class UpdateOperations:
    """What one update of a membrane computes, if all constant factors are in the weights.

    Attributes:
        multiply_accumulates: products with a constant that are added up, such as a leak.
        accumulates: sums.
    """

    multiply_accumulates: int
    accumulates: int


# By class; a class below one of these has its own. A neuron that is none of them adds its rate to its membrane; what its rate
# costs, and a random number, is not known and not counted. It stands here and not in the neurons' classes, because an edit of
# these makes every training new.
_UPDATES: tuple[tuple[type[Neuron], UpdateOperations], ...] = (
    (AdaptiveLIF, UpdateOperations(2, 1)),  # the leaks of voltage and adaptation; current - adaptation
    (LIF, UpdateOperations(1, 0)),  # leak * voltage + current
    (Neuron, UpdateOperations(0, 1)),  # voltage + current
)


@dataclass(frozen=True)
class NetworkCost:
    """What a network costs whatever its spikes are.

    Attributes:
        footprint_bytes: of its parameters and buffers.
        weights: how many it multiplies signals with, in convolutions and matrices; biases are none.
        zero_weights: how many of them are 0.
        plain_operations: multiply-adds of one pass on rates, in which no 0 is left out: what the same network costs with
            ordinary activations.
        image_values: how many values an image has, for images over time in one step.
        neurons: how many there are.
        update_multiply_accumulates: of one step of all neurons (see `UpdateOperations`).
        update_accumulates: of one step of all neurons.
        folded: the neuron layers whose spikes are 0, 1 or -1 where they meet a weight only because their height, or an average
            pooling, a filter or another sum behind them, is folded into the weights.

    Example:
        >>> import torch
        >>> from ratespike import simulate
        >>> from ratespike.neurons import IntegrateAndFire
        >>> network = torch.nn.Sequential(torch.nn.Linear(4, 8), IntegrateAndFire(max_rate=1000), torch.nn.Linear(8, 3))
        >>> cost = simulate(network, torch.rand(2, 4), n_steps=5).cost
        >>> cost.footprint_bytes, cost.weights, cost.plain_operations, cost.neurons, cost.folded
        (268, 56, 56, 8, ())
    """

    footprint_bytes: int
    weights: int
    zero_weights: int
    plain_operations: int
    image_values: int
    neurons: int
    update_multiply_accumulates: int
    update_accumulates: int
    folded: tuple[str, ...]

    @property
    def connection_sparsity(self) -> float:
        """The fraction of the weights that are 0; 0 without weights."""
        return self.zero_weights / self.weights if self.weights else 0.0


def network_cost(analysis: Analysis, dt: float) -> NetworkCost:
    """Measure a network.

    Args:
        analysis: of the network.
        dt: the step, seconds: a spike has the height `neuron.scale / dt`.
    """
    found = analysis.trace
    n_bytes = 0
    for tensor in (*analysis.network.parameters(), *analysis.network.buffers()):
        n_bytes += tensor.numel() * tensor.element_size()
    weights: dict[tuple[int, torch.Size], Tensor] = {}  # each once, however often it is used
    plain_operations = 0
    for connection in _connections(found):
        weights[connection.weight.data_ptr(), connection.weight.shape] = connection.weight
        plain_operations += connection.multiply_adds()
    of_updates = [(_update(call.module), call.shape.numel()) for call in found.neurons]
    return NetworkCost(
        footprint_bytes=n_bytes,
        weights=sum(weight.numel() for weight in weights.values()),
        zero_weights=sum(int((weight == 0).sum()) for weight in weights.values()),
        plain_operations=plain_operations,
        image_values=found.images.shape[1:].numel(),
        neurons=sum(n_neurons for _, n_neurons in of_updates),
        update_multiply_accumulates=sum(update.multiply_accumulates * n_neurons for update, n_neurons in of_updates),
        update_accumulates=sum(update.accumulates * n_neurons for update, n_neurons in of_updates),
        folded=tuple(_folded(found, dt)),
    )


def _update(neuron: object) -> UpdateOperations:
    return next(update for kind, update in _UPDATES if isinstance(neuron, kind))


@dataclass(frozen=True)
class _Connection:
    """A convolution or a matrix of constants.

    Attributes:
        operation: in the trace.
        signal: what it multiplies.
        weight: with what.
        images: how many are traced.
    """

    operation: Operation
    signal: Value
    weight: Tensor
    images: int

    def multiply_adds(self) -> int:
        """For one image; what hangs over its border is none."""
        rows = self.signal.shape[0] // self.images  # a forward may have merged an axis of places with the batch
        if self.operation.function.overloadpacket is not _aten.convolution:
            return rows * self.signal.shape[1:].numel() * self.weight.shape[-1]
        _, _, _, stride, padding, dilation, transposed, output_padding, groups = self.operation.args
        ones = torch.ones(1, 1, *self.signal.shape[2:], dtype=torch.float64)
        kernel = torch.ones(1, 1, *self.weight.shape[2:], dtype=torch.float64)
        met: Tensor = _aten.convolution(ones, kernel, None, stride, padding, dilation, transposed, output_padding, 1)
        result = self.operation.results[0]
        assert result is not None
        channels: int = self.signal.shape[1] * result.shape[1] // groups
        return rows * round(float(met.sum())) * channels


def _connections(found: Trace) -> Iterator[_Connection]:
    """The operations in which a signal meets weights."""
    for operation in found.operations:
        packet = operation.function.overloadpacket
        if packet is _aten.convolution:
            signal, weight = operation.args[:2]
        elif packet in (_aten.addmm, _aten.mm):
            signal, weight = operation.args[-2:]
        else:
            continue
        if isinstance(signal, Value) and isinstance(weight, Tensor):
            yield _Connection(operation, signal, weight, found.images.shape[0])


def _folded(found: Trace, dt: float) -> Iterator[str]:
    """The layers of `NetworkCost.folded`, in the network's order."""
    spikes: set[Value] = set()  # values that are 0 or the height of a spike
    for call in found.calls:
        if isinstance(call.module, Neuron):
            spikes.add(call.output)
    unfiltered = {call.output: call.signal for call in found.calls if isinstance(call.module, NoFilter)}
    for operation in found.operations:
        inputs = [unfiltered.get(value, value) for value in operation.inputs]
        if operation.function.overloadpacket in _KEEPS_SPIKES and spikes.issuperset(inputs):
            spikes.update(value for value in operation.results if value is not None)
    changed: set[str] = set()
    for connection in _connections(found):
        if unfiltered.get(connection.signal, connection.signal) not in spikes:
            changed.update(_layers(connection.signal, found))
    for call in found.neurons:
        assert isinstance(call.module, Neuron)
        has_height = not math.isclose(call.module.scale, dt, rel_tol=1e-6)
        if has_height or call.name in changed:
            yield call.name


def _layers(value: Value, found: Trace) -> Iterator[str]:
    """The neuron layers whose spikes a value depends on."""
    for number in value.depends_on - {IMAGES}:
        call = found.calls[number]
        if isinstance(call.module, Neuron):
            yield call.name
        else:
            yield from _layers(call.signal, found)
