"""A NIR graph as a PyTorch module, which `ratespike.simulate` runs."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from ratespike.neurons import LIF, IntegrateAndFire, Neuron, lif_rate
from ratespike.parameters import ParameterError
from ratespike.stateful import Stateful
from ratespike.synapses import LowPass

_MOST_VALUES = 2**26  # of one node for one image
_CURRENT_AT_ONE = 2.0  # of a LIF whose gain is 2 and whose bias is 0

Edge = tuple[str, str]
Parts = dict[str, nn.Module]  # the modules of a node, by what is behind its name


@dataclass(frozen=True)
class Meaning:
    """What the numbers of a file mean in time steps.

    Attributes:
        dt: length of a time step, seconds.
        time_constant: what a time constant of the file stands for, seconds.
        reset: of an IF, `zero` or `subtract`.
        dtype: of weights, and in which voltages will be computed.
    """

    dt: float
    time_constant: Callable[[float], float]
    reset: str
    dtype: torch.dtype


class NIRNetwork(nn.Module):
    """A feed-forward NIR graph: each node is a module, and edges into a node add up.

    The modules have the names of the nodes, with the name of a graph inside in front. What belongs to a node besides has its
    name and `_scale`, a factor of its inputs, in float64, or `_synapse`, a filter of them.

    Args:
        graph: a `nir.NIRGraph`, perhaps with graphs as nodes.
        meaning: of its numbers.

    Attributes:
        image_shape: what `forward` takes, without batch.

    Raises:
        ParameterError: a node that ratespike does not have, a graph with a circle, sizes that do not fit or are too large.
    """

    def __init__(self, graph: Any, meaning: "Meaning") -> None:
        super().__init__()
        nodes, edges = _flat(graph)
        self._sources: dict[str, list[str]] = {name: [] for name in nodes}
        for source, target in edges:
            for name in (source, target):
                if name not in nodes:
                    raise ParameterError(f"an edge leads to {name[:60]}, which is no node")
            self._sources[target].append(source)
        self._input = _only(nodes, "Input")
        self._output = _only(nodes, "Output")
        self._order = self._in_order()
        self._modules_of: dict[str, list[str]] = {}  # of each node, in order
        self.image_shape = tuple(int(size) for size in np.asarray(nodes[self._input].input_type["input"]).flatten())
        builder = _Builder(meaning)
        shapes: dict[str, tuple[int, ...]] = {}
        for name in self._order:
            arrives = self._shape_of_input(name, shapes)
            try:
                parts = builder.parts(nodes[name], arrives)
                shapes[name] = _checked_shape(parts, arrives, meaning.dtype)
            except ParameterError as error:
                raise ParameterError(f"{name[:60]}: {error}") from None
            self._modules_of[name] = [self._added(f"{name}{suffix}", part) for suffix, part in parts.items()]

    def forward(self, images: Tensor) -> Tensor:
        """The output, shape (batch, ...), for images (batch, ...)."""
        values = {self._input: images}
        for name in self._order[1:]:
            first, *others = self._sources[name]
            signal = values[first]
            for source in others:
                signal = signal + values[source]
            for part in self._modules_of[name]:
                signal = self.get_submodule(part)(signal)
            values[name] = signal
        return values[self._output]

    def _added(self, name: str, module: nn.Module) -> str:
        """Add a module under a name that PyTorch allows, and return that."""
        allowed = name.replace(".", "_") or "_"
        while hasattr(self, allowed):
            allowed += "_"
        self.add_module(allowed, module)
        return allowed

    def _in_order(self) -> list[str]:
        """The nodes that the output depends on, each behind those that it needs; the input is the first."""
        needed: set[str] = set()
        waiting = [self._output]
        while waiting:
            name = waiting.pop()
            if name not in needed:
                needed.add(name)
                waiting.extend(self._sources[name])
        try:
            order = list(TopologicalSorter({name: self._sources[name] for name in needed}).static_order())
        except CycleError as error:
            raise ParameterError(f"goes in a circle through {error.args[1][0][:60]}; ratespike is feed-forward") from None
        for name in order:
            if not self._sources[name] and name != self._input:
                raise ParameterError(f"nothing leads to {name[:60]}")
        if self._input not in needed or self._sources[self._input]:
            raise ParameterError("nothing leads from the input to the output, or something leads to the input")
        order.remove(self._input)
        return [self._input, *order]

    def _shape_of_input(self, name: str, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
        """The shape that arrives at a node, without batch."""
        if name == self._input:
            return self.image_shape
        first, *others = [shapes[source] for source in self._sources[name]]
        if any(other != first for other in others):
            raise ParameterError(f"{name}: gets values of the shapes {', '.join(map(str, sorted({first, *others})))}")
        return first


class _Scaled(nn.Module):
    """Multiplies each value with a factor of its own.

    Args:
        factor: of the shape of the values, without batch.
    """

    factor: Tensor

    def __init__(self, factor: NDArray[Any]) -> None:
        super().__init__()
        self.register_buffer("factor", torch.from_numpy(np.asarray(factor, dtype=np.float64)))

    def forward(self, x: Tensor) -> Tensor:
        """The product, of the shape of `x`."""
        return x * self.factor


class _Builder:
    """Makes the modules of a node; see `NIRNetwork`."""

    def __init__(self, meaning: Meaning) -> None:
        self._meaning = meaning

    def parts(self, node: Any, shape: tuple[int, ...]) -> Parts:
        """The modules of a node at which values of a shape arrive, without batch, in their order."""
        if node is None:
            return {}
        kind = type(node).__name__
        make = _MAKERS.get(kind)
        if make is None:
            raise ParameterError(f"ratespike has nothing like NIR's {kind}")
        try:
            made = make(self, node, shape)
        except (AttributeError, IndexError, OverflowError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, ParameterError):
                raise
            raise ParameterError(f"a {kind} that cannot be built ({' '.join(str(error).split())[:120]})") from None
        return {"": made} if isinstance(made, nn.Module) else made

    def passing(self, node: Any, shape: tuple[int, ...]) -> Parts:
        """The graph's input or output."""
        return {}

    def dense(self, node: Any, shape: tuple[int, ...]) -> nn.Module:
        """Weights, perhaps without a bias."""
        weight = _weights(node.weight, 2, self._meaning.dtype)
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=hasattr(node, "bias"), device="meta")
        return _with_weights(layer, weight, getattr(node, "bias", None))

    def convolution1d(self, node: Any, shape: tuple[int, ...]) -> nn.Module:
        """Over one axis."""
        return self._convolution(nn.Conv1d, node, 1)

    def convolution2d(self, node: Any, shape: tuple[int, ...]) -> nn.Module:
        """Over height and width."""
        return self._convolution(nn.Conv2d, node, 2)

    def _convolution(self, kind: Callable[..., nn.Module], node: Any, axes: int) -> nn.Module:
        weight = _weights(node.weight, 2 + axes, self._meaning.dtype)
        groups = int(node.groups)
        padding = node.padding if isinstance(node.padding, str) else _sizes(node.padding, axes, 0)
        layer = kind(
            weight.shape[1] * groups,
            weight.shape[0],
            tuple(weight.shape[2:]),
            stride=_sizes(node.stride, axes, 1),
            padding=padding,
            dilation=_sizes(node.dilation, axes, 1),
            groups=groups,
            device="meta",
        )
        return _with_weights(layer, weight, node.bias)

    def sums(self, node: Any, shape: tuple[int, ...]) -> nn.Module:
        """Of windows."""
        return self._pool(node, divisor=1)

    def means(self, node: Any, shape: tuple[int, ...]) -> nn.Module:
        """Of windows."""
        return self._pool(node, divisor=None)

    def _pool(self, node: Any, divisor: int | None) -> nn.Module:
        height, width = _sizes(node.kernel_size, 2, 1)
        down, right = _sizes(node.stride, 2, 1)
        above, beside = _sizes(node.padding, 2, 0)
        return nn.AvgPool2d((height, width), (down, right), (above, beside), divisor_override=divisor)

    def flattened(self, node: Any, shape: tuple[int, ...]) -> nn.Module:
        """Some axes as one; NIR counts them without the batch."""
        first, last = (int(dim) for dim in (node.start_dim, node.end_dim))
        return nn.Flatten(first + 1 if first >= 0 else first, last + 1 if last >= 0 else last)

    def scaled(self, node: Any, shape: tuple[int, ...]) -> nn.Module:
        """A factor for each value."""
        return _Scaled(_broadcast(node.scale, shape, "scale"))

    def filtered(self, node: Any, shape: tuple[int, ...]) -> Parts:
        """A leaky integrator."""
        _check_zero(node.v_leak, "v_leak", "an LI")
        return _scaled(_broadcast(node.r, shape, "r")) | {"": self._filter(node.tau, "tau")}

    def _filter(self, tau: Any, name: str) -> nn.Module:
        return LowPass(tau=self._meaning.time_constant(_one_number(tau, name)))

    def integrate_and_fire(self, node: Any, shape: tuple[int, ...]) -> Parts:
        """A neuron without a leak."""
        _check_zero(node.v_reset, "v_reset", "an IF")
        threshold = _broadcast(node.v_threshold, shape, "v_threshold")
        factor = _broadcast(node.r, shape, "r")
        if (threshold <= 0).any():
            raise ParameterError("v_threshold is not above 0")
        if not _is_one_number(threshold):
            factor = factor / threshold
            threshold = np.ones_like(threshold)
        return _scaled(factor) | {"": self._without_leak(float(threshold.flat[0]))}

    def _without_leak(self, threshold: float) -> Neuron:
        """A neuron that adds its input to its voltage in each step and whose spikes are a 1."""
        meaning = self._meaning
        if meaning.reset == "zero":  # NIR's neuron fires above its threshold, this one at it
            threshold = _next_above(threshold, meaning.dtype)
        rate = 1 / (threshold * meaning.dt)  # at an input of 1
        return IntegrateAndFire(max_rate=rate, amplitude=meaning.dt, threshold=threshold, reset=meaning.reset)

    def leaky(self, node: Any, shape: tuple[int, ...]) -> Parts:
        """A neuron with a leak."""
        factor = _broadcast(node.r, shape, "r") / self._height(node, shape) / _CURRENT_AT_ONE
        return _scaled(factor) | {"": self._with_leak(node.tau, "tau")}

    def _height(self, node: Any, shape: tuple[int, ...]) -> NDArray[Any]:
        """How far the threshold of a leaky neuron is above the voltage at which it rests, where it is also set to."""
        leak = _broadcast(node.v_leak, shape, "v_leak")
        height: NDArray[Any] = _broadcast(node.v_threshold, shape, "v_threshold") - leak
        if (height <= 0).any():
            raise ParameterError("v_threshold is not above v_leak")
        if (_broadcast(node.v_reset, shape, "v_reset") != leak).any():
            raise ParameterError("v_reset is not v_leak, where ratespike's LIF is set to")
        return height

    def _with_leak(self, tau: Any, name: str) -> Neuron:
        """A neuron whose current is twice its input and whose spikes are a 1; its voltage counts from where it rests."""
        tau_rc = self._meaning.time_constant(_one_number(tau, name))
        rate = float(lif_rate(torch.tensor(_CURRENT_AT_ONE, dtype=torch.float64), tau_rc, 0.0))
        return LIF(max_rate=rate, intercept=0.5, amplitude=self._meaning.dt, tau_rc=tau_rc, tau_ref=0.0, min_voltage=None)

    def filtered_twice(self, node: Any, shape: tuple[int, ...]) -> Parts:
        """A leaky integrator behind a synapse."""
        _check_zero(node.v_leak, "v_leak", "a CubaLI")
        factor = _broadcast(node.w_in, shape, "w_in") * _broadcast(node.r, shape, "r")
        return _scaled(factor) | {"_synapse": self._filter(node.tau_syn, "tau_syn"), "": self._filter(node.tau_mem, "tau_mem")}

    def leaky_behind_synapse(self, node: Any, shape: tuple[int, ...]) -> Parts:
        """A neuron with a leak behind a synapse."""
        factor = _broadcast(node.w_in, shape, "w_in") * _broadcast(node.r, shape, "r")
        factor = factor / self._height(node, shape) / _CURRENT_AT_ONE
        synapse = self._filter(node.tau_syn, "tau_syn")
        return _scaled(factor) | {"_synapse": synapse, "": self._with_leak(node.tau_mem, "tau_mem")}


