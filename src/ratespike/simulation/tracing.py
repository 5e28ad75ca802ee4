"""What a network's own `forward` does: which neurons and filters it calls, in which order, and with what in between.

`record` runs the forward and writes down PyTorch's operations. Nothing is concluded from a module's class or children. A
forward whose way depends on the values that it computes is refused.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ratespike.neurons import Neuron
from ratespike.parameters import ParameterError
from ratespike.simulation.forward import Interception, call_forward, running_modules
from ratespike.stateful import Stateful

IMAGES = -1  # the number of the images among what a value can depend on; a call has its own number

_aten = torch.ops.aten
_READS_A_VALUE = (_aten._local_scalar_dense, _aten.equal, _aten.nonzero, _aten.masked_select, _aten.is_nonzero)
_LEAVES_PYTORCH = (Tensor.numpy, Tensor.tolist, Tensor.__array__, Tensor.data_ptr)


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor that the forward has computed from images or from outputs of neurons and filters.

    Attributes:
        shape: with the batch in front.
        depends_on: numbers of calls, and `IMAGES`.
        dtype: of the tensor.
    """

    shape: torch.Size
    depends_on: frozenset[int]
    dtype: torch.dtype


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation of PyTorch.

    Attributes:
        function: from `torch.ops.aten`.
        args: `Value`s where tensors depend on images or spikes; other tensors as they are.
        kwargs: as `args`.
        results: what it returns; None in place of what is no tensor.
        module: name of the module whose forward has done it; empty for the network itself.
    """

    function: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    results: tuple[Value | None, ...]
    module: str

    @cached_property
    def inputs(self) -> list[Value]:
        """The values among the arguments."""
        return [item for item in flattened((self.args, self.kwargs)) if isinstance(item, Value)]

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """The arguments by PyTorch's names of them, those that were left to their defaults too."""
        known = self.function._schema.arguments
        by_name: dict[str, Any] = {argument.name: argument.default_value for argument in known if argument.has_default_value()}
        for argument, given in zip(known, self.args, strict=False):
            by_name[argument.name] = given
        by_name.update(self.kwargs)
        return by_name

    @property
    def has_spikes(self) -> bool:
        """Whether it depends on spikes."""
        return any(value.depends_on - {IMAGES} for value in self.inputs)

    @property
    def name(self) -> str:
        """PyTorch's name of it."""
        return str(self.function.overloadpacket).removeprefix("aten.")


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a module with memory.

    Attributes:
        number: among the calls, from 0.
        name: of the module in the network; a module that is called several times has a name for each call.
        module: a neuron or a filter.
        signal: what it is called with.
        output: what leaves it.
    """

    number: int
    name: str
    module: Stateful
    signal: Value
    output: Value

    @property
    def shape(self) -> torch.Size:
        """Of signal and output, without batch."""
        return self.signal.shape[1:]


@dataclass(frozen=True, eq=False)
class Trace:
    """What a network's forward does.

    Attributes:
        images: what it is called with.
        calls: of neurons and filters, in their order.
        operations: in their order.
        output: what it returns.
        overwritten: the name of a module that overwrites a value of which something else may be a part, if there is one:
            then the operations do not tell what is computed.
    """

    images: Value
    calls: list[Call]
    operations: list[Operation]
    output: Value
    overwritten: str | None

    @property
    def neurons(self) -> list[Call]:
        """The calls of neurons."""
        return [call for call in self.calls if isinstance(call.module, Neuron)]


@dataclass(frozen=True, eq=False)
class Recording:
    """One run of a forward.

    Attributes:
        trace: what it has done.
        modules: neurons and filters in the order of their calls.
        signals: what each of them was called with, and last the output.
        spikes: what was put in place of the output of each of them.
    """

    trace: Trace
    modules: list[Stateful]
    signals: list[Tensor]
    spikes: list[Tensor]


def flattened(arguments: Any) -> list[Any]:
    """What is in nested tuples, lists and dictionaries of arguments."""
    if isinstance(arguments, dict):
        arguments = list(arguments.values())
    if not isinstance(arguments, tuple | list):
        return [arguments]
    return [item for argument in arguments for item in flattened(argument)]


def mapped(change: Callable[[Any], Any], arguments: Any) -> Any:
    """The same nested tuples, lists and dictionaries with everything in them changed."""
    if isinstance(arguments, dict):
        return {name: mapped(change, argument) for name, argument in arguments.items()}
    if isinstance(arguments, tuple | list):
        return type(arguments)([mapped(change, argument) for argument in arguments])
    return change(arguments)


def record(network: nn.Module, images: Tensor, spikes_like: Callable[[Tensor], Tensor]) -> Recording:
    """Run a network's forward and write down what it does.

    Args:
        network: in eval mode; not changed.
        images: shape (batch, ...).
        spikes_like: what to put in place of the output of a neuron or filter, of its input's shape and dtype.

    Raises:
        ParameterError: a forward that fails, or whose way depends on the values that it computes.
    """
    modules: list[Stateful] = []
    signals: list[Tensor] = []
    spikes: list[Tensor] = []
    with (
        running_modules(network) as running,
        _Recorder(running, _names(network)) as recorder,
        _ValuesStayInPyTorch(recorder),
    ):

        def call(module: Stateful, signal: Tensor) -> Tensor:
            output = spikes_like(signal)
            modules.append(module)
            signals.append(recorder.copied(signal))
            spikes.append(recorder.copied(output))
            recorder.add_call(module, signal, output)
            return output

        images = recorder.copied(images)
        value = recorder.add(images, frozenset([IMAGES]))
        output = call_forward(network, images, call)
        signals.append(recorder.copied(output))
        trace = Trace(value, recorder.calls, recorder.operations, recorder.value(output), recorder.overwritten)
    return Recording(trace, modules, signals, spikes)


def _names(network: nn.Module) -> dict[int, list[str]]:
    """By the id of each module its names: several if it stands in several places."""
    names: dict[int, list[str]] = {}
    for name, module in network.named_modules(remove_duplicate=False):
        names.setdefault(id(module), []).append(name)
    return names


class _Recorder(Interception):
    """Writes down the operations on tensors that depend on images or on spikes."""

    def __init__(self, running: list[str], names: Mapping[int, list[str]]) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.operations: list[Operation] = []
        self.overwritten: str | None = None
        self._running = running
        self._names = names
        self._called: dict[int, int] = {}  # how often each module has been called, by its id
        self._kept: list[Tensor] = []  # alive, so that no other tensor gets its id
        self._values: dict[int, Value] = {}  # by the id of the tensor
        self._memory: dict[int, frozenset[int]] = {}  # what the memory at an address depends on
        self._watches = True

    def add(self, tensor: Tensor, depends_on: frozenset[int]) -> Value:
        """Give a tensor a value, a new one if it had one before."""
        value = Value(tensor.shape, depends_on, tensor.dtype)
        self._kept.append(tensor)
        self._values[id(tensor)] = value
        if depends_on:
            self._memory[_address(tensor)] = self._memory.get(_address(tensor), frozenset()) | depends_on
        return value

    def add_call(self, module: Stateful, signal: Tensor, output: Tensor) -> None:
        """Write down a call of a module with memory."""
        number = len(self.calls)
        signal_value = self.value(signal)
        output_value = self.add(output, frozenset([number]))
        name = self._name(module)
        self.calls.append(Call(number, name, module, signal_value, output_value))

    def copied(self, tensor: Tensor) -> Tensor:
        """What a tensor holds now: the forward may overwrite it. This operation is not written down."""
        self._watches = False
        copied = tensor.clone()
        self._watches = True
        return copied

    def _name(self, module: Stateful) -> str:
        """The name of a module that is called; if it is called more often than it has names, the last name with a number."""
        before = self._called.get(id(module), 0)
        self._called[id(module)] = before + 1
        names = self._names.get(id(module), [type(module).__name__])
        if before < len(names):
            return names[before]
        taken = {name for known in self._names.values() for name in known} | {call.name for call in self.calls}
        number = before + 2 - len(names)
        while f"{names[-1]}-{number}" in taken:
            number += 1
        return f"{names[-1]}-{number}"

    def value(self, tensor: Tensor) -> Value:
        """The value of a tensor; of one that depends on nothing, a new one."""
        in_memory = self._memory.get(_address(tensor), frozenset())
        if id(tensor) in self._values and in_memory <= self._values[id(tensor)].depends_on:
            return self._values[id(tensor)]
        return self.add(tensor, in_memory)  # one that was overwritten, or that PyTorch has made without an operation

    def depends(self, tensor: Tensor) -> bool:
        """Whether a tensor depends on images or on spikes."""
        return id(tensor) in self._values or _address(tensor) in self._memory

    def refuse(self, what: str) -> None:
        """Raise the error of a forward whose way depends on values."""
        name = self._running[-1] or "network"
        raise ParameterError(f"{name}: its forward {what} a value that depends on the image: its way must be the same for all")

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not self._watches:
            return function(*args, **kwargs)
        dependent = [item for item in flattened((args, kwargs)) if isinstance(item, Tensor) and self.depends(item)]
        if not dependent:
            return function(*args, **kwargs)
        masks = [index for index in _indices(function, args) if index.dtype == torch.bool and self.depends(index)]
        if function.overloadpacket in _READS_A_VALUE or masks:
            self.refuse("looks at")
        depends_on = frozenset().union(*[self.value(tensor).depends_on for tensor in dependent])
        arguments, keywords = mapped(self._value_or_constant, (args, kwargs))
        result = function(*args, **kwargs)
        if function._schema.is_mutable:
            self._note_overwritten(function, args, kwargs)
        results = []
        for tensor in result if isinstance(result, tuple | list) else (result,):
            results.append(self.add(tensor, depends_on) if isinstance(tensor, Tensor) else None)
        self.operations.append(Operation(function, arguments, keywords, tuple(results), self._running[-1]))
        return result

    def _value_or_constant(self, item: Any) -> Any:
        return self.value(item) if isinstance(item, Tensor) and self.depends(item) else item

    def _note_overwritten(self, function: Any, args: Any, kwargs: Any) -> None:
        """Note an operation that writes into memory in which other values lie."""
        for argument, given in zip(function._schema.arguments, args, strict=False):
            if argument.alias_info is None or not argument.alias_info.is_write:
                continue
            for item in flattened([given]):
                others = [tensor for tensor in self._kept if _address(tensor) == _address(item) and tensor is not item]
                if others or kwargs.get("out") is not None or not self.depends(item):
                    self.overwritten = self._running[-1] or "network"


def _indices(function: Any, args: Any) -> list[Tensor]:
    """The tensors by which an operation selects."""
    if function.overloadpacket is not _aten.index:
        return []
    return [index for index in args[1] if isinstance(index, Tensor)]


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else id(tensor)


class _ValuesStayInPyTorch(TorchFunctionMode):
    """Refuses to hand values that depend on images or on spikes to Python or NumPy."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is F.pad and _is_circular(*args, **(kwargs or {})):
            return _pad_circularly(*args[:2])
        if function in _LEAVES_PYTORCH and self._recorder.depends(args[0]):
            self._recorder.refuse("hands on")
        return function(*args, **(kwargs or {}))


def _is_circular(signal: Tensor, pad: Sequence[int] = (), mode: str = "constant", value: float | None = None) -> bool:
    return mode == "circular" and bool(pad)


def _pad_circularly(signal: Tensor, pad: Sequence[int]) -> Tensor:
    """What PyTorch does by overwriting parts of a new tensor, as a choice of places."""
    for number in range(len(pad) // 2):
        before, after = pad[2 * number : 2 * number + 2]
        size = signal.shape[-1 - number]
        signal = signal.index_select(-1 - number, torch.arange(-before, size + after, device=signal.device) % size)
    return signal
