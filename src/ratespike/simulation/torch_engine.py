"""The reference engine: plain PyTorch operations, any device, any dtype, every neuron."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ratespike.neurons import Neuron, State
from ratespike.simulation.random import uniform_like
from ratespike.simulation.result import Settings, Simulation, concatenate
from ratespike.simulation.stages import Stage, layers_until_neuron, stages, weights_met
from ratespike.simulation.start import initial_state
from ratespike.synapses import NoFilter, Synapse

SLICE = 16  # images at a time, so that their state stays in a CPU's cache
_ALIGNMENT = 8  # BLAS sums in another order for odd batch sizes: whole groups keep an image's spikes from depending on it


class _Neurons:
    """A neuron layer while it runs: its state and its streamed statistics."""

    def __init__(self, stage: Stage, layer: int, settings: Settings, image_index: Tensor, fan_out: dict[str, Tensor]):
        assert isinstance(stage.ending, Neuron)
        self.neuron, self.name, self.layer = stage.ending, stage.name, layer
        self.settings, self.image_index, self.fan_out = settings, image_index, fan_out
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
        self.operations.append(count @ self.fan_out[self.name].to(count.dtype))
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


def run(network: nn.Module, images: Tensor, image_index: Tensor, settings: Settings) -> Simulation:
    """Simulate `images`, a slice at a time."""
    cut = stages(network)
    first_operations, fan_out = _fan_out(cut, images[:1])
    results = []
    for part, index in zip(images.split(SLICE), image_index.split(SLICE), strict=True):
        padding = -len(part) % _ALIGNMENT
        padded = torch.cat([part, part.new_zeros(padding, *part.shape[1:])])
        padded_index = torch.cat([index, index.new_zeros(padding)])
        results.append(_run_slice(cut, padded, padded_index, settings, fan_out).first(len(part)))
    result = concatenate(results)
    result.synaptic_operations[0] += first_operations
    return result


def _fan_out(cut: list[Stage], image: Tensor) -> tuple[int, dict[str, Tensor]]:
    """The multiply-adds of the first current, and for each place of each neuron layer the weights that a spike meets."""
    first = weights_met(layers_until_neuron(cut, 0), image.shape[1:], image.device)
    fan_out, signal = {}, image
    for number, stage in enumerate(cut):
        signal = stage.input(signal)
        if isinstance(stage.ending, Neuron):
            behind = layers_until_neuron(cut, number + 1)
            fan_out[stage.name] = weights_met(behind, signal.shape[1:], signal.device).flatten()
    return int(first.sum()), fan_out


def _run_slice(
    cut: list[Stage], images: Tensor, image_index: Tensor, settings: Settings, fan_out: dict[str, Tensor]
) -> Simulation:
    endings: list[_Neurons | _Filter] = []
    layers: list[_Neurons] = []
    for stage in cut:
        if isinstance(stage.ending, Neuron):
            layers.append(_Neurons(stage, len(layers), settings, image_index, fan_out))
            endings.append(layers[-1])
        else:
            endings.append(_Filter(stage.ending or NoFilter(), settings.dt))

    constant = cut[0].input(images)
    if settings.start == "steady_phase":
        for layer, current in zip(layers, _steady_currents(cut, constant, images.dtype), strict=True):
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


def _steady_currents(cut: list[Stage], constant: Tensor, dtype: torch.dtype) -> Iterator[Tensor]:
    """The current of each neuron layer in one pass on rates: exact for the first layer, an estimate for the others."""
    signal = constant
    for number, stage in enumerate(cut):
        signal = stage.input(signal.to(dtype)) if number > 0 else constant
        if isinstance(stage.ending, Neuron):
            yield signal
            signal = stage.ending.firing_rate(signal) * stage.ending.scale
