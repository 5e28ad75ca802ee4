"""Typed layer specifications, as a YAML file gives them, made into a plain `nn.Sequential`.

Each class below `Layer` is one type of layer: its fields are the keys in the YAML file, and `module` makes the PyTorch module
for the shape that arrives. A specification gives what a layer puts out (filters, units); what it takes (channels, features)
follows from the layer before.
"""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ratespike.available_memory import check_fits
from ratespike.neurons import Neuron
from ratespike.parameters import ParameterError, build, check_parameters, is_name, nearest, parameter, training_values
from ratespike.synapses import Synapse

Shape = tuple[int, ...]  # of one image or one layer's output, without batch: (channels, height, width) or (features,)
INITIALISATIONS = ("pytorch", "glorot_uniform")


@dataclass(frozen=True, kw_only=True)
class Layer(ABC):
    """One line of a network's specification.

    Raises:
        ParameterError: a parameter out of range.
    """

    def __post_init__(self) -> None:
        check_parameters(self)

    def training_values(self, neuron: Mapping[str, Any]) -> dict[str, Any] | None:
        """What of this layer changes a training; None for one that rates pass as if it were not there.

        Args:
            neuron: the specification of neuron layers that have none of their own.
        """
        return training_values(self)

    @abstractmethod
    def module(self, shape: Shape, neuron: Mapping[str, Any]) -> nn.Module:
        """The PyTorch module.

        It is called twice: first on PyTorch's meta device, where tensors have shapes and no values, to find how much memory the
        module takes and the shape of its output.

        Args:
            shape: of its inputs, without batch.
            neuron: the specification of neuron layers that have none of their own.

        Raises:
            ParameterError: the layer does not fit inputs of this shape.
        """


@dataclass(frozen=True, kw_only=True)
class Conv(Layer):
    """Convolution over height and width.

    Attributes:
        filters: how many channels the output has.
        kernel: height and width of the kernel.
        stride: step of the kernel, in pixels.
        padding: rows and columns of zeros around the image.
        groups: into how many groups the channels are split; each is convolved by itself.

    Example:
        >>> Conv(filters=32, kernel=3).module((1, 28, 28), neuron={})
        Conv2d(1, 32, kernel_size=(3, 3), stride=(1, 1))
    """

    filters: int = parameter(at_least=1)
    kernel: int = parameter(at_least=1)
    stride: int = parameter(1, at_least=1)
    padding: int = parameter(0, at_least=0)
    groups: int = parameter(1, at_least=1)

    def module(self, shape: Shape, neuron: Mapping[str, Any]) -> nn.Module:
        channels, height, width = _image_shape(shape)
        if min(height, width) + 2 * self.padding < self.kernel:
            raise ParameterError(f"kernel={self.kernel}: must be at most the image, here {height}x{width}; try padding")
        _check_groups(self.groups, channels, self.filters)
        return nn.Conv2d(channels, self.filters, self.kernel, self.stride, self.padding, groups=self.groups)


@dataclass(frozen=True, kw_only=True)
class Conv1d(Layer):
    """Convolution over one axis, of inputs (channels, length).

    Attributes:
        filters: how many channels the output has.
        kernel: length of the kernel.
        stride: step of the kernel.
        padding: zeros at both ends.
        groups: into how many groups the channels are split; each is convolved by itself.

    Example:
        >>> Conv1d(filters=8, kernel=3).module((2, 16), neuron={})
        Conv1d(2, 8, kernel_size=(3,), stride=(1,))
    """

    filters: int = parameter(at_least=1)
    kernel: int = parameter(at_least=1)
    stride: int = parameter(1, at_least=1)
    padding: int = parameter(0, at_least=0)
    groups: int = parameter(1, at_least=1)

    def module(self, shape: Shape, neuron: Mapping[str, Any]) -> nn.Module:
        if len(shape) != 2:
            raise ParameterError(f"type: needs inputs (channels, length), but what arrives has shape {shape}")
        channels, length = shape
        if length + 2 * self.padding < self.kernel:
            raise ParameterError(f"kernel={self.kernel}: must be at most the length, here {length}; try padding")
        _check_groups(self.groups, channels, self.filters)
        return nn.Conv1d(channels, self.filters, self.kernel, self.stride, self.padding, groups=self.groups)