_MAKERS: dict[str, Callable[[_Builder, Any, tuple[int, ...]], Parts | nn.Module]] = {
    "Input": _Builder.passing,
    "Output": _Builder.passing,
    "Affine": _Builder.dense,
    "Linear": _Builder.dense,
    "Conv1d": _Builder.convolution1d,
    "Conv2d": _Builder.convolution2d,
    "SumPool2d": _Builder.sums,
    "AvgPool2d": _Builder.means,
    "Flatten": _Builder.flattened,
    "Scale": _Builder.scaled,
    "LI": _Builder.filtered,
    "IF": _Builder.integrate_and_fire,
    "LIF": _Builder.leaky,
    "CubaLI": _Builder.filtered_twice,
    "CubaLIF": _Builder.leaky_behind_synapse,
}


def _flat(graph: Any, prefix: str = "") -> tuple[dict[str, Any], list[Edge]]:
    """The nodes of a graph and of the graphs inside by name, and the edges between them; a None passes what it gets."""
    nodes: dict[str, Any] = {}
    edges = [(f"{prefix}{source}", f"{prefix}{target}") for source, target in graph.edges]
    for name, node in graph.nodes.items():
        full = f"{prefix}{name}"
        if type(node).__name__ != "NIRGraph":
            nodes[full] = node
            continue
        inner, inner_edges = _flat(node, f"{full}.")
        into, out = _only(inner, "Input"), _only(inner, "Output")
        edges = [(out if source == full else source, into if target == full else target) for source, target in edges]
        nodes |= inner | {into: None, out: None}
        edges += inner_edges
    return nodes, edges


