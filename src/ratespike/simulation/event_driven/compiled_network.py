"""A network prepared for the event-driven simulation of images of one shape: made once, shared by all threads."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor, nn

from ratespike.neurons import Neuron
from ratespike.simulation.event_driven.connection import Scaling, connect
from ratespike.simulation.event_driven.errors import UnsupportedError
from ratespike.simulation.event_driven.layout import (
    Connection,
    FilterCoefficients,
    NeuronLayer,
    OutputLayer,
    Shape,
    aligned,
)
from ratespike.simulation.event_driven.neurons import compiled_step
from ratespike.simulation.segments import Segment
from ratespike.synapses import Alpha, LowPass, NoFilter, Synapse


@dataclass(frozen=True)
class CompiledNetwork:
    """All that is constant while images are simulated.

    Attributes:
        image_shape: channels, height, width.
        dtype: of all real numbers but the first connection's, which are float64 (see `compile_network`).
        layers: the neuron layers.
        output: what is behind the last of them.
    """

    image_shape: Shape
    dtype: type
    layers: tuple[NeuronLayer, ...]
    output: OutputLayer


def compile_network(
    segments: list[Segment], image_shape: Shape, dt: float, dtype: type, weights_met: Mapping[str, Tensor]
) -> CompiledNetwork:
    """Prepare a network that is cut into segments.

    Sums of an image's values depend on their order, unlike sums of spikes (see `ratespike.simulation.exact_sums`). So the
    first connection is computed in float64, and its currents, which are needed once, are rounded.

    Args:
        segments: the network.
        image_shape: channels, height, width.
        dt: the step, seconds.
        dtype: np.float32 or np.float64.
        weights_met: by neuron layer, how many weights a spike of each neuron meets (see `ratespike.simulation.fan_out`).

    Raises:
        UnsupportedError: a part of the network is not for this engine.
    """
    layers: list[NeuronLayer] = []
    gap = _Gap(source=image_shape, spike_height=1.0)
    for segment in segments:
        gap = gap.extended(segment)
        neuron = segment.ending
        if not isinstance(neuron, Neuron):
            continue
        step = compiled_step(neuron, dt, dtype)
        connection, coefficients = _leading_to(neuron, gap, dt, dtype if layers else np.float64)
        if coefficients is not None and not layers:
            raise UnsupportedError("a filter in front of the first neurons")
        layers.append(NeuronLayer(connection, coefficients, step, _per_word(weights_met[segment.name], connection)))
        gap = _Gap(source=connection.out_shape, spike_height=neuron.scale / dt)
    if not gap.layers:
        raise UnsupportedError("a network without a weight layer behind its last neurons")
    connection = connect(gap.layers, gap.source, Scaling(gap.spike_height), dtype)
    nothing = np.zeros_like(connection.kernel.constant)
    output = OutputLayer(connection, _filter_coefficients(gap.synapse, dt, nothing))
    return CompiledNetwork(image_shape, dtype, tuple(layers), output)


@dataclass(frozen=True)
class _Gap:
    """What stands between two neuron layers: a filter directly behind the first, then layers without memory.

    Attributes:
        source: shape of the first neuron layer, or of the image.
        spike_height: of its spikes; 1 for an image.
        synapse: the filter.
        layers: without memory.
    """

    source: Shape
    spike_height: float
    synapse: Synapse | None = None
    layers: tuple[nn.Module, ...] = ()

    def extended(self, segment: Segment) -> "_Gap":
        """The gap with a segment's layers, and with the filter that ends the segment, if one does."""
        layers = (*self.layers, *segment.layers)
        if not isinstance(segment.ending, Synapse):
            return replace(self, layers=layers)
        if self.synapse is not None or any(isinstance(layer, nn.Conv2d | nn.Linear) for layer in layers):
            raise UnsupportedError("a filter that is not directly behind neurons")
        return replace(self, synapse=segment.ending, layers=layers)


def _leading_to(neuron: Neuron, gap: _Gap, dt: float, dtype: type) -> tuple[Connection, FilterCoefficients | None]:
    """The connection that leads to neurons, and its filter. The neurons' bias is added behind the filter."""
    connection = connect(gap.layers, gap.source, Scaling(gap.spike_height, *neuron.gain_and_bias()), dtype)
    coefficients = _filter_coefficients(gap.synapse, dt, connection.kernel.constant)
    if coefficients is None:
        return connection, None
    return _without_constant(connection), coefficients


def _filter_coefficients(synapse: Synapse | None, dt: float, constant: np.ndarray) -> FilterCoefficients | None:
    """A filter's coefficients in the data type of the constant that is added behind it; None if nothing is filtered."""
    if synapse is None or isinstance(synapse, NoFilter):
        return None
    if type(synapse) not in (LowPass, Alpha):
        raise UnsupportedError(f"the filter {type(synapse).__name__}")
    assert isinstance(synapse, LowPass | Alpha)
    scalar = constant.dtype.type
    decay = math.exp(-dt / synapse.tau)
    passed_on = dt / synapse.tau * math.exp(-dt / synapse.tau)
    if isinstance(synapse, LowPass):
        return FilterCoefficients(scalar(1 - decay), scalar(0), scalar(decay), scalar(0), aligned(constant))
    return FilterCoefficients(
        b0=scalar(1 - decay - passed_on),
        b1=scalar(decay * decay - decay + passed_on),
        a1=scalar(2 * decay),
        a2=scalar(-decay * decay),
        constant=aligned(constant),
    )


def _without_constant(connection: Connection) -> Connection:
    """The connection with no current where there are no spikes."""
    zeros = aligned(np.zeros_like(connection.kernel.constant))
    return connection._replace(kernel=connection.kernel._replace(constant=zeros))


def _per_word(weights_met: Tensor, connection: Connection) -> np.ndarray:
    """How many weights a spike meets, for each word of spikes, shape (pixels * tiles,); all channels of a pixel are alike."""
    channels, height, width = connection.out_shape
    per_pixel = weights_met.numpy().reshape(channels, -1)[0].astype(np.int64)
    return np.repeat(np.broadcast_to(per_pixel, height * width), connection.kernel.tiles)
