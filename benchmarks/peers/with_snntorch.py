"""The network in snnTorch."""

import math

import snntorch
import torch
from layers import step_by_step
from worker import read_task, serve

decay = math.exp(-0.001 / 0.02)
neuron = snntorch.Leaky(beta=decay, threshold=1.0, reset_mechanism="zero", reset_delay=False)
serve(task := read_task(), step_by_step(task, 1 - decay, neuron, torch.rand_like))
