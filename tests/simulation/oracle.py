"""What a simulation has to compute, from the network's forward alone: it is called once a step, with neurons that remember.

Nothing about the network is concluded, nothing is folded, and no code of `ratespike.simulation` is used.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ratespike.neurons import Neuron
from ratespike.synapses import Synapse


class Remembering(nn.Module):
    """A neuron with its state; a call is a step."""

    def __init__(self, neuron: Neuron, dt: float, start: float | dict[str, Tensor]):
        super().__init__()
        self.neuron, self.dt, self.start = neuron, dt, start
        self.state: Any = None
        self.spikes: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        current = self.neuron.current(x)
        if self.state is None:
            voltage = self.start if isinstance(self.start, float) else 0.0
            self.state = self.neuron.initial_state(torch.full_like(current, voltage))
            if isinstance(self.start, dict):
                self.state |= {name: values.expand_as(current) for name, values in self.start.items()}
        spikes, self.state = self.neuron.step(current, self.state, self.dt)
        self.spikes.append(spikes)
        return spikes * (self.neuron.scale / self.dt)


class RememberingFilter(nn.Module):
    """A filter with its state; a call is a step."""

    def __init__(self, synapse: Synapse, dt: float):
        super().__init__()
        self.synapse, self.dt, self.state = synapse, dt, None

    def forward(self, x: Tensor) -> Tensor:
        if self.state is None:
            self.state = self.synapse.initial_state(x)
        filtered, self.state = self.synapse.step(x, self.state, self.dt)
        return filtered


class RememberingMaxPool(nn.Module):
    """After each step the sum of the outputs is the largest of the sums of the inputs."""

    def __init__(self, pool: nn.Module):
        super().__init__()
        self.pool, self.arrived, self.left = pool, 0.0, 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.arrived = self.arrived + x
        left_before, self.left = self.left, self.pool(self.arrived)
        return self.left - left_before


@dataclass
class Expected:
    """The unfiltered outputs of each step (time, batch, ...), and each neuron layer's spikes (time, batch, ...)."""

    outputs: Tensor
    spikes: dict[str, Tensor]


@torch.no_grad()
def step_by_step(
    network: nn.Module,
    images: Tensor,
    n_steps: int,
    dt: float = 0.001,
    start: float | dict[str, dict[str, Tensor]] = 0.5,
    max_poolings_of_spikes: tuple[str, ...] = (),
) -> Expected:
    """Simulate a network; each of its neurons is called once in a forward."""
    network.eval()
    replaced: list[tuple[nn.Module, str, nn.Module]] = []
    remembering: dict[str, Remembering] = {}
    for name, module in list(network.named_modules()):
        parent = network.get_submodule(name.rpartition(".")[0])
        new: nn.Module
        if isinstance(module, Neuron):
            new = remembering[name] = Remembering(module, dt, start if isinstance(start, float) else start.get(name, {}))
        elif isinstance(module, Synapse):
            new = RememberingFilter(module, dt)
        elif name in max_poolings_of_spikes:
            new = RememberingMaxPool(module)
        else:
            continue
        replaced.append((parent, name.rpartition(".")[2], module))
        setattr(parent, name.rpartition(".")[2], new)
    try:
        outputs = torch.stack([network(images) for _ in range(n_steps)])
    finally:
        for parent, name, module in replaced:
            setattr(parent, name, module)
    return Expected(outputs, {name: torch.stack(module.spikes) for name, module in remembering.items()})
