"""A network prepared for the event-driven simulation: made once, shared by all threads."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ratespike.neurons import Neuron
from ratespike.simulation.at_rest import AtRest
from ratespike.simulation.event_driven.connection import connect, output_map
from ratespike.simulation.event_driven.errors import UnsupportedError
from ratespike.simulation.event_driven.layout import AtRest as ConstantAtRest
from ratespike.simulation.event_driven.layout import (
    Connection,
    FilterCoefficients,
    Layer,
    OutputMap,
    aligned,
    padded_neurons,
    vector_width,
)
from ratespike.simulation.event_driven.neurons import compiled_step
from ratespike.simulation.exact_sums import ExactSums, network_sums
from ratespike.simulation.network_analysis import Analysis
from ratespike.simulation.terms import Map, Pool, Term
from ratespike.synapses import Alpha, LowPass, NoFilter, Synapse

DTYPES = {torch.float32: np.float32, torch.float64: np.float64}


@dataclass(frozen=True)
class Input:
    """What leads from one layer of neurons to another, or to the output.

    Attributes:
        source: number of the layer.
        connection: from its spikes.
    """

    source: int
    connection: Connection


@dataclass(frozen=True)
class CompiledLayer:
    """A layer of neurons, or the output layer.

    Attributes:
        kernel: for the kernels, with the last of the inputs.
        inputs: from other layers; the one with the largest kernel last.
        sees_image: whether its currents come from an image, by the kernel's connection, in float64.
        sums: the same for the reference engine.
        constant: the currents at rest; None if they depend on the images.
    """

    kernel: Layer
    inputs: tuple[Input, ...]
    sees_image: bool
    sums: ExactSums
    constant: ConstantAtRest | None

    @property
    def map(self) -> Map:
        """How neurons or outputs lie."""
        return self.sums.target.map

    @property
    def neurons(self) -> int:
        """How many there are."""
        return math.prod(self.map.shape)


@dataclass(frozen=True)
class CompiledNetwork:
    """All that is constant while images are simulated.

    Attributes:
        dtype: of all real numbers.
        layers: the layers of neurons, in the order of their calls.
        output: what is behind them.
        pools: max poolings of spikes, whose numbers as sources follow those of the layers.
        at_rest: what arrives without spikes, for targets where that depends on the images.
    """

    dtype: type
    layers: tuple[CompiledLayer, ...]
    output: CompiledLayer
    pools: tuple[Pool, ...]
    at_rest: AtRest

    def neurons_of(self, source: int) -> CompiledLayer:
        """The layer of neurons whose spikes a source sends, directly or pooled."""
        while source >= len(self.layers):
            source = self.pools[source - len(self.layers)].source
        return self.layers[source]

    def currents_at_rest(self, images: Tensor) -> dict[int, np.ndarray]:
        """The currents of images (batch, ...) by number of the layer, the output's last, shape (batch, padded neurons)."""
        currents: dict[int, np.ndarray] = {}
        targets = [*self.layers, self.output]
        wanted = [number for number, layer in enumerate(targets) if layer.constant is None]
        for number, signal in self.at_rest(images, wanted).items():
            layer = targets[number]
            currents[number] = in_tiles(layer.sums.at_rest(signal).numpy(), layer.kernel.map, self.dtype)
        return currents


def compile_network(analysis: Analysis, dt: float, images_change: bool) -> CompiledNetwork:
    """Prepare a network.

    Args:
        analysis: of the network.
        dt: the step, seconds.
        images_change: whether they do so from step to step.

    Raises:
        NoTermError: its forward computes something else than weighted sums of spikes.
        UnsupportedError: a part of the network is not for this engine.
    """
    sums = analysis.made(network_sums, dt)
    dtype = DTYPES[analysis.image.dtype]
    *layer_sums, output = sums.targets
    if not output.terms:
        raise UnsupportedError("a network whose output does not depend on spikes")
    layers: list[CompiledLayer] = []
    for number, (call, exact) in enumerate(zip(analysis.trace.neurons, layer_sums, strict=True)):
        assert isinstance(call.module, Neuron)
        step = compiled_step(call.module, dt, dtype)
        met = _met(analysis.fan_out.weights_met[call.name], exact.target.map)
        of_zeros = sums.at_rest.of_zeros[number]
        if exact.target.image_term is not None and not images_change:
            layers.append(_seeing_image(exact, exact.target.image_term, of_zeros, step, met))
        else:
            layers.append(_compiled(exact, of_zeros, step, met, dt, dtype))
    of_zeros = sums.at_rest.of_zeros[len(layers)]
    behind = _compiled(output, of_zeros, None, None, dt, dtype)
    return CompiledNetwork(dtype, tuple(layers), behind, tuple(sums.pools), sums.at_rest)


def in_tiles(values: np.ndarray, target: OutputMap, dtype: type) -> np.ndarray:
    """Values of a map (batch, channels, height, width) tile by tile, (batch, padded neurons)."""
    batch, channels, height, width = values.shape
    lanes = vector_width(target)
    tiles: np.ndarray = np.zeros((batch, target.tiles * lanes, height, width), dtype)
    tiles[:, :channels] = values
    by_tile = tiles.reshape(batch, target.tiles, lanes, height, width).transpose(0, 1, 3, 4, 2)
    return np.ascontiguousarray(by_tile).reshape(batch, -1)


