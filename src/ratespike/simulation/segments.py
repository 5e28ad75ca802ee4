"""A network cut where it has memory.

Layers such as convolutions have no memory: their output depends on their input alone, so that many time steps can pass them
at once. Neurons and filters have one and take step after step. A segment is a run of layers without memory and the neuron or
filter behind them; a network is a list of segments, the last of which has no such ending.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from ratespike.neurons import Neuron
from ratespike.synapses import Synapse


@dataclass(frozen=True)
class Segment:
    """Layers without memory and what ends them: a neuron, a filter, or nothing at the network's end.

    Attributes:
        layers: applied in this order, before the ending.
        ending: the module with memory; None at the network's end.
        name: the ending's name in the network, with dots where sequences are nested; empty at the network's end.
    """

    layers: tuple[nn.Module, ...]
    ending: Neuron | Synapse | None
    name: str

    def input(self, signal: Tensor) -> Tensor:
        """What arrives at the ending: a neuron's current, a filter's signal, or the network's output."""
        for layer in self.layers:
            signal = layer(signal)
        if isinstance(self.ending, Neuron):
            return self.ending.current(signal)
        return signal


def split_into_segments(network: nn.Module) -> list[Segment]:
    """Cut a network (nested `nn.Sequential`s of layers, neurons and filters) into segments.

    Raises:
        ValueError: the network has no neuron, or is not a sequence.

    Example:
        >>> from ratespike.neurons import LIF
        >>> segments = split_into_segments(nn.Sequential(nn.Linear(4, 8), LIF(), nn.Linear(8, 3)))
        >>> for segment in segments:
        ...     print(segment.layers, repr(segment.name))
        (Linear(in_features=4, out_features=8, bias=True),) '1'
        (Linear(in_features=8, out_features=3, bias=True),) ''
    """
    segments: list[Segment] = []
    layers: list[nn.Module] = []
    for name, module in _flattened(network, ""):
        if isinstance(module, Neuron | Synapse):
            segments.append(Segment(tuple(layers), module, name))
            layers = []
        else:
            layers.append(module)
    segments.append(Segment(tuple(layers), None, ""))
    if not neurons_by_name(segments):
        raise ValueError("the network has no spiking neuron to simulate: put one, such as LIF(), behind a layer")
    return segments


def neurons_by_name(segments: list[Segment]) -> dict[str, Neuron]:
    """The neurons that end segments, by their names in the network, in its order."""
    neurons: dict[str, Neuron] = {}
    for segment in segments:
        if isinstance(segment.ending, Neuron):
            neurons[segment.name] = segment.ending
    return neurons


def layers_until_neuron(segments: list[Segment], number: int) -> tuple[nn.Module, ...]:
    """The layers from segment `number` to the next neuron or the network's end, without the filters between them."""
    layers: tuple[nn.Module, ...] = ()
    for segment in segments[number:]:
        layers += segment.layers
        if isinstance(segment.ending, Neuron):
            break
    return layers


def _flattened(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """The modules of nested sequences with their full names, such as `dense.linear`, in order."""
    if isinstance(module, nn.Sequential):
        prefix = f"{name}." if name else ""
        # not named_children(), which leaves out a module that comes a second time
        for child_name, child in zip(module._modules, module, strict=True):
            yield from _flattened(child, prefix + child_name)
    elif not isinstance(module, Neuron | Synapse) and _holds_memory(module):
        raise ValueError(f"{type(module).__name__} holds neurons but is not a nn.Sequential: only sequences can be simulated")
    else:
        yield name, module


def _holds_memory(module: nn.Module) -> bool:
    """Whether a module is, or contains, a neuron or a filter."""
    return any(isinstance(inner, Neuron | Synapse) for inner in module.modules())


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Eval mode inside the `with` block, each module's own mode again behind it.

    Example:
        >>> dropout = nn.Dropout()
        >>> with evaluation_mode(dropout):
        ...     print(dropout.training)
        False
        >>> dropout.training
        True
    """
    in_training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in in_training:
            module.training = True  # not train(), which sets the modules inside too
