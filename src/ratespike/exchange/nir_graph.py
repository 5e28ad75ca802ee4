"""A NIR graph of what a network's forward does, from PyTorch's operations as `ratespike.simulation.tracing` writes them down.

Between neurons NIR has nodes with weights, poolings and edges, which add up. Everything else that a forward multiplies or adds
(a neuron's gain and bias, the height of a spike, batch normalisation, the factor of an average pooling) goes into the weights
in front or behind. So each value is kept as

    value = sum over nodes of factor * output of the node, + shift        with a factor and a shift for each channel

until something needs it as it is. Where no weights are near, some are put in: a convolution of 1 x 1, or a diagonal matrix.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ratespike.exchange.nir_neurons import is_leaky
from ratespike.exchange.packages import needed
from ratespike.neurons import LIF, IntegrateAndFire, Neuron
from ratespike.parameters import ParameterError
from ratespike.simulation.tracing import Call, Operation, Trace, Value
from ratespike.synapses import LowPass, NoFilter

_aten = torch.ops.aten
_LARGEST_DIAGONAL = 4096  # features that a diagonal matrix of weights may have


@dataclass(frozen=True, eq=False)
class Node:
    """A node of the graph.

    Attributes:
        kind: NIR's name of it.
        label: for its name.
        inputs: the nodes whose outputs add up to its input.
        shape: of its output, without batch.
        fields: NIR's, numbers and arrays.
    """

    kind: str
    label: str
    inputs: tuple["Node", ...]
    shape: tuple[int, ...]
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def spikes(self) -> bool:
        """Whether it is a neuron."""
        return self.kind in ("IF", "LIF")


@dataclass(frozen=True, eq=False)
class Weights(Node):
    """A node with weights: a dense layer or a convolution.

    Attributes:
        weight: in float64, shape (out, in, ...).
        bias: in float64, shape (out,).
    """

    weight: Tensor = field(kw_only=True)
    bias: Tensor = field(kw_only=True)


@dataclass(frozen=True, eq=False)
class Signal:
    """A value of the forward, as a sum over nodes.

    Attributes:
        factors: of each node's output, for each of its channels, in float64.
        shift: what is added, for each channel.
        shape: of the value, without batch; channels are its first axis.
    """

    factors: dict[Node, Tensor]
    shift: Tensor
    shape: tuple[int, ...]

    @classmethod
    def of(cls, node: Node, factor: float | Tensor = 1.0, shift: Tensor | None = None) -> "Signal":
        """The output of a node, multiplied with a factor."""
        zeros = torch.zeros(node.shape[0], dtype=torch.float64)
        return cls({node: zeros + factor}, zeros if shift is None else shift, node.shape)

    def times(self, factor: float | Tensor) -> "Signal":
        """The same, multiplied with a number, or one for each channel."""
        factors = {node: before * factor for node, before in self.factors.items()}
        return replace(self, factors=factors, shift=self.shift * factor)

    def plus(self, shift: float | Tensor) -> "Signal":
        """The same with a number added, or one for each channel."""
        return replace(self, shift=self.shift + shift)

    def with_signal(self, other: "Signal") -> "Signal":
        """The sum of two values of the same shape."""
        factors = dict(self.factors)
        for node, factor in other.factors.items():
            factors[node] = factors[node] + factor if node in factors else factor
        return replace(self, factors=factors, shift=self.shift + other.shift)


class _NotInNIRError(Exception):
    """An operation for which NIR has no node; the message says which."""


class GraphOf:
    """The graph of a traced network.

    Args:
        found: what the forward does; its neurons are those that NIR can say exactly.
        dt: length of a time step, seconds: a spike has the height `neuron.scale / dt`.
        time_constant: what is written for a time constant in seconds.

    Attributes:
        input: the node that stands for the images.
        outputs: the nodes whose outputs add up to the network's.

    Raises:
        ParameterError: an operation for which NIR has no node; the message names the module.
    """

    def __init__(self, found: Trace, dt: float, time_constant: Callable[[float], float]) -> None:
        if found.overwritten is not None:
            raise ParameterError(f"{found.overwritten}: overwrites a part of a value, which a graph cannot say")
        if len(found.images.shape) < 2:
            raise ParameterError("images: have no axis besides the batch")
        self.input = Node("Input", "input", (), tuple(found.images.shape[1:]))
        self._dt = dt
        self._time_constant = time_constant
        self._dtype = found.images.dtype
        self._calls = {call.output: call for call in found.calls}
        self._operations: dict[Value, Operation] = {}
        for operation in found.operations:
            self._operations.update({value: operation for value in operation.results if value is not None})
        self._signals: dict[Value, Signal] = {found.images: Signal.of(self.input)}
        needed = self._needed(found.output)
        for operation in found.operations:  # in their order, so that none has to wait for a long row of others
            for value in operation.results:
                if value in needed:
                    self.signal(value)
        self.outputs = self._of_output(self.signal(found.output))

    def _needed(self, output: Value) -> set[Value]:
        """The values on which the output depends."""
        needed: set[Value] = set()
        waiting = [output]
        while waiting:
            value = waiting.pop()
            if value in needed:
                continue
            needed.add(value)
            if value in self._calls:
                waiting.append(self._calls[value].signal)
            elif value in self._operations:
                waiting.extend(self._operations[value].inputs)
        return needed

    def signal(self, value: Value) -> Signal:
        """A value of the forward."""
        if value not in self._signals:
            self._signals[value] = self._found(value)
        return self._signals[value]

    def _found(self, value: Value) -> Signal:
        call = self._calls.get(value)
        if call is not None:
            return self._of_call(call)
        operation = self._operations.get(value)
        where = "network"
        try:
            if operation is None:
                raise _NotInNIRError("a value that comes from no operation")
            where = operation.module or where
            follow = _FOLLOWING.get(operation.function.overloadpacket)
            if follow is None or operation.results[0] is not value:
                raise _NotInNIRError(operation.name)
            return follow(self, operation)
        except _NotInNIRError as error:
            raise ParameterError(f"{where}: NIR has no node for {error}") from None

    def _of_output(self, signal: Signal) -> tuple[Node, ...]:
        """The nodes whose sum a network's output is; of spikes as they are, a 1 in place of their height."""
        nodes = list(signal.factors)
        if len(nodes) == 1 and nodes[0].spikes and not bool(signal.shift.any()):
            return (nodes[0],)
        return self.added_up(signal)

    def _of_call(self, call: Call) -> Signal:
        signal = self.signal(call.signal)
        module = call.module
        if isinstance(module, Neuron):
            return Signal.of(self._neuron(call.name, module, signal), module.scale / self._dt)
        if isinstance(module, NoFilter):
            return signal
        if not isinstance(module, LowPass):
            raise ParameterError(f"{call.name}: NIR has no filter {type(module).__name__}, only LowPass")
        inputs, factor, shift = self.with_one_factor(signal, shifted=False)
        tau = np.full(signal.shape, self._time_constant(module.tau))
        node = Node("LI", call.name, inputs, signal.shape, {"tau": tau, "r": np.ones_like(tau), "v_leak": np.zeros_like(tau)})
        return Signal.of(node, factor, shift)

    def _neuron(self, name: str, neuron: Neuron, signal: Signal) -> Node:
        """A neuron, whose current arrives as it is: r is 1 and nothing leaks to elsewhere than 0."""
        gain, bias = neuron.gain_and_bias()
        ones = np.ones(signal.shape)
        if is_leaky(neuron):
            assert isinstance(neuron, LIF)
            inputs = self.added_up(signal.times(gain).plus(bias))
            tau = ones * self._time_constant(neuron.tau_rc)
            fields = {"tau": tau, "r": ones, "v_leak": 0 * ones, "v_threshold": ones, "v_reset": 0 * ones}
            return Node("LIF", name, inputs, signal.shape, fields)
        assert isinstance(neuron, IntegrateAndFire)
        inputs = self.added_up(signal.times(gain * self._dt).plus(bias * self._dt))
        # NIR's neuron fires above its threshold, this one at it: so NIR's is the number below
        below = torch.nextafter(torch.tensor(neuron.threshold, dtype=self._dtype), torch.tensor(0.0, dtype=self._dtype))
        fields = {"r": ones, "v_threshold": ones * float(below), "v_reset": 0 * ones}
        return Node("IF", name, inputs, signal.shape, fields)

    def added_up(self, signal: Signal) -> tuple[Node, ...]:
        """Nodes whose outputs add up to a signal, without factors and shift."""
        shift = signal.shift
        nodes: list[Node] = []
        in_order = sorted(signal.factors, key=lambda node: not isinstance(node, Weights))  # the shift goes into a bias
        for node in in_order:
            factor = signal.factors[node]
            is_as_it_is = bool((factor == 1).all())
            has_more = len(nodes) + 1 < len(in_order)
            if is_as_it_is and (not bool(shift.any()) or (has_more and not isinstance(node, Weights))):
                nodes.append(node)
                continue
            nodes.append(_rescaled(node if isinstance(node, Weights) else _identity(node), factor, shift))
            shift = torch.zeros_like(shift)
        return tuple(nodes)

    def with_one_factor(self, signal: Signal, shifted: bool) -> tuple[tuple[Node, ...], Tensor, Tensor]:
        """Nodes, a factor and a shift for each channel: the signal is the sum of the nodes, times the factor, plus the shift.

        Args:
            signal: any.
            shifted: whether there may be a shift.
        """
        factors = list(signal.factors.values())
        is_alike = all(torch.equal(factor, factors[0]) for factor in factors)
        if is_alike and (shifted or not bool(signal.shift.any())):
            return tuple(signal.factors), factors[0], signal.shift
        zeros = torch.zeros_like(signal.shift)
        return self.added_up(signal), zeros + 1, zeros

    def _input(self, operation: Operation) -> Signal:
        """The only value that an operation takes."""
        if len(operation.inputs) != 1:
            raise _NotInNIRError(f"{operation.name} of several values")
        return self.signal(operation.inputs[0])

    def convolved(self, operation: Operation) -> Signal:
        """A convolution."""
        _, weight, bias, stride, padding, dilation, transposed, _, groups = operation.args
        if transposed or len(stride) > 2 or not isinstance(weight, Tensor):
            raise _NotInNIRError("a transposed convolution, one of three axes or with weights that change")
        if len(set(weight.shape[2:])) != 1:
            raise _NotInNIRError("a kernel that is no square: its own reader takes each for one")
        inputs, factor, shift = self.with_one_factor(self._input(operation), shifted=not any(padding))
        weights = _without_groups(weight.detach().cpu().double(), groups)
        to_kernel = (1, -1, *[1] * len(stride))
        biases = (weights * shift.reshape(to_kernel)).flatten(1).sum(1) + _constant(bias)
        options = {"stride": stride, "padding": padding, "dilation": dilation}
        return Signal.of(
            Weights(
                f"Conv{len(stride)}d",
                operation.module,
                inputs,
                _shape(operation),
                options | {"input_shape": inputs[0].shape[1:]},
                weight=weights * factor.reshape(to_kernel),
                bias=biases,
            )
        )

    def through_matrix(self, operation: Operation) -> Signal:
        """A dense layer."""
        matrix = operation.args[-1]
        bias = operation.args[0] if len(operation.args) == 3 else None
        signal = self._input(operation)
        if operation.kwargs or not isinstance(matrix, Tensor) or len(signal.shape) != 1:
            raise _NotInNIRError(f"{operation.name} in another form than a dense layer's")
        inputs, factor, shift = self.with_one_factor(signal, shifted=True)
        weight = matrix.detach().cpu().double().T
        biases = weight @ shift + _constant(bias)
        return Signal.of(
            Weights(
                "Affine", operation.module, inputs, _shape(operation), weight=weight * factor, bias=biases.expand(len(weight))
            )
        )

    def viewed(self, operation: Operation) -> Signal:
        """Another shape: the same one, or everything in a row."""
        signal = self._input(operation)
        shape = _shape(operation)
        if shape == signal.shape and operation.results[0].shape[0] == operation.inputs[0].shape[0]:  # type: ignore[union-attr]
            return signal
        if shape != (math.prod(signal.shape),):
            raise _NotInNIRError(f"{operation.name} other than to flatten")
        return _flattened(self, operation.module, signal)

    def averaged(self, operation: Operation) -> Signal:
        """An average pooling, as sums."""
        given = operation.arguments
        size = _pair(given["kernel_size"])
        if given["ceil_mode"] or (any(given["padding"]) and not given["count_include_pad"]):
            raise _NotInNIRError("a pooling whose windows are not equal")
        stride = _pair(given["stride"] or given["kernel_size"])
        divisor = given["divisor_override"] or math.prod(size)
        return self._summed(operation, _Windows(size, stride, _pair(given["padding"]), _shape(operation)), divisor)

    def averaged_to_size(self, operation: Operation) -> Signal:
        """An adaptive average pooling whose windows are equal."""
        before = self._input(operation).shape[-2:]
        after = _pair(operation.args[1])
        if any(old % new for old, new in zip(before, after, strict=True)):
            raise _NotInNIRError("a pooling whose windows are not equal")
        size = (before[0] // after[0], before[1] // after[1])
        return self._summed(operation, _Windows(size, size, (0, 0), _shape(operation)), math.prod(size))

    def totalled(self, operation: Operation) -> Signal:
        """A mean or a sum over height and width."""
        signal = self._input(operation)
        dims = operation.arguments.get("dim")
        if len(signal.shape) != 3 or dims is None or sorted(dim % 4 for dim in dims) != [2, 3]:
            raise _NotInNIRError(f"{operation.name} over other axes than height and width")
        size = (signal.shape[1], signal.shape[2])
        divisor = math.prod(size) if operation.function.overloadpacket is _aten.mean else 1
        pooled = self._summed(operation, _Windows(size, size, (0, 0), (signal.shape[0], 1, 1)), divisor)
        return pooled if len(_shape(operation)) == 3 else _flattened(self, operation.module, pooled)

    def _summed(self, operation: Operation, windows: "_Windows", divisor: int) -> Signal:
        """Sums over windows, divided."""
        inputs, factor, shift = self.with_one_factor(self._input(operation), shifted=not any(windows.padding))
        fields = {
            "kernel_size": np.array(windows.size),
            "stride": np.array(windows.stride),
            "padding": np.array(windows.padding),
        }
        node = Node("SumPool2d", operation.module, inputs, windows.shape, fields)
        return Signal.of(node, factor / divisor, shift * (math.prod(windows.size) / divisor))

    def normalised(self, operation: Operation) -> Signal:
        """A batch normalisation with the statistics of the training."""
        _, weight, bias, mean, variance, *rest = operation.args
        is_training = operation.function.overloadpacket is _aten.native_batch_norm and rest[0]
        if is_training or not isinstance(variance, Tensor):
            raise _NotInNIRError("a batch normalisation by the batch")
        factor = 1 / (_constant(variance) + rest[-1]).sqrt()
        if weight is not None:
            factor = factor * _constant(weight)
        return self._input(operation).plus(-_constant(mean)).times(factor).plus(_constant(bias))

    def added(self, operation: Operation) -> Signal:
        """A sum or a difference."""
        is_difference = operation.function.overloadpacket in (_aten.sub, _aten.sub_)
        factor = float(operation.kwargs.get("alpha", 1)) * (-1 if is_difference else 1)
        first, second = operation.args[:2]
        if isinstance(first, Value) and isinstance(second, Value):
            if first.shape != second.shape:
                raise _NotInNIRError(f"{operation.name} of values of two shapes")
            return self.signal(first).with_signal(self.signal(second).times(factor))
        if isinstance(first, Value):
            return self.signal(first).plus(_by_channel(second, _shape(operation)) * factor)
        return self.signal(second).times(factor).plus(_by_channel(first, _shape(operation)))

    def multiplied(self, operation: Operation) -> Signal:
        """A product with a constant, or a quotient."""
        first, second = operation.args[:2]
        divides = operation.function.overloadpacket in (_aten.div, _aten.div_)
        if operation.kwargs or (divides and isinstance(second, Value)):
            raise _NotInNIRError(operation.name)
        signal = self._input(operation)
        factor = _by_channel(second if isinstance(first, Value) else first, _shape(operation))
        return signal.times(1 / factor if divides else factor)

    def unchanged(self, operation: Operation) -> Signal:
        """An operation that returns what it gets."""
        if any(value is not None and value.dtype != self._dtype for value in operation.results):
            raise _NotInNIRError("a change of the data type")
        return self._input(operation)


_FOLLOWING: dict[Any, Callable[[GraphOf, Operation], Signal]] = {
    _aten.convolution: GraphOf.convolved,
    **dict.fromkeys((_aten.addmm, _aten.mm), GraphOf.through_matrix),
    **dict.fromkeys((_aten.view, _aten._unsafe_view, _aten.reshape, _aten._reshape_alias), GraphOf.viewed),
    _aten.avg_pool2d: GraphOf.averaged,
    _aten._adaptive_avg_pool2d: GraphOf.averaged_to_size,
    **dict.fromkeys((_aten.mean, _aten.sum), GraphOf.totalled),
    **dict.fromkeys((_aten.native_batch_norm, _aten._native_batch_norm_legit_no_training), GraphOf.normalised),
    **dict.fromkeys((_aten.add, _aten.add_, _aten.sub, _aten.sub_), GraphOf.added),
    **dict.fromkeys((_aten.mul, _aten.mul_, _aten.div, _aten.div_), GraphOf.multiplied),
    **dict.fromkeys((_aten.alias, _aten.clone, _aten.contiguous, _aten.detach, _aten._to_copy), GraphOf.unchanged),
}


@dataclass(frozen=True)
class _Windows:
    """The windows of a pooling, and the shape of its output without batch."""

    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    shape: tuple[int, ...]


def as_nir(graph: GraphOf, dtype: torch.dtype, metadata: dict[str, Any]) -> Any:
    """The graph in classes of the package `nir`.

    Args:
        graph: of a network.
        dtype: of its numbers.
        metadata: what the file says about the graph as a whole.

    Raises:
        ParameterError: the package finds something wrong with it.
    """
    nir = needed("nir")
    nodes = _in_order(graph.outputs)
    if graph.input not in nodes:
        raise ParameterError("network: its output does not depend on the images")
    names = _names(nodes)
    shape_of_output = np.array(graph.outputs[0].shape)
    made = {names[node]: _made(nir, node, dtype) for node in nodes}
    made["output"] = nir.Output(output_type={"output": shape_of_output})
    edges = [(names[source], names[node]) for node in nodes for source in node.inputs]
    edges += [(names[source], "output") for source in graph.outputs]
    try:
        return nir.NIRGraph(nodes=made, edges=edges, metadata=metadata)
    except (ValueError, AssertionError) as error:
        raise ParameterError(f"network: NIR refuses its graph ({' '.join(str(error).split())[:200]})") from None


def _in_order(outputs: Sequence[Node]) -> list[Node]:
    """All nodes that outputs depend on, each behind those that it depends on."""
    found: dict[Node, None] = {}
    waiting = list(reversed(outputs))
    while waiting:
        node = waiting[-1]
        missing = [source for source in node.inputs if source not in found]
        if missing:
            waiting.extend(reversed(missing))
        else:
            found[node] = None
            waiting.pop()
    return list(found)


def _names(nodes: Sequence[Node]) -> dict[Node, str]:
    """A name for each node, from its label."""
    names: dict[Node, str] = {}
    taken = {"output"}
    for node in nodes:
        label = (node.label or node.kind.lower()).replace(".", "_")
        number = 2
        name = label
        while name in taken:
            name = f"{label}_{number}"
            number += 1
        taken.add(name)
        names[node] = name
    return names


def _made(nir: Any, node: Node, dtype: torch.dtype) -> Any:
    """One node in a class of the package."""
    if node.kind == "Input":
        return nir.Input(input_type={"input": np.array(node.shape)})
    if node.kind == "Flatten":
        return nir.Flatten(input_type={"input": np.array(node.inputs[0].shape)}, start_dim=0, end_dim=-1)
    fields: dict[str, Any] = {name: _array(value, dtype) for name, value in node.fields.items()}
    if isinstance(node, Weights):
        fields |= {"weight": _array(node.weight, dtype), "bias": _array(node.bias, dtype)}
    if node.kind == "Conv1d":
        fields |= {name: int(node.fields[name][0]) for name in ("stride", "padding", "dilation", "input_shape")}
    if node.kind == "Conv2d":
        fields |= {name: tuple(node.fields[name]) for name in ("stride", "padding", "dilation", "input_shape")}
    if node.kind.startswith("Conv"):
        fields["groups"] = 1
    return getattr(nir, node.kind)(**fields)


def _array(value: Any, dtype: torch.dtype) -> NDArray[Any]:
    """A tensor or an array of floating-point numbers in a data type; whole numbers as they are."""
    array = np.asarray(value)
    if array.dtype.kind != "f":
        return array
    return array.astype(torch.empty(0, dtype=dtype).numpy().dtype)


def _rescaled(node: Weights, factor: Tensor, shift: Tensor) -> Weights:
    """A node whose output is multiplied, and something added to it, for each channel; what others read stays as it is."""
    weight = node.weight * factor.reshape(-1, *[1] * (node.weight.dim() - 1))
    return replace(node, weight=weight, bias=node.bias * factor + shift)


def _identity(node: Node) -> Weights:
    """Weights behind a node that change nothing."""
    channels, *place = node.shape
    if not place and channels > _LARGEST_DIAGONAL:
        raise ParameterError(
            f"{node.label}: to scale its {channels} features takes a matrix; NIR has no smaller weights for values in a row"
        )
    weight = torch.eye(channels, dtype=torch.float64).reshape(channels, channels, *[1] * len(place))
    zeros = torch.zeros(channels, dtype=torch.float64)
    label = f"{node.label}_scaled"
    if not place:
        return Weights("Affine", label, (node,), node.shape, weight=weight, bias=zeros)
    ones = [1] * len(place)
    options = {"stride": ones, "padding": [0] * len(place), "dilation": ones, "input_shape": tuple(place)}
    return Weights(f"Conv{len(place)}d", label, (node,), node.shape, options, weight=weight, bias=zeros)


def _flattened(graph: GraphOf, label: str, signal: Signal) -> Signal:
    """A value in a row."""
    if len(signal.shape) == 1:
        return signal
    inputs, factor, shift = graph.with_one_factor(signal, shifted=True)
    places = math.prod(signal.shape[1:])
    node = Node("Flatten", label, inputs, (math.prod(signal.shape),))
    return Signal.of(node, factor.repeat_interleave(places), shift.repeat_interleave(places))


def _shape(operation: Operation) -> tuple[int, ...]:
    """The shape of what an operation returns, without batch."""
    assert operation.results[0] is not None
    return tuple(operation.results[0].shape[1:])


def _constant(value: Any) -> Tensor:
    """A constant in float64; 0 for None."""
    if isinstance(value, Value):
        raise _NotInNIRError("weights that change")
    return torch.zeros(()).double() if value is None else torch.as_tensor(value).detach().cpu().double()


def _by_channel(value: Any, shape: tuple[int, ...]) -> Tensor:
    """A constant as a number for each channel of values of a shape."""
    constant = _constant(value)
    if constant.dim() > len(shape):
        constant = constant[0]
    at_each_place = constant.expand(shape).reshape(shape[0], -1)
    if not torch.equal(at_each_place, at_each_place[:, :1].expand_as(at_each_place)):
        raise _NotInNIRError("a constant that differs within a channel")
    return at_each_place[:, 0]


def _without_groups(weight: Tensor, groups: int) -> Tensor:
    """The weights of a convolution in groups as those of one without: 0 between groups."""
    outputs, inputs = weight.shape[:2]
    whole = weight.new_zeros(outputs, inputs * groups, *weight.shape[2:])
    per_group = outputs // groups
    for group in range(groups):
        rows = slice(group * per_group, (group + 1) * per_group)
        whole[rows, group * inputs : (group + 1) * inputs] = weight[rows]
    return whole


def _pair(value: Any) -> tuple[int, int]:
    values = [value, value] if isinstance(value, int) else list(value)
    return values[0], values[-1]
