"""The reference engine: plain PyTorch operations, any device, any dtype, every neuron.

Layers without memory take some time steps at once, folded into the batch; only neurons and filters loop over time. How many
images and steps at once follows from a budget of memory. `torch.compile` can fuse the operations of a neuron's step.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ratespike.neurons import Neuron, State
from ratespike.simulation.exact_sums import WeightedSum, on_grid, weighted_sum
from ratespike.simulation.random import uniform_like
from ratespike.simulation.result import Simulation, concatenate
from ratespike.simulation.segments import Segment, fan_out
from ratespike.simulation.settings import Settings
from ratespike.simulation.start import initial_state, steady_currents
from ratespike.synapses import NoFilter, Synapse

# For currents and spikes of the largest layer; with a random start's integers and what a step makes on the way, the peak is
# several times as high. On a CPU about what its cache holds.
CPU_BYTES, GPU_BYTES = 16 * 2**20, 2**28
CPU_IMAGES, GPU_IMAGES = 16, 512  # at a time, at most
_ALIGNMENT = 8  # BLAS sums in another order for odd batch sizes: whole groups keep an image's spikes from depending on it


class _Neurons:
    """A neuron layer while it runs: its state and its streamed statistics."""

    def __init__(
        self, segment: Segment, layer: int, settings: Settings, image_index: Tensor, met: dict[str, Tensor], compiled: bool
    ):
        assert isinstance(segment.ending, Neuron)
        self.segment, self.neuron, self.name, self.layer = segment, segment.ending, segment.name, layer
        self.step = torch.compile(self.neuron.step, dynamic=True) if compiled else self.neuron.step
        self.settings, self.image_index, self.weights_met = settings, image_index, met[segment.name].flatten()
        self.state: State | None = None
        self.steps_done = 0
        self.spike_counts: list[Tensor] = []
        self.operations: list[Tensor] = []
        self.recording: list[Tensor] = []
        self.voltages: list[Tensor] = []

    def start(self, current: Tensor) -> None:
        """Set the state before the first step, from the layer's current as far as it is known."""
        state = initial_state(self.segment, self.layer, current, self.image_index, self.settings)
        self.state = {name: values.contiguous() for name, values in state.items()}

    def run(self, currents: Tensor) -> Tensor:
        """Advance all neurons by the steps of `currents` (time, batch, ...); their spike counts, of the same shape."""
        if self.state is None:
            self.start(currents[0])
        assert self.state is not None
        recorded = self.name in self.settings.record
        spikes = []
        for current in map(Tensor.contiguous, currents):  # one order of memory: faster steps, and compiled once
            self.steps_done += 1
            spiked, self.state = self.step(current, self.state, self.settings.dt, *self._random(current))
            spikes.append(spiked)
            if recorded and "voltage" in self.state:
                self.voltages.append(self.state["voltage"])
        every = torch.stack(spikes)
        count = every.flatten(2).abs()
        self.spike_counts.append(count.sum(2))
        self.operations.append(count @ self.weights_met.to(count.dtype))
        if recorded:
            self.recording.append(every)
        return every

    def _random(self, current: Tensor) -> tuple[Tensor, ...]:
        if not self.neuron.random:
            return ()
        return (uniform_like(current, self.settings.seed, self.image_index, self.layer, purpose=self.steps_done),)


class _Filter:
    """A filter while it runs."""

    def __init__(self, synapse: Synapse, dt: float):
        self.synapse, self.dt = synapse, dt
        self.state: tuple[Tensor, ...] | None = None

    def run(self, signals: Tensor) -> Tensor:
        """Filter some steps (time, batch, ...)."""
        if self.state is None:
            self.state = self.synapse.initial_state(signals[0])
        filtered = []
        for signal in signals:
            value, self.state = self.synapse.step(signal, self.state, self.dt)
            filtered.append(value)
        return torch.stack(filtered)