@dataclass(frozen=True, kw_only=True)
class BatchNorm(Layer):
    """Batch normalisation of each channel; outside training an affine map with the statistics of the training.

    Attributes:
        momentum: how fast the statistics follow the batches.
        initial_scale: standard deviation of what a channel passes on before training. In front of neurons whose rates end at
            an input of 1, a third of it leaves few inputs above, where no gradient passes.

    Example:
        >>> BatchNorm().module((32, 26, 26), neuron={})
        BatchNorm2d(32, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
    """

    momentum: float = parameter(0.1, above=0, at_most=1)
    initial_scale: float = parameter(1.0, above=0)

    def module(self, shape: Shape, neuron: Mapping[str, Any]) -> nn.Module:
        kind = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
        module = kind(shape[0], momentum=self.momentum)
        nn.init.constant_(module.weight, self.initial_scale)
        return module


@dataclass(frozen=True, kw_only=True)
class MaxPool(Layer):
    """Maximum over squares; what is left over at the border is dropped.

    Of spikes it is the maximum of the sums over time (see `ratespike.simulation.max_pooling`).

    Attributes:
        size: height and width of a square, in pixels.
    """

    size: int = parameter(2, at_least=1)

    def module(self, shape: Shape, neuron: Mapping[str, Any]) -> nn.Module:
        _check_pool(self.size, shape)
        return nn.MaxPool2d(self.size)


@dataclass(frozen=True, kw_only=True)
class Residual(Layer):
    """Layers whose output is added to their input.

    Attributes:
        layers: their specifications by name, in order, as those of the network.

    Example:
        >>> block = {"conv": {"type": "Conv", "filters": 8, "kernel": 3, "padding": 1}, "neuron": {"type": "Neurons"}}
        >>> Residual(layers=block).module((8, 5, 5), neuron={"type": "LIF"})(torch.zeros(1, 8, 5, 5)).shape
        torch.Size([1, 8, 5, 5])
    """

    layers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def training_values(self, neuron: Mapping[str, Any]) -> dict[str, Any] | None:
        return {"type": "Residual", "layers": layers_training_values(self.layers, neuron, "layers")}

    def module(self, shape: Shape, neuron: Mapping[str, Any]) -> nn.Module:
        if not self.layers:
            raise ParameterError("layers: must hold one layer at least")
        inside, output = _sequence(self.layers, neuron, shape, "layers")
        if output != shape:
            raise ParameterError(f"layers: their output has the shape {output}, but their input {shape}: both are added")
        return Added(inside)


class Added(nn.Module):
    """`inside(x) + x`.

    Args:
        inside: layers whose output has the shape of their input.
    """

    def __init__(self, inside: nn.Sequential):
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        """The sum, of the shape of `x`, (batch, ...)."""
        output: Tensor = self.inside(x) + x
        return output


@dataclass(frozen=True, kw_only=True)
class AveragePool(Layer):
    """Mean over squares; what is left over at the border is dropped.

    Attributes:
        size: height and width of a square, in pixels.
    """

    size: int = parameter(2, at_least=1)

    def module(self, shape: Shape, neuron: Mapping[str, Any]) -> nn.Module:
        _check_pool(self.size, shape)
        return nn.AvgPool2d(self.size)


@dataclass(frozen=True, kw_only=True)
class Dense(Layer):
    """Fully connected; an image is flattened before.

    Attributes:
        units: how many features the output has; None: as many as the data have classes.
    """

    units: int | None = parameter(None, at_least=1)

    def module(self, shape: Shape, neuron: Mapping[str, Any]) -> nn.Module:
        if self.units is None:
            raise ParameterError("units=null: inside of another layer it must be a number")
        linear = nn.Linear(torch.Size(shape).numel(), self.units)
        if len(shape) == 1:
            return linear
        return nn.Sequential(OrderedDict(flatten=nn.Flatten(), linear=linear))


