"""The network in Norse."""

import torch
from layers import step_by_step
from norse.torch.functional.lif_box import LIFBoxFeedForwardState, LIFBoxParameters, lif_box_feed_forward_step
from torch import Tensor
from worker import read_task, serve

parameters = LIFBoxParameters(tau_mem_inv=torch.tensor(1 / 0.02), v_th=torch.tensor(1.0))


def step(current: Tensor, state: LIFBoxFeedForwardState) -> tuple[Tensor, LIFBoxFeedForwardState]:
    """One step of one layer."""
    return lif_box_feed_forward_step(current, state, parameters, dt=0.001)


serve(task := read_task(), step_by_step(task, 1.0, step, lambda current: LIFBoxFeedForwardState(v=torch.rand_like(current))))
