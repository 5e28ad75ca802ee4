"""The result of a simulation: outputs, spike counts and operations of each step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Simulation:
    """The result of `simulate`. Statistics are kept for each step, so that any shorter simulation can be read from it.

    Attributes:
        outputs: the network's answer after each step, as the read-out makes it from the outputs; shape (time, batch, classes).
        spike_counts: by neuron layer, the spikes of all its neurons in each step, negative ones too, shape (time, batch).
        synaptic_operations: multiply-adds that an event-driven machine needs in each step, shape (time, batch): for each
            spike the weights it meets, and in the first step those of the constant first current.
        neurons: by neuron layer, how many neurons it has.
        recordings: by neuron layer named in `record`, its spikes, shape (time, batch, ...).
        dt: the step, seconds.
        voltages: by neuron layer named in `record`, its membrane voltages after each step, shape (time, batch, ...); a
            neuron without a membrane has none.
        stopped_after: with `early_exit`, how many steps each image was simulated for, shape (batch,). From then on its answer
            stays as it is, and nothing is counted or recorded.
    """

    outputs: Float[Tensor, "time batch classes"]
    spike_counts: dict[str, Float[Tensor, "time batch"]]
    synaptic_operations: Float[Tensor, "time batch"]
    neurons: dict[str, int]
    recordings: dict[str, Float[Tensor, "time batch *shape"]]
    dt: float
    voltages: dict[str, Float[Tensor, "time batch *shape"]] = field(default_factory=dict)
    stopped_after: Int[Tensor, " batch"] | None = None

    @property
    def n_steps(self) -> int:
        """How many steps were simulated."""
        return self.outputs.shape[0]

    @property
    def steps(self) -> Int[Tensor, " batch"]:
        """How many steps each image was simulated for."""
        if self.stopped_after is not None:
            return self.stopped_after
        return torch.full((self.outputs.shape[1],), self.n_steps, device=self.outputs.device)

    @property
    def predictions(self) -> Float[Tensor, "time batch"]:
        """The class with the largest output, at each step."""
        return self.outputs.argmax(dim=-1)

    def firing_rates_hz(self) -> dict[str, float]:
        """By neuron layer, spikes per neuron and second, averaged over images and the steps that they were simulated for."""
        seconds = self.dt * self.steps.sum().double()
        return {
            name: float(counts.double().sum() / (self.neurons[name] * seconds)) for name, counts in self.spike_counts.items()
        }

    def first(self, n_images: int) -> "Simulation":
        """The same for the first images only."""
        return replace(
            self,
            outputs=self.outputs[:, :n_images],
            spike_counts={name: counts[:, :n_images] for name, counts in self.spike_counts.items()},
            synaptic_operations=self.synaptic_operations[:, :n_images],
            recordings={name: spikes[:, :n_images] for name, spikes in self.recordings.items()},
            voltages={name: voltages[:, :n_images] for name, voltages in self.voltages.items()},
            stopped_after=None if self.stopped_after is None else self.stopped_after[:n_images],
        )

    def stopped(self, steps: Int[Tensor, " batch"]) -> "Simulation":
        """The same, each image's simulation ended after its number of steps."""
        time = torch.arange(self.n_steps, device=steps.device).unsqueeze(1)
        running, images = time < steps, torch.arange(len(steps), device=steps.device)

        def silent(values: Tensor) -> Tensor:
            return values * running.reshape(*running.shape, *[1] * (values.dim() - 2)).to(values.dtype)

        return replace(
            self,
            outputs=self.outputs[torch.minimum(time, steps - 1), images],
            spike_counts={name: silent(counts) for name, counts in self.spike_counts.items()},
            synaptic_operations=silent(self.synaptic_operations),
            recordings={name: silent(spikes) for name, spikes in self.recordings.items()},
            voltages={name: silent(voltages) for name, voltages in self.voltages.items()},
            stopped_after=steps,
        )


def concatenate(parts: Sequence[Simulation]) -> Simulation:
    """One simulation of all the parts' images."""
    return replace(
        parts[0],
        outputs=torch.cat([part.outputs for part in parts], dim=1),
        spike_counts=_joined([part.spike_counts for part in parts]),
        synaptic_operations=torch.cat([part.synaptic_operations for part in parts], dim=1),
        recordings=_joined([part.recordings for part in parts]),
        voltages=_joined([part.voltages for part in parts]),
    )


def _joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts], dim=1) for name in parts[0]}