@dataclass(frozen=True, kw_only=True)
class Dropout(Layer):
    """Zeroes activations at random in training.

    Attributes:
        p: the probability with which each is zeroed.
    """

    p: float = parameter(0.5, at_least=0, below=1)

    def module(self, shape: Shape, neuron: Mapping[str, Any]) -> nn.Module:
        return nn.Dropout(self.p)


@dataclass(frozen=True, kw_only=True)
class Neurons(Layer):
    """A layer of neurons.

    Attributes:
        neuron: their specification, such as `{type: LIF, tau_rc: 0.02}`; None: the network's.
    """

    neuron: Mapping[str, Any] | None = field(default=None)

    def training_values(self, neuron: Mapping[str, Any]) -> dict[str, Any] | None:
        return self.module((), neuron).training_values()

    def module(self, shape: Shape, neuron: Mapping[str, Any]) -> Neuron:
        specification = neuron if self.neuron is None else self.neuron
        return build(Neuron, specification, "neuron")  # type: ignore[type-abstract]


@dataclass(frozen=True, kw_only=True)
class Filter(Layer):
    """A synaptic filter behind a neuron layer.

    Attributes:
        synapse: its specification, such as `{type: LowPass, tau: 0.005}`.
    """

    synapse: Mapping[str, Any] = field(default_factory=dict)

    def training_values(self, neuron: Mapping[str, Any]) -> dict[str, Any] | None:
        return None

    def module(self, shape: Shape, neuron: Mapping[str, Any]) -> nn.Module:
        return build(Synapse, self.synapse, "synapse")  # type: ignore[type-abstract]


def layers_training_values(
    layers: Mapping[str, Mapping[str, Any]], neuron: Mapping[str, Any], where: str
) -> list[tuple[str, dict[str, Any]]]:
    """By name, in order, what of layers changes a training; those that rates pass as if they were not there are left out.

    Args:
        layers: their specifications, as `build_network` takes them.
        neuron: the specification of neuron layers that have none of their own.
        where: the key of the specifications, for an error.

    Raises:
        ParameterError: a wrong specification.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    for name, specification in layers.items():
        layer = build(Layer, specification, f"{where}.{name}")  # type: ignore[type-abstract]
        values = layer.training_values(neuron)
        if values is not None:
            found.append((name, values))
    return found


def build_network(
    layers: Mapping[str, Mapping[str, Any]],
    neuron: Mapping[str, Any],
    input_shape: Shape,
    classes: int,
    initialisation: str = "pytorch",
) -> nn.Sequential:
    """Build a network from its specification.

    Args:
        layers: by name, in order, for instance `{"conv1": {"type": "Conv", "filters": 32, "kernel": 3}, ...}`; the names
            become the modules' names.
        neuron: the specification of neuron layers that have none of their own.
        input_shape: channels, height, width of an image.
        classes: how many outputs the network must have.
        initialisation: `pytorch`, each layer's default; `glorot_uniform`, with zero biases (X. Glorot and Y. Bengio 2010,
            "Understanding the difficulty of training deep feedforward neural networks").

    Returns:
        The network in training mode, its weights drawn from PyTorch's global generator.

    Raises:
        ParameterError: an unknown layer type or parameter, a value out of range, layers that do not fit each other, or that
            need more memory than there is.

    Example:
        >>> build_network({"dense": {"type": "Dense", "units": 10}}, {"type": "LIF"}, (1, 28, 28), 10)
        Sequential(
          (dense): Sequential(
            (flatten): Flatten(start_dim=1, end_dim=-1)
            (linear): Linear(in_features=784, out_features=10, bias=True)
          )
        )
    """
    if initialisation not in INITIALISATIONS:
        raise ParameterError(f"network.initialisation={initialisation}: {nearest(initialisation, INITIALISATIONS)}")
    with_units = {name: _with_units(specification, classes) for name, specification in layers.items()}
    network, shape = _sequence(with_units, neuron, tuple(input_shape), "network.layers")
    if shape != (classes,):
        raise ParameterError(f"network.layers: the output has shape {shape}, but the data have {classes} classes")
    if initialisation == "glorot_uniform":
        _initialise_glorot_uniform(network)
    return network


def _with_units(specification: Mapping[str, Any], classes: int) -> Mapping[str, Any]:
    """The specification of a layer, a dense one with a unit for each class if it says nothing else."""
    if isinstance(specification, Mapping) and specification.get("type") == "Dense" and specification.get("units") is None:
        return {**specification, "units": classes}
    return specification


def _sequence(
    layers: Mapping[str, Mapping[str, Any]], neuron: Mapping[str, Any], shape: Shape, where: str
) -> tuple[nn.Sequential, Shape]:
    """The modules of some layers, whose specifications stand at `where`, and the shape of their output."""
    sequence = nn.Sequential()
    for name, specification in layers.items():
        module, shape = _module(f"{where}.{name}", name, specification, shape, neuron)
        sequence.add_module(name, module)
    return sequence, shape


def _module(
    where: str, name: str, specification: Mapping[str, Any], shape: Shape, neuron: Mapping[str, Any]
) -> tuple[nn.Module, Shape]:
    """The module of one line of the specification and its output's shape; an error names the key that the user wrote."""
    if not is_name(name) or hasattr(nn.Sequential, name) or name in vars(nn.Sequential()):
        what = "begins with a letter or a digit, has no dots, and is no attribute of PyTorch's nn.Sequential"
        raise ParameterError(f"{where}: a layer's name {what}; take another")
    layer = build(Layer, specification, where)  # type: ignore[type-abstract]
    try:
        needed, output = _size(layer, shape, neuron)
        if torch.get_default_device().type != "meta":  # there, the network is built for its sizes alone
            check_fits(needed, f"type={type(layer).__name__}")
        return layer.module(shape, neuron), output
    except (RuntimeError, TypeError, OverflowError) as error:  # PyTorch's, of sizes that no tensor has
        raise ParameterError(f"{where}: cannot be built ({' '.join(str(error).split())[:160]})") from None
    except ParameterError as error:
        if isinstance(layer, Neurons) and layer.neuron is None:  # the network's neuron is wrong, which has a key of its own
            raise
        raise ParameterError(f"{where}.{error}") from None


