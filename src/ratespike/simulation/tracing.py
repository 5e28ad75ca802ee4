"""What a network's own `forward` does: which neurons and filters it calls, in which order, and with what in between.

`trace` runs the forward on a few rows, with arbitrary numbers in place of spikes, and writes down PyTorch's operations. Nothing
is concluded from a module's class or children. A forward that cannot be simulated is refused here: one whose way depends on the
values that it computes, one that mixes the images of a batch, and one that is random or remembers something between calls.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ratespike.neurons import Neuron
from ratespike.parameters import ParameterError
from ratespike.stateful import Stateful, replaced

IMAGES = -1  # the number of the images among what a value can depend on; a call has its own number
_ROWS = 2  # the least number of which one can tell the batch from one image
_SMALL = 1e-3  # differences of such values are rounding
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}  # of other dtypes: 5e-2

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


@torch.inference_mode(False)  # buffers that can be watched
@torch.no_grad()
def evaluation_copy(network: nn.Module) -> nn.Module:
    """The same network in eval mode, with modules and buffers of its own and the same parameters.

    A simulation works with the copy, so that it changes nothing, and threads do not disturb each other.

    Raises:
        ParameterError: the network cannot be copied.
    """
    shared: dict[int, Tensor] = {}
    for name, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ParameterError(f"{name or 'network'}: is compiled by torch.jit; give the module that it was made of")
        for by_name in (module._parameters, vars(module)):
            for tensor in by_name.values():
                if isinstance(tensor, Tensor):
                    shared[id(tensor)] = tensor
    try:
        return copy.deepcopy(network, shared).eval()
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ParameterError(f"network: cannot be copied, which a simulation needs ({reason})") from None


def trace(network: nn.Module, images: Tensor) -> Trace:
    """Find out what a network's forward does.

    Args:
        network: in eval mode; not changed.
        images: some images, shape (batch, ...); two of them are looked at.

    Raises:
        ParameterError: a forward that fails, or that cannot be simulated.

    Example:
        >>> from ratespike.neurons import LIF
        >>> class Residual(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layer, self.neuron = nn.Linear(4, 4), LIF()
        ...     def forward(self, x):
        ...         return x + self.neuron(self.layer(x))
        >>> found = trace(Residual().eval(), torch.rand(2, 4))
        >>> [(call.name, call.shape) for call in found.calls], sorted(found.output.depends_on)
        ([('neuron', torch.Size([4]))], [-1, 0])
    """
    return Probe(network, images).trace


def _memory_of(network: nn.Module) -> list[object]:
    """What a forward could change in the modules to remember it: numbers and words, and how often buffers were written."""
    memory: list[object] = []
    for module in network.modules():
        memory += [value for value in vars(module).values() if isinstance(value, int | float | str)]
        memory += [None if buffer is None else buffer._version for buffer in module._buffers.values()]
    return memory


def _two_rows(images: Tensor) -> Tensor:
    """Two images; zeros where there are fewer."""
    rows = images[:2]
    return torch.cat([rows, rows.new_zeros(2 - len(rows), *rows.shape[1:])])


def _check_calls(found: Trace) -> None:
    if not found.neurons:
        raise ParameterError("network: no spiking neuron to simulate: put one, such as LIF(), behind a layer")
    if found.output.shape[:1] != (_ROWS,):
        raise ParameterError(f"network: its output has the shape {tuple(found.output.shape)} for {_ROWS} images")
    for call in found.calls:
        if type(call.module).forward is not Stateful.forward:
            raise ParameterError(
                f"{call.name}: {type(call.module).__name__} has a forward of its own; define its rate and step"
            )
        if call.signal.shape[:1] != (_ROWS,):
            shape = tuple(call.signal.shape)
            raise ParameterError(f"{call.name}: gets the shape {shape} for {_ROWS} images; the batch must come first")


@dataclass
class _Run:
    """One run of the forward.

    Attributes:
        modules: neurons and filters in the order in which they were called.
        signals: what each of them got, and last the output.
        spikes: what left each of them.
    """

    modules: list[Stateful] = field(default_factory=list)
    signals: list[Tensor] = field(default_factory=list)
    spikes: list[Tensor] = field(default_factory=list)


class Probe:
    """Runs a network's forward on a few images, with arbitrary numbers in place of spikes.

    Args:
        network: in eval mode; not changed.
        images: some images, shape (batch, ...); two of them are looked at.

    Attributes:
        image: one of the images, shape (1, ...).
        trace: what the forward does.

    Raises:
        ParameterError: a forward that fails, or that cannot be simulated.
    """

    @torch.inference_mode(False)  # in which PyTorch's operations are other ones; with it gradients come back
    @torch.no_grad()
    def __init__(self, network: nn.Module, images: Tensor) -> None:
        self._network = network
        self._pair = _two_rows(images).clone()
        if not bool(self._pair.any()):  # nothing would be seen to mix
            self._pair = torch.rand(self._pair.shape, generator=torch.Generator().manual_seed(2)).to(self._pair)
        self.image = self._pair[:1]
        self._first = _Run()
        before = _memory_of(network)
        self.trace = self._record()
        _check_calls(self.trace)
        self._check_second_run()
        if _memory_of(network) != before:
            raise ParameterError("network: its forward remembers something: it changes an attribute or a buffer of a module")

    @torch.inference_mode(False)
    @torch.no_grad()
    def repeats(self) -> bool:
        """Whether the forward computes the same values as at first, bit by bit."""
        try:
            run = self._run(self._pair, self._first.spikes)
        except ParameterError:
            return False
        if run.modules != self._first.modules:
            return False
        for signal, first in zip(run.signals, self._first.signals, strict=True):
            if signal.dtype != first.dtype or not torch.equal(signal, first):
                return False
        return True

    def _record(self) -> Trace:
        """Run the forward on the pair and write down what it does."""
        generator = torch.Generator().manual_seed(0)
        first = self._first
        with (
            running_modules(self._network) as running,
            _Recorder(running, _names(self._network)) as recorder,
            _ValuesStayInPyTorch(recorder),
        ):
            images = recorder.copied(self._pair)
            value = recorder.add(images, frozenset([IMAGES]))

            def call(module: Stateful, signal: Tensor) -> Tensor:
                output = torch.rand(signal.shape, generator=generator).to(signal)
                first.modules.append(module)
                first.signals.append(recorder.copied(signal))
                first.spikes.append(recorder.copied(output))
                recorder.add_call(module, signal, output)
                return output

            output = self._forward(images, call)
            first.signals.append(recorder.copied(output))
            return Trace(value, recorder.calls, recorder.operations, recorder.value(output), recorder.overwritten)

    def _check_second_run(self) -> None:
        """Raise if the pair gives something else in the other order and with a third row behind it."""
        first = self._first
        try:
            second = self._run(_with_a_row(self._pair), [_with_a_row(spikes) for spikes in first.spikes])
        except ParameterError as error:
            raise ParameterError(
                f"{error}; it works for {_ROWS} images, but not for 3 behind them: it remembers something, or counts the images"
            ) from None
        same = second.modules == first.modules
        for expected, found in zip(first.signals, second.signals, strict=False):
            same = same and found.shape == (_ROWS + 1, *expected.shape[1:]) and _agree(expected.flip(0), found[:_ROWS])
        if not same:
            raise ParameterError(
                "network: its forward gives other values at a second call: it is random, remembers something, "
                "or what it computes for an image depends on the other images of the batch"
            )

    def _run(self, images: Tensor, spikes: list[Tensor]) -> _Run:
        """Run the forward with these numbers in place of spikes."""
        run = _Run()

        def call(module: Stateful, signal: Tensor) -> Tensor:
            number = len(run.modules)
            run.modules.append(module)
            run.signals.append(signal.clone())
            if number >= len(spikes) or signal.shape != spikes[number].shape:
                return signal
            return spikes[number].clone()

        run.signals.append(self._forward(images.clone(), call))
        return run

    def _forward(self, images: Tensor, call: Any) -> Tensor:
        """The network's output; an exception of PyTorch becomes a line that names the module."""
        try:
            with replaced(call):
                output = self._network(images)
        except ParameterError:
            raise
        except Exception as error:
            name = _failing_module(self._network, error)
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            shape = tuple(images.shape[1:])
            raise ParameterError(f"{name}: {reason}; images have the shape {shape} without batch") from None
        if not isinstance(output, Tensor):
            raise ParameterError(f"network: its forward returns a {type(output).__name__}; it must return one tensor")
        return output


def _with_a_row(rows: Tensor) -> Tensor:
    """Two rows in the other order, and a third one, with smaller and larger values than theirs."""
    noise = 4 * torch.rand(rows[:1].shape, generator=torch.Generator().manual_seed(1)) - 2
    largest = rows.abs().amax() if rows.numel() else 0
    return torch.cat([rows.flip(0), (noise.to(rows) * (1 + largest)).to(rows)])


def _agree(expected: Tensor, found: Tensor) -> bool:
    """Whether two runs have computed the same values, but for rounding."""
    if not expected.numel():
        return True
    tolerance = _TOLERANCE.get(found.dtype, 5e-2)
    finite = expected.isfinite()
    if not torch.equal(finite, found.isfinite()):
        return False
    if torch.equal(expected, found):
        return True
    expected = expected.where(finite, 0).double().flatten(1)  # rows
    found = found.where(finite, 0).double().flatten(1)
    sizes = expected.abs()
    usual = sizes.where(sizes > 0, torch.nan).nanmedian(1, keepdim=True).values.nan_to_num()  # no large value hides the others
    return bool(((expected - found).abs() <= tolerance * (sizes + 10 * usual + _SMALL)).all())


def _failing_module(network: nn.Module, error: Exception) -> str:
    """The name of the innermost module of the network that an exception has passed."""
    names = {id(module): name for name, module in network.named_modules()}
    found = ""
    position = error.__traceback__
    while position is not None:
        found = names.get(id(position.tb_frame.f_locals.get("self")), found)
        position = position.tb_next
    return found or "network"


def _names(network: nn.Module) -> dict[int, list[str]]:
    """By the id of each module its names: several if it stands in several places."""
    names: dict[int, list[str]] = {}
    for name, module in network.named_modules(remove_duplicate=False):
        names.setdefault(id(module), []).append(name)
    return names


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Have this thread's small operations done by this thread alone: on busy cores, waiting for helpers takes longer."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def running_modules(network: nn.Module) -> Iterator[list[str]]:
    """The names of the modules whose forward is running, the innermost last; hooks are harmless, as `network` is a copy."""
    running = [""]

    def leave(*_: Any) -> None:
        running.pop()

    handles = []
    for name, module in network.named_modules():
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: running.append(name), prepend=True))
        handles.append(module.register_forward_hook(leave))
    try:
        yield running
    finally:
        for handle in handles:
            handle.remove()


class _Recorder(TorchDispatchMode):
    """Writes down the operations on tensors that depend on images or on spikes."""

    def __init__(self, running: list[str], names: Mapping[int, list[str]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
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
        return names[before] if before < len(names) else f"{names[-1]}-{before + 2 - len(names)}"

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
        for argument, item in zip(function._schema.arguments, args, strict=False):
            if argument.alias_info is None or not argument.alias_info.is_write:
                continue
            others = [tensor for tensor in self._kept if _address(tensor) == _address(item) and tensor is not item]
            if others or kwargs.get("out") is not None or not self.depends(item):
                self.overwritten = self._running[-1] or "network"


def _indices(function: Any, args: Any) -> list[Tensor]:
    """The tensors by which an operation selects."""
    if function.overloadpacket is not _aten.index:
        return []
    return [index for index in args[1] if isinstance(index, Tensor)]


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


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