def _only(nodes: Mapping[str, Any], kind: str) -> str:
    """The name of the only node of a kind."""
    found = [name for name, node in nodes.items() if type(node).__name__ == kind]
    if len(found) != 1:
        raise ParameterError(f"has {len(found)} nodes of the kind {kind}; must have one")
    return found[0]


def _checked_shape(parts: Parts, shape: tuple[int, ...], dtype: torch.dtype) -> tuple[int, ...]:
    """The shape of what the modules of a node make of values of a shape, found without computing them."""
    if not all(size > 0 for size in shape) or math.prod(shape) > _MOST_VALUES:
        raise ParameterError(f"values of the shape {shape}: must be above 0, and not more than {_MOST_VALUES} in all")
    module = parts.get("", nn.Identity())
    if isinstance(module, _Scaled | Stateful):  # they change no shape
        return shape
    without_memory = {name: tensor.to("meta") for name, tensor in (*module.named_parameters(), *module.named_buffers())}
    try:
        output = functional_call(module, without_memory, (torch.empty(1, *shape, dtype=dtype, device="meta"),))
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        raise ParameterError(f"does not fit values of the shape {shape} ({' '.join(str(error).split())[:120]})") from None
    result = tuple(output.shape[1:])
    if output.shape[0] != 1 or math.prod(result) > _MOST_VALUES:
        raise ParameterError(f"makes values of the shape {tuple(output.shape)} for one image")
    return result