def _size(layer: Layer, shape: Shape, neuron: Mapping[str, Any]) -> tuple[int, Shape]:
    """What a layer takes, found by trying it without values.

    Args:
        layer: its specification.
        shape: of its inputs, without batch.
        neuron: the specification of neuron layers that have none of their own.

    Returns:
        The bytes of its weights and of what it makes of one image, and the shape of its output, without batch.
    """
    with torch.device("meta"), torch.no_grad():
        module = layer.module(shape, neuron)
        if isinstance(module, Neuron | Synapse):
            return 0, shape
        output = module.eval()(torch.zeros(1, *shape))
    tensors = [output, *module.parameters(), *module.buffers()]
    return sum(tensor.nbytes for tensor in tensors), tuple(output.shape[1:])


def _initialise_glorot_uniform(network: nn.Module) -> None:
    """Draw all weights anew from the uniform distribution of Glorot and Bengio (see `build_network`); biases are 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]


def _image_shape(shape: Shape) -> tuple[int, int, int]:
    """Channels, height and width; raises `ParameterError` for features."""
    if len(shape) != 3:
        raise ParameterError(f"type: needs an image (channels, height, width), but what arrives has shape {shape}")
    return shape  # type: ignore[return-value]


def _check_pool(size: int, shape: Shape) -> None:
    """Raise `ParameterError` for squares that are larger than the image."""
    _, height, width = _image_shape(shape)
    if min(height, width) < size:
        raise ParameterError(f"size={size}: must be at most the image, here {height}x{width}")


def _check_groups(groups: int, channels: int, filters: int) -> None:
    """Raise `ParameterError` for groups into which channels or filters cannot be split."""
    if channels % groups or filters % groups:
        raise ParameterError(f"groups={groups}: must divide {channels} channels and {filters} filters")
