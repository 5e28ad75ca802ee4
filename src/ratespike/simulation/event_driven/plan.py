"""A network prepared for the event-driven simulation of images of one shape: made once, shared by all threads."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from ratespike.neurons import Neuron
from ratespike.simulation.event_driven.connection import Connection, Shape, UnsupportedError, connect
from ratespike.simulation.event_driven.kernels import Filter
from ratespike.simulation.event_driven.neurons import compiled_step
from ratespike.simulation.segments import Segment
from ratespike.synapses import Alpha, LowPass, NoFilter, Synapse


@dataclass(frozen=True)
class NeuronLayer:
    """A neuron layer as the kernels want it.

    Attributes:
        connection: what leads to it.
        step: the constants of its compiled step.
        smooth: the filter of the current that arrives, if there is one.
        fan_out: weights that a spike in each word of bits meets in the next connection, shape (pixels * tiles,).
    """

    connection: Connection
    step: Any
    smooth: Filter | None
    fan_out: np.ndarray

    @property
    def places(self) -> int:
        """Pixels times padded channels."""
        _, height, width = self.connection.out_shape
        return height * width * self.connection.kernel.tiles * self.connection.lanes


@dataclass(frozen=True)
class Plan:
    """All that is constant while images are simulated.

    Attributes:
        image_shape: channels, height, width.
        dtype: of all real numbers.
        layers: the neuron layers.
        output: the connection behind the last of them.
        output_filter: of the current that arrives there.
    """

    image_shape: Shape
    dtype: type
    layers: tuple[NeuronLayer, ...]
    output: Connection
    output_filter: Filter | None


def make_plan(segments: list[Segment], image_shape: Shape, dt: float, dtype: type, fan_out: list[np.ndarray]) -> Plan:
    """Prepare a network that is cut into segments.

    Args:
        segments: the network.
        image_shape: channels, height, width.
        dt: the step, seconds.
        dtype: np.float32 or np.float64.
        fan_out: for each neuron layer the weights that a spike in each place meets, shape (channels, height, width) or
            (features,).

    Raises:
        UnsupportedError: a part of the network is not for this engine.
    """
    shape, scale, gap = image_shape, 1.0, _Gap()
    layers: list[NeuronLayer] = []
    met = iter(fan_out)
    for segment in segments:
        if not isinstance(segment.ending, Neuron):
            gap = gap.then(segment)
            continue
        step = compiled_step(segment.ending, dt, dtype)
        precision = dtype if layers else np.float64  # an image's values are summed once, and then rounded
        connection = connect([*gap.layers, *segment.layers], shape, scale, *segment.ending.gain_and_bias(), precision)
        shape, scale = connection.out_shape, segment.ending.scale / dt
        weights_met = np.broadcast_to(next(met).reshape(shape[0], -1)[0], shape[1] * shape[2]).astype(np.int64)
        layers.append(
            NeuronLayer(connection, step, _filter(gap.synapse, dt, dtype), np.repeat(weights_met, connection.kernel.tiles))
        )
        gap = _Gap()
    if not gap.layers:
        raise UnsupportedError("a network without a weight layer behind its last neurons")
    output = connect(gap.layers, shape, scale, 1.0, 0.0, dtype)
    return Plan(image_shape, dtype, tuple(layers), output, _filter(gap.synapse, dt, dtype))


@dataclass(frozen=True)
class _Gap:
    """What stands between two neuron layers: a filter directly behind the first, then layers without memory."""

    synapse: Synapse | None = None
    layers: tuple[nn.Module, ...] = ()

    def then(self, segment: Segment) -> "_Gap":
        layers = (*self.layers, *segment.layers)
        if not isinstance(segment.ending, Synapse):
            return _Gap(self.synapse, layers)
        if self.synapse is not None or any(isinstance(layer, nn.Conv2d | nn.Linear) for layer in layers):
            raise UnsupportedError("a filter that is not directly behind neurons")
        return _Gap(segment.ending, layers)


def _filter(synapse: Synapse | None, dt: float, dtype: Any) -> Filter | None:
    if synapse is None or isinstance(synapse, NoFilter):
        return None
    if type(synapse) not in (LowPass, Alpha):
        raise UnsupportedError(f"the filter {type(synapse).__name__}")
    assert isinstance(synapse, LowPass | Alpha)
    decay, passed_on = math.exp(-dt / synapse.tau), dt / synapse.tau * math.exp(-dt / synapse.tau)
    if isinstance(synapse, LowPass):
        return Filter(dtype(1 - decay), dtype(0), dtype(decay), dtype(0))
    return Filter(
        dtype(1 - decay - passed_on), dtype(decay * decay - decay + passed_on), dtype(2 * decay), dtype(-decay * decay)
    )