def _scaled(factor: NDArray[Any]) -> Parts:
    """What multiplies the inputs of a node with a factor; nothing if that is 1 everywhere."""
    if (factor == 1).all():
        return {}
    return {"_scale": _Scaled(np.asarray(factor.flat[0]) if _is_one_number(factor) else factor)}


def _weights(values: Any, axes: int, dtype: torch.dtype) -> Tensor:
    """Weights as a tensor with a number of axes."""
    array = np.asarray(values)
    if array.ndim != axes or array.dtype.kind not in "fiu":
        raise ParameterError(f"weights of the shape {array.shape} and type {array.dtype}; must be numbers along {axes} axes")
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False)).to(dtype)


def _with_weights(layer: nn.Module, weight: Tensor, bias: Any) -> nn.Module:
    """A layer, made without memory, that takes over these weights, which must be of its shape."""
    given = {"weight": weight}
    if bias is not None:
        given["bias"] = _weights(np.asarray(bias).flatten(), 1, weight.dtype)
    layer.load_state_dict(given, assign=True)
    return layer


def _sizes(value: Any, axes: int, at_least: int) -> tuple[int, ...]:
    """Whole numbers for each axis, given for each or once for all."""
    values = np.asarray(value).flatten()
    if len(values) not in (1, axes) or (values != values.astype(np.int64)).any() or (values < at_least).any():
        raise ParameterError(f"{values.tolist()[:5]}: must be {axes} whole numbers, at least {at_least}")
    sizes = [int(size) for size in values]
    return tuple(sizes * axes if len(sizes) == 1 else sizes)


def _broadcast(values: Any, shape: tuple[int, ...], name: str) -> NDArray[Any]:
    """A parameter of this shape, or with axes of length 1 if it is the same for all values, however many there are."""
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ParameterError(f"{name} is not finite")
    if array.size == 1 or _is_one_number(array):
        return array.flatten()[:1].reshape([1] * len(shape))
    if array.shape != shape:
        raise ParameterError(f"{name} has the shape {array.shape}, but what arrives {shape}")
    return array


def _is_one_number(values: NDArray[Any]) -> bool:
    """Whether all values are the same."""
    return values.size > 0 and bool((values == values.flat[0]).all())


def _one_number(values: Any, name: str) -> float:
    """The number that all neurons share; a layer of ratespike has one time constant."""
    array = np.asarray(values, dtype=np.float64)
    if not _is_one_number(array):
        raise ParameterError(f"{name} differs between neurons; a layer of ratespike has one for all")
    return float(array.flat[0])


def _next_above(number: float, dtype: torch.dtype) -> float:
    """The smallest number of a data type that is above another one."""
    nearest = torch.tensor(number, dtype=dtype)
    if float(nearest) > number:
        return float(nearest)
    return float(torch.nextafter(nearest, torch.tensor(math.inf, dtype=dtype)))


def _check_zero(values: Any, name: str, of: str) -> None:
    if np.asarray(values).any():
        raise ParameterError(f"{name} of {of} is not 0")
