"""The weight layers of the network in PyTorch, for the peers that are built on it."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from worker import FILTER_DECAY, Task, Way

Step = Callable[[Tensor, Any], tuple[Tensor, Any]]  # (current, state) -> (spikes 0 or 1, state)

BATCHES = (8, 25, 100, 200)


def modules(task: Task, channels_last: bool, drive: float) -> tuple[nn.Conv2d, nn.Conv2d, nn.Conv2d, nn.Linear]:
    """conv1, conv2, conv3, dense; what they give to neurons is multiplied by `drive`."""
    layers = (nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3), nn.Conv2d(64, 128, 3), nn.Linear(3200, 10))
    for layer, name in zip(layers, ("conv1", "conv2", "conv3", "dense"), strict=True):
        factor = 1.0 if name == "dense" else drive
        for parameter, values in zip((layer.weight, layer.bias), task.layer(name), strict=True):
            parameter.data = torch.tensor(values * factor, dtype=torch.float32)
        if channels_last:
            layer.to(memory_format=torch.channels_last)
    return layers


def step_by_step(task: Task, drive: float, step: Step, start: Callable[[Tensor], Any]) -> dict[str, Way]:
    """One time step of the whole network after the other; `start` gives a layer's state from its first current."""
    ways: dict[str, Way] = {}
    for batch, channels_last in itertools.product(BATCHES, (False, True)):
        layers = modules(task, channels_last, drive)

        def simulate(images: Tensor, layers: Any = layers) -> tuple[Tensor, float]:
            conv1, conv2, conv3, dense = layers
            constant, states, total, spikes = conv1(images), [None, None, None], None, images.new_zeros(())
            for _ in range(task.steps):
                signal = constant
                for number, following in enumerate((conv2, conv3, dense)):
                    state = start(signal) if states[number] is None else states[number]
                    signal, states[number] = step(signal, state)
                    spikes += signal.sum()
                    signal = F.avg_pool2d(signal, 2) if number else signal
                    signal = following(signal.flatten(1) if number == 2 else signal)
                total = signal * (1 - FILTER_DECAY) if total is None else FILTER_DECAY * total + (1 - FILTER_DECAY) * signal
            assert total is not None
            return total, float(spikes)

        ways[f"batches of {batch}{', channels last' * channels_last}"] = _in_batches(simulate, batch)
    return ways


def layer_by_layer(task: Task, drive: float, neurons: Callable[[Tensor], Tensor]) -> dict[str, Way]:
    """All time steps of a layer before the next one; `neurons` takes currents (time, batch, ...) and gives spikes."""
    ways: dict[str, Way] = {}
    for batch, channels_last in itertools.product(BATCHES[:3], (False, True)):
        layers = modules(task, channels_last, drive)

        def simulate(images: Tensor, layers: Any = layers) -> tuple[Tensor, float]:
            conv1, conv2, conv3, dense = layers
            constant = conv1(images)
            signal, spikes = neurons(constant.expand(task.steps, *constant.shape)), 0.0
            for number, following in enumerate((conv2, conv3, dense)):
                spikes += float(signal.sum())
                folded = signal.flatten(0, 1)
                folded = F.avg_pool2d(folded, 2) if number else folded
                folded = following(folded.flatten(1) if number == 2 else folded)
                signal = folded.unflatten(0, (task.steps, len(images)))
                signal = neurons(signal) if number < 2 else signal
            decays = FILTER_DECAY ** torch.arange(task.steps - 1, -1, -1.0)
            return (signal * (1 - FILTER_DECAY) * decays[:, None, None]).sum(0), spikes

        ways[f"multi-step, batches of {batch}{', channels last' * channels_last}"] = _in_batches(simulate, batch)
    return ways


def _in_batches(simulate: Callable[[Tensor], tuple[Tensor, float]], batch: int) -> Way:
    def run(images: np.ndarray) -> tuple[np.ndarray, float]:
        with torch.no_grad():
            parts = [simulate(part) for part in torch.from_numpy(images).split(batch)]
        return torch.cat([outputs for outputs, _ in parts]).numpy(), sum(spikes for _, spikes in parts)

    return run
