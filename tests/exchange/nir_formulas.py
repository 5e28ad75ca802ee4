"""NIR's formulas (https://neuroir.org/docs/primitives.html) step by step, from a graph of the package alone, in float64."""

from collections import defaultdict
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def simulated(graph: Any, images: Tensor, n_steps: int, dt: float, euler: bool = False) -> tuple[dict[str, Tensor], Tensor]:
    """The spikes of each neuron node and the output, shape (time, batch, ...), from voltage 0."""
    sources = defaultdict(list)
    for source, target in graph.edges:
        sources[target].append(source)
    voltages: dict[str, Tensor] = {}
    spikes: dict[str, list[Tensor]] = defaultdict(list)
    outputs = []
    for _ in range(n_steps):
        values = {name: images.double() for name, node in graph.nodes.items() if type(node).__name__ == "Input"}
        while len(values) < len(graph.nodes):
            for name, node in graph.nodes.items():
                if name in values or not all(source in values for source in sources[name]):
                    continue
                arrives = torch.stack([values[source] for source in sources[name]]).sum(0)
                values[name] = _after(name, node, arrives, voltages, dt, euler)
                if type(node).__name__ in ("IF", "LIF"):
                    spikes[name].append(values[name])
        (output,) = (name for name, node in graph.nodes.items() if type(node).__name__ == "Output")
        outputs.append(values[output])
    return {name: torch.stack(steps) for name, steps in spikes.items()}, torch.stack(outputs)


def _after(name: str, node: Any, x: Tensor, voltages: dict[str, Tensor], dt: float, euler: bool) -> Tensor:
    kind = type(node).__name__
    if kind == "Output":
        return x
    if kind == "Affine":
        return x @ _tensor(node.weight).T + _tensor(node.bias)
    if kind == "Conv2d":
        strides, paddings = tuple(map(int, node.stride)), tuple(map(int, node.padding))
        return F.conv2d(x, _tensor(node.weight), _tensor(node.bias), strides, paddings, tuple(map(int, node.dilation)))
    if kind == "Flatten":
        return x.flatten(1 + int(node.start_dim), int(node.end_dim))
    if kind == "SumPool2d":
        size = tuple(map(int, node.kernel_size))
        return F.avg_pool2d(x, size, tuple(map(int, node.stride)), tuple(map(int, node.padding))) * float(np.prod(size))
    voltage = voltages.get(name, torch.zeros_like(x))
    if kind == "IF":
        voltage = voltage + _tensor(node.r) * x
    else:
        share = dt / _tensor(node.tau) if euler else -torch.expm1(-dt / _tensor(node.tau))
        voltage = voltage + (_tensor(node.v_leak) - voltage + _tensor(node.r) * x) * share
    if kind == "LI":
        voltages[name] = voltage
        return voltage
    spiked = voltage > _tensor(node.v_threshold)
    voltages[name] = torch.where(spiked, _tensor(node.v_reset), voltage)
    return spiked.double()


def _tensor(values: Any) -> Tensor:
    return torch.as_tensor(np.asarray(values, dtype=np.float64))
