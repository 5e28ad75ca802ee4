"""One call of a network's forward: on a copy that nothing else uses, with something else in place of neurons and filters."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ratespike.parameters import ParameterError
from ratespike.stateful import Replacement, replaced


class Interception(TorchDispatchMode):
    """While it is active, its `__torch_dispatch__` is called in place of each of PyTorch's operations."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """For PyTorch: True, its default, imports the compiler at the first operation, which takes a second or two."""
        return False


@torch.inference_mode(False)  # buffers that can be watched
@torch.no_grad()
def evaluation_copy(network: nn.Module) -> nn.Module:
    """The same network in eval mode, with modules, buffers and other tensors of its own and the same parameters.

    A simulation works with the copy, so that it changes nothing, and threads do not disturb each other.

    Raises:
        ParameterError: the network cannot be copied.
    """
    shared: dict[int, Tensor] = {}
    for name, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ParameterError(f"{name or 'network'}: is compiled by torch.jit; give the module that it was made of")
        for parameter in module._parameters.values():
            if parameter is not None:
                shared[id(parameter)] = parameter
        for value in vars(module).values():  # of some, such as effective weights, PyTorch makes no copy
            if isinstance(value, Tensor):
                shared.setdefault(id(value), value if isinstance(value, nn.Parameter) else value.detach().clone())
    try:
        return copy.deepcopy(network, shared).eval()
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ParameterError(f"network: cannot be copied, which a simulation needs ({reason})") from None


def call_forward(network: nn.Module, images: Tensor, replacement: Replacement) -> Tensor:
    """The network's output for images of shape (batch, ...), with `replacement(module, signal)` for each neuron and filter.

    Raises:
        ParameterError: an exception of the forward, as a line that names the module; an output that is no tensor.
    """
    try:
        with replaced(replacement):
            output = network(images)
    except ParameterError:
        raise
    except Exception as error:
        name = _failing_module(network, error)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        shape = tuple(images.shape[1:])
        raise ParameterError(f"{name}: {reason}; images have the shape {shape} without batch") from None
    if not isinstance(output, Tensor):
        raise ParameterError(f"network: its forward returns a {type(output).__name__}; it must return one tensor")
    return output


def _failing_module(network: nn.Module, error: Exception) -> str:
    """The name of the innermost module of the network that an exception has passed."""
    names = {id(module): name for name, module in network.named_modules()}
    found = ""
    position = error.__traceback__
    while position is not None:
        found = names.get(id(position.tb_frame.f_locals.get("self")), found)
        position = position.tb_next
    return found or "network"


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
