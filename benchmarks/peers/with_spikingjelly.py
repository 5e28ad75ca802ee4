"""The network in SpikingJelly."""

import torch
from layers import layer_by_layer, step_by_step
from spikingjelly.activation_based import neuron
from torch import Tensor
from worker import read_task, serve


def node(step_mode: str, voltage: Tensor) -> neuron.LIFNode:
    """Neurons that start with these voltages."""
    made = neuron.LIFNode(tau=20.0, decay_input=True, v_threshold=1.0, v_reset=0.0, step_mode=step_mode).eval()
    made.v = voltage
    return made


def multi_step(currents: Tensor) -> Tensor:
    """All steps of one layer."""
    return node("m", torch.rand_like(currents[0]))(currents)


def single_step(current: Tensor, state: neuron.LIFNode) -> tuple[Tensor, neuron.LIFNode]:
    """One step of one layer."""
    return state(current), state


task = read_task()
single = step_by_step(task, 1.0, single_step, lambda current: node("s", torch.rand_like(current)))
serve(task, single | layer_by_layer(task, 1.0, multi_step))