def map_at_rest(values: np.ndarray, target: OutputMap, first_step: int, image: int, step: int) -> ConstantAtRest:
    """Currents at rest of every neuron, tile by tile, from one image and step to the next `image` and `step` values later."""
    lanes = vector_width(target)
    row = target.width * lanes
    return ConstantAtRest(values, first_step, image, step, tile=target.height * row, row=row, pixel=lanes)


def _compiled(sums: ExactSums, of_zeros: Tensor, step: object, met: np.ndarray | None, dt: float, dtype: type) -> CompiledLayer:
    target = output_map(sums.target.map.shape)
    terms = sorted(sums.terms, key=lambda term: term.convolution.weight.numel())  # type: ignore[union-attr]
    inputs = tuple(Input(term.source, connect(term, dtype)) for term in terms)
    coefficients = _filter_coefficients([term.synapse for term in terms], dt, dtype)
    kernel = Layer(target, inputs[-1].connection if inputs else None, coefficients, step, met)
    constant = None
    if not sums.target.of_image:
        constant = _constant(sums.at_rest(of_zeros).numpy(), target, dtype, alike=bool(inputs))
    return CompiledLayer(kernel, inputs, False, sums, constant)


def _seeing_image(sums: ExactSums, term: Term, of_zeros: Tensor, step: object, met: np.ndarray) -> CompiledLayer:
    """A layer to which the image alone leads.

    Sums of an image's values depend on their order, unlike sums of spikes (see `ratespike.simulation.exact_sums`). So they are
    computed in float64, and the currents, which are needed once, are rounded.
    """
    target = output_map(sums.target.map.shape)
    assert term.convolution is not None
    weight = term.convolution.weight * (term.scale * sums.gain)
    scaled = replace(term, scale=1.0, convolution=replace(term.convolution, weight=weight))
    kernel = Layer(target, connect(scaled, np.float64), None, step, met)
    constant = _constant(sums.at_rest(of_zeros).numpy(), target, np.float64, alike=True)
    return CompiledLayer(kernel, (), True, sums, constant)


def _constant(values: np.ndarray, target: OutputMap, dtype: type, alike: bool) -> ConstantAtRest:
    """Currents that are the same for all images; with `alike`, one for each channel if its neurons have the same."""
    if alike and (values == values[:, :, :1, :1]).all():
        one_pixel = target._replace(height=1, width=1)
        vectors = aligned(in_tiles(values[:, :, :1, :1], one_pixel, dtype).reshape(-1))
        return ConstantAtRest(vectors, 0, image=0, step=0, tile=vector_width(target), row=0, pixel=0)
    return map_at_rest(aligned(in_tiles(values, target, dtype).reshape(-1)), target, 0, image=0, step=0)


def _filter_coefficients(synapses: Sequence[Synapse | None], dt: float, dtype: type) -> FilterCoefficients | None:
    """A filter's coefficients; None if nothing is filtered."""
    filters = [None if isinstance(synapse, NoFilter) else synapse for synapse in synapses]
    if not any(filters):
        return None
    if len(filters) > 1:
        raise UnsupportedError("a filter in front of a sum of several layers")
    (synapse,) = filters
    if type(synapse) not in (LowPass, Alpha):
        raise UnsupportedError(f"the filter {type(synapse).__name__}")
    assert isinstance(synapse, LowPass | Alpha)
    decay = math.exp(-dt / synapse.tau)
    passed_on = dt / synapse.tau * math.exp(-dt / synapse.tau)
    if isinstance(synapse, LowPass):
        return FilterCoefficients(dtype(1 - decay), dtype(0), dtype(decay), dtype(0))
    return FilterCoefficients(
        b0=dtype(1 - decay - passed_on),
        b1=dtype(decay * decay - decay + passed_on),
        a1=dtype(2 * decay),
        a2=dtype(-decay * decay),
    )


def _met(weights_met: Tensor, layer: Map) -> np.ndarray:
    """How many weights a spike meets: for each word of spikes if its neurons are alike, else for each neuron."""
    placed = torch.empty(weights_met.numel(), dtype=torch.int64)
    placed[layer.places.flatten()] = weights_met.flatten().round().long()
    channels, height, width = layer.shape
    target = output_map(layer.shape)
    lanes = vector_width(target)
    by_neuron = np.zeros((height * width, target.tiles * lanes), np.int64)
    by_neuron[:, :channels] = placed.reshape(channels, -1).T.numpy()
    words = by_neuron.reshape(-1, lanes)
    filled = np.zeros_like(by_neuron)
    filled[:, :channels] = 1
    alike = np.where(filled.reshape(-1, lanes) == 1, words, words[:, :1])
    if (alike == words[:, :1]).all():
        return np.ascontiguousarray(words[:, 0])
    assert by_neuron.size == padded_neurons(target)
    return by_neuron.reshape(-1)
