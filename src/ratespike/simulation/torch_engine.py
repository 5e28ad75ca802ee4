"""The reference engine: plain PyTorch operations, any device, any dtype, every neuron."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ratespike.neurons import Neuron, State
from ratespike.simulation.random import uniform_like
from ratespike.simulation.result import Settings, Simulation, concatenate
from ratespike.simulation.stages import Stage, fan_out
from ratespike.simulation.start import initial_state, steady_currents
from ratespike.synapses import NoFilter, Synapse

SLICE = 16  # images at a time, so that their state stays in a CPU's cache
_ALIGNMENT = 8  # BLAS sums in another order for odd batch sizes: whole groups keep an image's spikes from depending on it


class _Neurons:
    """A neuron layer while it runs: its state and its streamed statistics."""

    def __init__(self, stage: Stage, layer: int, settings: Settings, image_index: Tensor, met: dict[str, Tensor]):
        assert isinstance(stage.ending, Neuron)
        self.neuron, self.name, self.layer = stage.ending, stage.name, layer
        self.settings, self.image_index, self.weights_met = settings, image_index, met[stage.name].flatten()
        self.state: State | None = None
        self.spike_counts: list[Tensor] = []
        self.operations: list[Tensor] = []
        self.recording: list[Tensor] = []
        self.voltages: list[Tensor] = []

    def start(self, current: Tensor) -> None:
        """Set the state before the first step, from the layer's current as far as it is known."""
        settings = self.settings
        self.size = current.shape[1:].numel()
        self.state = initial_state(
            self.neuron, self.name, self.layer, current, settings.start, settings.seed, self.image_index, settings.dt
        )

    def step(self, current: Tensor) -> Tensor:
        """Advance all neurons by one step; returns their spikes as pulses."""
        if self.state is None:
            self.start(current)
        assert self.state is not None
        spikes, self.state = self.neuron.step(current, self.state, self.settings.dt, *self._random(current))
        count = spikes.flatten(1).abs()
        self.spike_counts.append(count.sum(1))
        self.operations.append(count @ self.weights_met.to(count.dtype))
        if self.name in self.settings.record:
            self.recording.append(spikes)
            if "voltage" in self.state:
                self.voltages.append(self.state["voltage"])
        return spikes * (self.neuron.scale / self.settings.dt)

    def _random(self, current: Tensor) -> tuple[Tensor, ...]:
        if not self.neuron.random:
            return ()
        step_number = len(self.spike_counts) + 1
        return (uniform_like(current, self.settings.seed, self.image_index, self.layer, purpose=step_number),)


class _Filter:
    """A filter while it runs."""

    def __init__(self, synapse: Synapse, dt: float):
        self.synapse, self.dt = synapse, dt
        self.state: tuple[Tensor, ...] | None = None

    def step(self, signal: Tensor) -> Tensor:
        if self.state is None:
            self.state = self.synapse.initial_state(signal)
        filtered, self.state = self.synapse.step(signal, self.state, self.dt)
        return filtered


def run(cut: list[Stage], images: Tensor, image_index: Tensor, settings: Settings) -> Simulation:
    """Simulate `images`, a slice at a time."""
    first_operations, met = fan_out(cut, images[:1])
    result = concatenate(
        [_run_slice(cut, part, index, settings, met).first(count) for part, index, count in slices(images, image_index)]
    )
    result.synaptic_operations[0] += first_operations
    return result


def slices(images: Tensor, image_index: Tensor) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Images and their numbers, filled up with zeros to sizes that are computed alike, and how many of them count."""
    for part, index in zip(images.split(SLICE), image_index.split(SLICE), strict=True):
        padding = -len(part) % _ALIGNMENT
        padded = torch.cat([part, part.new_zeros(padding, *part.shape[1:])])
        yield padded, torch.cat([index, index.new_zeros(padding)]), len(part)


def _run_slice(cut: list[Stage], images: Tensor, image_index: Tensor, settings: Settings, met: dict[str, Tensor]) -> Simulation:
    endings: list[_Neurons | _Filter] = []
    layers: list[_Neurons] = []
    for stage in cut:
        if isinstance(stage.ending, Neuron):
            layers.append(_Neurons(stage, len(layers), settings, image_index, met))
            endings.append(layers[-1])
        else:
            endings.append(_Filter(stage.ending or NoFilter(), settings.dt))

    constant = cut[0].input(images)
    if settings.start == "steady_phase":
        for layer, current in zip(layers, steady_currents(cut, images), strict=True):
            layer.start(current)
    outputs = []
    for _ in range(settings.n_steps):
        signal = endings[0].step(constant)
        for stage, ending in zip(cut[1:], endings[1:], strict=True):
            signal = ending.step(stage.input(signal.to(images.dtype)))
        outputs.append(signal)
    return Simulation(
        outputs=torch.stack(outputs),
        spike_counts={layer.name: torch.stack(layer.spike_counts) for layer in layers},
        synaptic_operations=torch.stack([torch.stack(layer.operations) for layer in layers]).sum(0),
        neurons={layer.name: layer.size for layer in layers},
        recordings={layer.name: torch.stack(layer.recording) for layer in layers if layer.recording},
        voltages={layer.name: torch.stack(layer.voltages) for layer in layers if layer.voltages},
        dt=settings.dt,
    )
