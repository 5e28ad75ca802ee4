"""The result of a simulation: the answers, the spikes and the operations of each step."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ratespike.simulation.cost import NetworkCost


@dataclass(frozen=True)
class Simulation:
    """The result of `simulate`. Statistics are kept for each step, so that any shorter simulation can be read from it.

    Attributes:
        outputs: the network's answer after each step, as the read-out makes it from the outputs; shape (time, batch, classes).
        spike_counts: by neuron layer, the spikes of all its neurons in each step, negative ones too, shape (time, batch).
        synaptic_operations: multiply-adds that an event-driven machine needs in each step, shape (time, batch): for each
            spike the weights it meets; in the first step also those of an image that stands still, in each step those of one
            that changes, or of its events alone.
        neurons: by neuron layer, how many neurons it has.
        recordings: by neuron layer named in `record`, its spikes, shape (time, batch, ...).
        dt: the step, seconds.
        voltages: by neuron layer named in `record`, its membrane voltages after each step, shape (time, batch, ...); a
            neuron without a membrane has none.
        stopped_after: with `early_exit`, how many steps each image was simulated for, shape (batch,). From then on its answer
            stays as it is, and nothing is counted or recorded.
        spike_operations: by neuron layer, the weights that its spikes meet in each step, shape (time, batch).
        image_operations: the weights that those values of an image meet that are not 0, in the first step if it stands still;
            of events those that the events meet, shape (time, batch). None: not counted.
        images_are_events: whether the images over time are events.
        cost: what the network costs whatever its spikes are; None: not measured.

    Example:
        >>> from torch import nn
        >>> from ratespike import simulate
        >>> from ratespike.neurons import LIF
        >>> result = simulate(nn.Sequential(LIF(max_rate=100)), torch.ones(2, 4), n_steps=50, start="zero")
        >>> result.spike_counts["0"].sum(0), result.firing_rates_hz()
        (tensor([20., 20.]), {'0': 100.0})
    """

    outputs: Float[Tensor, "time batch classes"]
    spike_counts: dict[str, Float[Tensor, "time batch"]]
    synaptic_operations: Float[Tensor, "time batch"]
    neurons: dict[str, int]
    recordings: dict[str, Float[Tensor, "time batch *shape"]]
    dt: float
    voltages: dict[str, Float[Tensor, "time batch *shape"]] = field(default_factory=dict)
    stopped_after: Int[Tensor, " batch"] | None = None
    spike_operations: dict[str, Float[Tensor, "time batch"]] = field(default_factory=dict)
    image_operations: Float[Tensor, "time batch"] | None = None
    images_are_events: bool = False
    cost: NetworkCost | None = None

    @property
    def accumulates(self) -> Float[Tensor, "time batch"]:
        """In each step, the weights that are added up because a spike or an event has met them: no weight is multiplied."""
        total = self._added_up(self.spike_operations)
        if self.images_are_events and self.image_operations is not None:
            total = total + self.image_operations
        return total

    @property
    def multiply_accumulates(self) -> Float[Tensor, "time batch"]:
        """In each step, the weights that are multiplied with values of an image and added up."""
        if self.images_are_events or self.image_operations is None:
            return torch.zeros_like(self.synaptic_operations)
        return self.image_operations

    @property
    def folded_accumulates(self) -> Float[Tensor, "time batch"]:
        """Of the accumulates those of layers whose spikes are 0 or 1 at a weight only because all else is folded into it."""
        folded = () if self.cost is None else self.cost.folded
        return self._added_up({name: values for name, values in self.spike_operations.items() if name in folded})

    def _added_up(self, by_layer: Mapping[str, Tensor]) -> Tensor:
        return sum(by_layer.values(), start=torch.zeros_like(self.synaptic_operations))

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
        seconds = self.dt * self.steps.sum().double()  # of all images together
        rates: dict[str, float] = {}
        for name, counts in self.spike_counts.items():
            rates[name] = float(counts.double().sum() / (self.neurons[name] * seconds))
        return rates

    def first(self, n_images: int) -> "Simulation":
        """The same for the first images only."""
        shorter = self._with_each_statistic(lambda values: values[:, :n_images])
        return replace(
            shorter,
            outputs=self.outputs[:, :n_images],
            stopped_after=None if self.stopped_after is None else self.stopped_after[:n_images],
        )

    def stopped(self, steps: Int[Tensor, " batch"]) -> "Simulation":
        """The same, each image's simulation ended after its number of steps.

        Args:
            steps: from 1 to `n_steps`.
        """
        time = torch.arange(self.n_steps, device=steps.device).unsqueeze(1)  # (time, 1)
        images = torch.arange(len(steps), device=steps.device)
        running = time < steps  # (time, batch)

        def until_stopped(values: Float[Tensor, "time batch *shape"]) -> Float[Tensor, "time batch *shape"]:
            mask = running.reshape(*running.shape, *[1] * (values.dim() - 2))
            return values * mask.to(values.dtype)

        last_running = torch.minimum(time, steps - 1)  # (time, batch): the step whose answer holds
        return replace(
            self._with_each_statistic(until_stopped), outputs=self.outputs[last_running, images], stopped_after=steps
        )

    def _with_each_statistic(self, change: Callable[[Tensor], Tensor]) -> "Simulation":
        """The same with all tensors changed that count or record: each of them has the shape (time, batch, ...)."""

        def changed(by_layer: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: change(values) for name, values in by_layer.items()}

        return replace(
            self,
            spike_counts=changed(self.spike_counts),
            synaptic_operations=change(self.synaptic_operations),
            recordings=changed(self.recordings),
            voltages=changed(self.voltages),
            spike_operations=changed(self.spike_operations),
            image_operations=None if self.image_operations is None else change(self.image_operations),
        )


def concatenate(parts: Sequence[Simulation]) -> Simulation:
    """One simulation of all the images of simulations without early exit, as the engines return them.

    Args:
        parts: one at least, of the same network, with the same settings.
    """
    return replace(
        parts[0],
        outputs=torch.cat([part.outputs for part in parts], dim=1),
        spike_counts=_joined([part.spike_counts for part in parts]),
        synaptic_operations=torch.cat([part.synaptic_operations for part in parts], dim=1),
        recordings=_joined([part.recordings for part in parts]),
        voltages=_joined([part.voltages for part in parts]),
        spike_operations=_joined([part.spike_operations for part in parts]),
    )


def _joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """By layer, the parts' tensors of shape (time, batch, ...) behind each other along the batch."""
    joined: dict[str, Tensor] = {}
    for name in parts[0]:
        joined[name] = torch.cat([part[name] for part in parts], dim=1)
    return joined
