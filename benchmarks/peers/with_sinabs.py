"""The network in Sinabs."""

import sinabs
import sinabs.layers
import torch
from layers import layer_by_layer
from torch import Tensor
from worker import read_task, serve


def neurons(currents: Tensor) -> Tensor:
    """All steps of one layer; Sinabs wants (batch, time, ...)."""
    layer = sinabs.layers.LIF(tau_mem=20.0, spike_threshold=1.0, reset_fn=sinabs.activation.MembraneReset(), norm_input=True)
    layer.init_state_with_shape((currents.shape[1], *currents.shape[2:]))
    layer.v_mem = torch.rand_like(currents[0])
    return layer(currents.transpose(0, 1)).transpose(0, 1)


serve(task := read_task(), layer_by_layer(task, 1.0, neurons))
