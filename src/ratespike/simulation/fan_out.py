"""How many weights an image and each spike meet: the work of an event-driven machine, which computes where something happens.

A spike goes along every connection of its neuron, and each connection with a weight costs one multiply-add. How many there are
depends on the neuron's place: at an image's border a kernel has fewer neighbours, and a pooling may drop the last row.

They are counted by one pass through the network's operations with all weights 1, whose result is the number of connections, as
a sum over the places. Its derivative by one place is that place's number. A weight of 0 is no connection and stays 0: in a
pruned network a spike meets the weights that are left.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ratespike.neurons import Neuron
from ratespike.simulation.replay import CHOICES, apply_to
from ratespike.simulation.tracing import Operation, Trace, Value

_aten = torch.ops.aten


@dataclass(frozen=True)
class FanOut:
    """How many weights an image and each spike meet in a network.

    Attributes:
        image_weights_met: how many weights a value in each place of an image meets on its way to the first neurons, and to all
            others that the image reaches without them; of an image's shape without batch, float64.
        weights_met: by neuron layer, in the network's order, how many weights a spike of each neuron meets on its way to
            the next neurons; of the layer's shape without batch, float64.
        output_shape: of the network's output, without batch.
    """

    image_weights_met: Float[Tensor, " *shape"]
    weights_met: dict[str, Float[Tensor, " *shape"]]
    output_shape: torch.Size

    @property
    def image_operations(self) -> int:
        """Multiply-adds that a whole image makes in a step in which it changes, the first for a constant one."""
        return round(float(self.image_weights_met.sum()))

    def value_operations(self, images: Float[Tensor, "time batch *shape"]) -> Float[Tensor, "time batch"]:
        """The same of those values of an image that are not 0, in float64.

        Example:
            >>> FanOut(torch.tensor([4.0, 3.0]).double(), {}, torch.Size()).value_operations(torch.tensor([[[0.0, 0.5]]]))
            tensor([[3.]], dtype=torch.float64)
        """
        weights_met = self.image_weights_met.flatten().to(images.device)
        return torch.stack([(values.flatten(1) != 0).double() @ weights_met for values in images])

    def event_operations(self, events: Float[Tensor, "time batch *shape"], event_height: float) -> Float[Tensor, "time batch"]:
        """Multiply-adds that images of events make in each step: for each event the weights that it meets.

        Args:
            events: the images in each step.
            event_height: the value of one event; that of two in a step is twice as high.

        Returns:
            In float64.

        Example:
            >>> FanOut(torch.tensor([4.0, 3.0]).double(), {}, torch.Size()).event_operations(torch.tensor([[[0.0, 20.0]]]), 10)
            tensor([[6.]], dtype=torch.float64)
        """
        weights_met = self.image_weights_met.flatten().to(events.device)
        steps = []
        for values in events:
            counts = (values.flatten(1).double() / event_height).round().abs()  # (batch, places)
            steps.append(counts @ weights_met)
        return torch.stack(steps)

    @property
    def largest_layer(self) -> int:
        """How many neurons the largest layer has."""
        return max(places.numel() for places in self.weights_met.values())


def fan_out(found: Trace) -> FanOut:
    """Count the weights that an image and the spikes of each neuron layer meet.

    A weight is met where a convolution or a matrix of constants multiplies the spike with it, unless it is 0. With several in
    a row, each path of the spike counts. An operation that is neither a sum nor a mean nor a choice of places is passed as if
    it were not there, if it keeps the shape; if not, every place behind it is taken to hear every place in front of it.

    Example:
        >>> from torch import nn
        >>> from ratespike.neurons import LIF
        >>> from ratespike.simulation.probe import trace
        >>> network = nn.Sequential(nn.Linear(4, 8), LIF(), nn.Linear(8, 3)).eval()
        >>> counted = fan_out(trace(network, torch.zeros(1, 4)))
        >>> counted.image_operations, counted.weights_met, counted.output_shape
        (32, {'1': tensor([3., 3., 3., 3., 3., 3., 3., 3.], dtype=torch.float64)}, torch.Size([3]))
    """
    with torch.inference_mode(False), torch.enable_grad():
        paths = _Paths()
        image = paths.begin(found.images)
        spikes: dict[str, Tensor] = {}
        behind: dict[Value, Value] = {}  # what leaves a filter is what enters it
        for call in found.calls:
            if isinstance(call.module, Neuron):
                spikes[call.name] = paths.begin(call.output)
            else:
                behind[call.output] = call.signal
        paths.alias = behind
        for operation in found.operations:
            paths.follow(operation)
        gradients = torch.autograd.grad(paths.multiply_adds, [image, *spikes.values()], allow_unused=True)
    met = []
    for ones, gradient in zip([image, *spikes.values()], gradients, strict=True):
        met.append((torch.zeros_like(ones) if gradient is None else gradient)[0].detach())
    return FanOut(met[0], dict(zip(spikes, met[1:], strict=True)), found.output.shape[1:])


class _Paths:
    """The connections to the places behind the operations that were followed, from a spike in every place of every layer.

    Attributes:
        multiply_adds: of all weights that were met.
        alias: values that are another's, by the value.
    """

    def __init__(self) -> None:
        self.multiply_adds = torch.zeros((), dtype=torch.float64, requires_grad=True) * 1
        self.alias: dict[Value, Value] = {}
        self._arriving: dict[Value, Tensor] = {}  # shape (1, ...)

    def begin(self, value: Value) -> Tensor:
        """Let one spike begin in every place of a value."""
        ones = torch.ones(1, *value.shape[1:], dtype=torch.float64, requires_grad=True)
        self._arriving[value] = ones
        return ones

    def of(self, value: Value) -> Tensor:
        """How many connections arrive at each place of a value, shape (1, ...)."""
        value = self.alias.get(value, value)
        if value not in self._arriving:  # such as the indices of a max pooling
            self._arriving[value] = torch.zeros(1, *value.shape[1:], dtype=torch.float64)
        return self._arriving[value]

    def follow(self, operation: Operation) -> None:
        """Go through one operation."""
        packet = operation.function.overloadpacket
        try:
            arriving = _FOLLOWING.get(packet, _follow_another)(self, operation)
        except (AssertionError, IndexError, RuntimeError):  # it does something else with the rows of a batch
            arriving = _follow_another(self, operation)
        if isinstance(arriving, Tensor):
            arriving = [arriving]
        for value, at_each_place in zip(operation.results, arriving, strict=False):  # behind a max pooling come indices
            if value is not None:
                self._arriving[value] = at_each_place

    def meet(self, arriving: Tensor) -> None:
        """Count weights, one for each of these connections."""
        self.multiply_adds = self.multiply_adds + arriving.sum()


def _follow_convolution(paths: _Paths, operation: Operation) -> Any:
    signal, weight, _, stride, padding, dilation, transposed, output_padding, groups = operation.args
    if not isinstance(signal, Value) or not isinstance(weight, Tensor):
        return _follow_another(paths, operation)
    arriving = paths.of(signal)
    arguments = (stride, padding, dilation, transposed, output_padding, groups)
    behind: Tensor
    if _is_pruned(weight):
        behind = _aten.convolution(arriving, _connections(weight), None, *arguments)
    else:
        one_channel = arriving.unflatten(1, (groups, -1)).sum(2)  # all channels of a group have the same connections
        kernel = arriving.new_ones(groups, 1, *weight.shape[2:])
        behind = _aten.convolution(one_channel, kernel, None, *arguments)  # (1, groups, ...)
        outputs = operation.results[0].shape[1]  # type: ignore[union-attr]
        behind = behind.repeat_interleave(outputs // groups, dim=1)
    paths.meet(behind)
    return behind


def _follow_matrix(paths: _Paths, operation: Operation) -> Any:
    signal, weight = operation.args[-2:]
    if not isinstance(signal, Value) or not isinstance(weight, Tensor):
        return _follow_another(paths, operation)
    arriving = paths.of(signal)
    if _is_pruned(weight):
        behind = arriving @ _connections(weight)
    else:
        behind = arriving.sum(-1, keepdim=True).expand(*arriving.shape[:-1], weight.shape[-1])
    paths.meet(behind)
    return behind


def _is_pruned(weight: Tensor) -> bool:
    return bool((weight == 0).any())


def _connections(weight: Tensor) -> Tensor:
    """1 where there is a weight, else 0."""
    return (weight.detach() != 0).double().cpu()


def _follow_average_pooling(paths: _Paths, operation: Operation) -> Tensor:
    given = operation.arguments
    arriving = paths.of(given["self"])
    pool = F.avg_pool2d if operation.function.overloadpacket is _aten.avg_pool2d else F.avg_pool3d
    stride = given["stride"] or given["kernel_size"]
    return pool(arriving, given["kernel_size"], stride, given["padding"], given["ceil_mode"], divisor_override=1)  # type: ignore[operator,no-any-return]


def _follow_adaptive_pooling(paths: _Paths, operation: Operation) -> Tensor:
    signal, size = operation.args
    weight = 1.0
    for before, after in zip(signal.shape[-len(size) :], size, strict=True):
        weight *= math.ceil(before / after)
    pool = F.adaptive_avg_pool2d if len(size) == 2 else F.adaptive_avg_pool3d
    mean: Tensor = pool(paths.of(signal), size)
    return mean * weight  # exact where windows are equal


def _follow_max_pooling(paths: _Paths, operation: Operation) -> Any:
    """A spike goes to each window in which it is."""
    given = operation.arguments
    if set(_as_list(given["dilation"])) != {1}:
        return _follow_another(paths, operation)
    pool = F.avg_pool2d if operation.function.overloadpacket is _aten.max_pool2d_with_indices else F.avg_pool3d
    arriving = paths.of(given["self"])
    stride = given["stride"] or given["kernel_size"]
    return pool(arriving, given["kernel_size"], stride, given["padding"], given["ceil_mode"], divisor_override=1)  # type: ignore[operator,no-any-return]


def _as_list(value: int | list[int]) -> list[int]:
    return [value] if isinstance(value, int) else value


def _follow_mean(paths: _Paths, operation: Operation) -> Tensor:
    given = operation.arguments
    total: Tensor = paths.of(given["self"]).sum(given.get("dim"), keepdim=given.get("keepdim", False))
    return total


def _follow_choice(paths: _Paths, operation: Operation) -> Any:
    """An operation that puts places elsewhere: it is done as it stands."""
    return apply_to(operation, paths.of)


def _follow_sum(paths: _Paths, operation: Operation) -> Tensor:
    """A sum of values: what arrives at either."""
    total = torch.zeros(1, *operation.results[0].shape[1:], dtype=torch.float64)  # type: ignore[union-attr]
    for value in operation.inputs:
        total = total + paths.of(value)
    return total


def _follow_another(paths: _Paths, operation: Operation) -> list[Tensor | None]:
    arriving: list[Tensor | None] = []
    for result in operation.results:
        if result is None:
            arriving.append(None)
            continue
        total = torch.zeros(1, *result.shape[1:], dtype=torch.float64)
        for value in operation.inputs:
            total = total + _fitted(paths.of(value), result.shape)
        arriving.append(total)
    return arriving


_FOLLOWING: dict[Any, Callable[[_Paths, Operation], Any]] = {
    _aten.convolution: _follow_convolution,
    _aten.addmm: _follow_matrix,
    _aten.mm: _follow_matrix,
    _aten.avg_pool2d: _follow_average_pooling,
    _aten.avg_pool3d: _follow_average_pooling,
    _aten._adaptive_avg_pool2d: _follow_adaptive_pooling,
    _aten._adaptive_avg_pool3d: _follow_adaptive_pooling,
    _aten.max_pool2d_with_indices: _follow_max_pooling,
    _aten.max_pool3d_with_indices: _follow_max_pooling,
    _aten.adaptive_max_pool2d: _follow_adaptive_pooling,
    _aten.adaptive_max_pool3d: _follow_adaptive_pooling,
    _aten.mean: _follow_mean,
    _aten.sum: _follow_mean,
    _aten.add: _follow_sum,
    _aten.add_: _follow_sum,
    _aten.sub: _follow_sum,
    _aten.sub_: _follow_sum,
    **dict.fromkeys(CHOICES, _follow_choice),
}


def _fitted(arriving: Tensor, shape: torch.Size) -> Tensor:
    """The same for a value of this shape: place by place, or from every place to every place."""
    if arriving.shape[1:] == shape[1:]:
        return arriving
    return arriving.sum().expand(1, *shape[1:])
