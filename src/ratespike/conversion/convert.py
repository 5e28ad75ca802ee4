"""A trained plain network into a spiking one: its rectifiers become neurons.

The network's own forward stays as it is. Where it calls a ReLU, by a module or a function, `Converted` puts a neuron, whose
input and output are scaled so that a high percentile of the layer's activations is the neuron's `max_rate`:

    relu(x)  becomes  scale * slope * neuron(gain * x / scale + shift)

For neurons without leak gain = slope = 1 and shift = 0 make it exact. For others they are fitted to the activations.
Source of the percentile: B. Rueckauer et al. 2017, doi:10.3389/fnins.2017.00682, section 2.2.2.
"""

import copy
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ratespike.neurons import Neuron
from ratespike.neurons.base import TunedNeuron
from ratespike.parameters import ParameterError
from ratespike.simulation.checks import check_images, check_tensors
from ratespike.simulation.forward import call_forward, evaluation_copy, running_modules
from ratespike.simulation.max_pooling import is_max_pooling
from ratespike.simulation.probe import trace
from ratespike.simulation.tracing import Trace, record
from ratespike.simulation.weighted_sums import is_linear

_RELUS = {F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
_CLAMPS_IN_PLACE = {torch.clamp_, torch.clamp_min_, Tensor.clamp_, Tensor.clamp_min_}
_CLAMPS = {torch.clamp, torch.clamp_min, Tensor.clamp, Tensor.clamp_min} | _CLAMPS_IN_PLACE
_IN_PLACE = {F.relu_, torch.relu_, Tensor.relu_} | _CLAMPS_IN_PLACE
_SAMPLES = 4096  # activations to which a neuron is fitted

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LayerReport:
    """How well the neurons of one layer stand for its ReLU.

    Attributes:
        name: of the layer.
        scale: activation at which its neurons fire at `max_rate`.
        error: root mean squared difference from the ReLU on the calibration images, relative to `scale`.
    """

    name: str
    scale: float
    error: float


class BalancedNeuron(nn.Module):
    """A neuron in place of a ReLU: `out_scale * neuron(in_scale * x + shift)`."""

    in_scale: Tensor
    shift: Tensor
    out_scale: Tensor

    def __init__(self, neuron: Neuron, in_scale: float, shift: float, out_scale: float):
        super().__init__()
        self.neuron = neuron
        for name, value in (("in_scale", in_scale), ("shift", shift), ("out_scale", out_scale)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))  # kept with the weights

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The activation for a pre-activation of any shape."""
        activation: Tensor = self.neuron(x * self.in_scale + self.shift) * self.out_scale
        return activation

    def extra_repr(self) -> str:
        return f"in_scale={self.in_scale:.4g}, shift={self.shift:.4g}, out_scale={self.out_scale:.4g}"


class Converted(nn.Module):
    """A network with neurons in place of its ReLUs, in eval mode.

    Attributes:
        network: as it was trained.
        neurons: by name of the layer, in the order in which the forward calls them.
        report: how well each of them stands for its ReLU.
    """

    def __init__(self, network: nn.Module, neurons: Iterable[tuple[str, BalancedNeuron]], report: Iterable[LayerReport]):
        super().__init__()
        self.network = network
        self.neurons = nn.ModuleDict(dict(neurons))
        self.report = list(report)

    def forward(self, x: Tensor) -> Tensor:
        """What the network computes, with neurons."""
        neurons = iter(self.neurons.values())

        def in_place_of_relu(signal: Tensor) -> Tensor:
            neuron = next(neurons, None)
            if neuron is None:
                n_relus = len(self.neurons)
                raise ParameterError(f"network: its forward calls more ReLUs than the {n_relus} that it was converted with")
            activation: Tensor = neuron(signal)
            return activation

        with _InPlaceOfRelus(in_place_of_relu):
            output: Tensor = self.network(x)
        return output


@torch.no_grad()
def convert(model: nn.Module, *, neuron: Neuron, images: Float[Tensor, " batch *shape"], percentile: float = 99.9) -> Converted:
    """Turn a trained plain network into a spiking one.

    Batch normalisation, pooling and branches stay; max pooling of spikes goes by sums over time (see
    `ratespike.simulation.max_pooling`).

    Args:
        model: any feed-forward network with ReLUs, as modules or functions. It is copied.
        neuron: one of the neurons. `IntegrateAndFire(max_rate=1 / dt)` is exact on rates and needs few steps.
        images: some training images, for the scale of each layer, shape (batch, ...).
        percentile: of a layer's activations, in percent: what fires at `max_rate`.

    Returns:
        The network, in eval mode, for `ratespike.simulate`.

    Raises:
        ParameterError: there is no ReLU, or something that spikes cannot do (the message names the module).

    Example:
        >>> from ratespike.neurons import IntegrateAndFire
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
        >>> images = torch.rand(16, 4)
        >>> spiking = convert(model, neuron=IntegrateAndFire(max_rate=1000), images=images)
        >>> bool(torch.allclose(spiking(images), model(images), atol=1e-5)), [layer.name for layer in spiking.report]
        (True, ['1'])
    """
    if not isinstance(neuron, TunedNeuron):
        raise ParameterError(f"neuron: {type(neuron).__name__} has no max_rate; try IntegrateAndFire(max_rate=1000)")
    if not 0 < percentile <= 100:
        raise ParameterError(f"percentile={percentile}: must be above 0 and at most 100")
    check_images(images, n_steps=1, images_over_time=False)
    check_tensors(model, images)
    if not len(images):
        raise ParameterError("images: there are none; give some training images")
    images = images.clone()  # a forward may change them
    network = evaluation_copy(model)
    names, signals = _rectified(network, images)
    neurons: list[tuple[str, BalancedNeuron]] = []
    report: list[LayerReport] = []
    for name, signal in zip(names, signals, strict=True):
        balanced, layer = _balanced(name, neuron, signal, percentile)
        neurons.append((name, balanced))
        report.append(layer)
    converted = Converted(network, neurons, report).eval()
    _check_linear(trace(converted, images))
    return converted


def _rectified(network: nn.Module, images: Tensor) -> tuple[list[str], list[Tensor]]:
    """The names of the ReLUs that the forward calls, and what arrives at each of them."""
    names: list[str] = []
    signals: list[Tensor] = []
    with running_modules(network) as running:

        def relu(signal: Tensor) -> Tensor:
            name = (running[-1] or "relu").replace(".", "_")
            name = f"{name}_" if hasattr(nn.ModuleDict, name) else name
            names.append(name if name not in names else f"{name}-{sum(other.startswith(name) for other in names) + 1}")
            signals.append(signal.clone())
            return signal.clamp(min=0)

        with _InPlaceOfRelus(relu):
            call_forward(network, images, lambda module, signal: module.in_rate_mode(signal))
    if not names:
        raise _no_relu(network, images[:2])
    return names, signals


def _no_relu(network: nn.Module, images: Tensor) -> ParameterError:
    others = [found for found in record(network, images, torch.clone).trace.operations if not is_linear(found)]
    but = f" but {others[0].name} in {others[0].module or 'the model'}" if others else ""
    return ParameterError(f"model: its forward calls no ReLU{but}; a network of other activations must be trained with neurons")


def _balanced(name: str, neuron: TunedNeuron, signal: Tensor, percentile: float) -> tuple[BalancedNeuron, LayerReport]:
    """A neuron for one ReLU, and how well it stands for it."""
    activations = signal.clamp(min=0).flatten().double()
    place = max(1, round(percentile / 100 * activations.numel()))
    scale = float(activations.kthvalue(place).values)
    if scale == 0:
        scale = float(activations.max()) or 1.0
    inputs = signal.flatten().double()
    inputs = inputs[torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))[:_SAMPLES]] / scale
    gain, shift, slope, error = _fit(neuron, inputs)
    balanced = BalancedNeuron(copy.deepcopy(neuron), gain / scale, shift, slope * scale)
    balanced.to(device=signal.device, dtype=signal.dtype)
    return balanced, LayerReport(name, scale, error)


def _fit(neuron: Neuron, inputs: Tensor) -> tuple[float, float, float, float]:
    """Gain, shift and slope with which a neuron comes nearest to a ReLU, and the root mean squared error."""
    wanted = inputs.clamp(min=0)
    best = (1.0, 0.0, 1.0, float((neuron.in_rate_mode(inputs) - wanted).square().mean().sqrt()))
    if best[3] < 1e-9:
        return best
    for gain in torch.linspace(0.4, 2.0, 33).tolist():
        for shift in torch.linspace(-0.3, 0.3, 31).tolist():
            found = neuron.in_rate_mode(inputs * gain + shift)
            power = float(found.square().sum())
            slope = float((found * wanted).sum()) / power if power else 0.0
            error = float((slope * found - wanted).square().mean().sqrt())
            if error < best[3]:
                best = (gain, shift, slope, error)
    return best


def _check_linear(found: Trace) -> None:
    """Raise `ParameterError` for something between neurons that is no weighted sum."""
    for operation in found.operations:
        name = operation.module.removeprefix("network.") or "model"
        if is_max_pooling(operation):
            _logger.info("%s: max pooling stays, and goes by the sums of the spikes so far", name)
        elif operation.has_spikes and not is_linear(operation):
            raise ParameterError(
                f"{name}: {operation.name} cannot be converted; train it with neurons, or replace it by a ReLU"
            )


class _InPlaceOfRelus(TorchFunctionMode):
    """While it is active, a ReLU is what a function makes of its input."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._function = function

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in _RELUS:
            inplace = function in _IN_PLACE or kwargs.get("inplace", args[1] if len(args) > 1 else False)
        elif function in _CLAMPS and _is_relu(*args[1:], **kwargs):
            inplace = function in _IN_PLACE
        else:
            return function(*args, **kwargs)
        signal = args[0] if args else kwargs["input"]
        if inplace or kwargs.get("out") is not None:
            overwritten = signal if inplace else kwargs["out"]
            return overwritten.copy_(self._function(signal.clone()))
        return self._function(signal)


def _is_relu(min: object = None, max: object = None, **_: object) -> bool:
    """Whether a clamp has no limit but 0."""
    return max is None and isinstance(min, int | float) and min == 0