def run(
    segments: list[Segment], images: Tensor, image_index: Tensor, settings: Settings, *, compiled: bool = False
) -> Simulation:
    """Simulate `images`, a slice at a time; `compiled`: the neurons' steps by `torch.compile`."""
    counted = fan_out(segments, images[:1])
    met = counted.weights_met
    inputs = [
        _input(before, segment, images.dtype, settings.dt) for before, segment in zip([None, *segments], segments, strict=False)
    ]
    result = concatenate(
        [
            _run_slice(segments, inputs, part, index, settings, met, compiled).first(count)
            for part, index, count in slices(images, image_index, _largest(met))
        ]
    )
    result.synaptic_operations[0] += counted.first_operations
    return result


def slices(images: Tensor, image_index: Tensor, largest_layer: int) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Images and their numbers, filled up with zeros to sizes that are computed alike, and how many of them count.

    So many at once that the currents and pulses of a layer of `largest_layer` neurons keep to the budget in one step.
    """
    images_at_once = max(_ALIGNMENT, _budget(images) // _bytes_per_image(images, largest_layer) // _ALIGNMENT * _ALIGNMENT)
    images_at_once = min(images_at_once, CPU_IMAGES if images.device.type == "cpu" else GPU_IMAGES)
    for part, index in zip(images.split(images_at_once), image_index.split(images_at_once), strict=True):
        padding = -len(part) % _ALIGNMENT
        padded = torch.cat([part, part.new_zeros(padding, *part.shape[1:])])
        yield padded, torch.cat([index, index.new_zeros(padding)]), len(part)


def _budget(images: Tensor) -> int:
    return CPU_BYTES if images.device.type == "cpu" else GPU_BYTES


def _bytes_per_image(images: Tensor, largest_layer: int) -> int:
    return max(1, 2 * largest_layer * images.element_size())


def _largest(met: dict[str, Tensor]) -> int:
    return max(places.numel() for places in met.values())


def _input(before: Segment | None, segment: Segment, dtype: torch.dtype, dt: float) -> Callable[[Tensor], Tensor]:
    """What arrives at a segment's ending, from the images, the spike counts or the filter's signal of the segment before."""
    ending = None if before is None else before.ending
    height = ending.scale / dt if isinstance(ending, Neuron) else 1.0
    total = None if isinstance(ending, Synapse) or dtype != torch.float32 else weighted_sum(segment, height)
    if total is None:
        return lambda signal: segment.input((signal * height).to(dtype))
    if before is None:
        return lambda images: total(images.double()).to(dtype)
    return WeightedSum(total.layers, *on_grid(total.weight, total.bias, torch.finfo(dtype).eps)).to(dtype)


def _run_slice(
    segments: list[Segment],
    inputs: list[Callable[[Tensor], Tensor]],
    images: Tensor,
    image_index: Tensor,
    settings: Settings,
    met: dict[str, Tensor],
    compiled: bool,
) -> Simulation:
    endings: list[_Neurons | _Filter] = []
    layers: list[_Neurons] = []
    for segment in segments:
        if isinstance(segment.ending, Neuron):
            layers.append(_Neurons(segment, len(layers), settings, image_index, met, compiled))
            endings.append(layers[-1])
        else:
            endings.append(_Filter(segment.ending or NoFilter(), settings.dt))

    constant = inputs[0](images)
    if settings.start == "steady_phase":
        for layer, current in zip(layers, steady_currents(segments, images), strict=True):
            layer.start(current)
    outputs = []
    steps_at_once = max(1, _budget(images) // (max(1, len(images)) * _bytes_per_image(images, _largest(met))))
    for steps in torch.arange(settings.n_steps).split(steps_at_once):
        signals = endings[0].run(constant.expand(len(steps), *constant.shape))
        for arriving, ending in zip(inputs[1:], endings[1:], strict=True):
            folded = arriving(signals.flatten(0, 1))
            signals = ending.run(folded.unflatten(0, signals.shape[:2]))
        outputs.append(signals)
    return Simulation(
        outputs=torch.cat(outputs),
        spike_counts={layer.name: torch.cat(layer.spike_counts) for layer in layers},
        synaptic_operations=torch.stack([torch.cat(layer.operations) for layer in layers]).sum(0),
        neurons={layer.name: met[layer.name].numel() for layer in layers},
        recordings={layer.name: torch.cat(layer.recording) for layer in layers if layer.recording},
        voltages={layer.name: torch.stack(layer.voltages) for layer in layers if layer.voltages},
        dt=settings.dt,
    )
