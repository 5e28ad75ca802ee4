"""Spiking neurons: one file a family; each class gives the neuron's rate and its step.

A new file in this folder is found by itself: `build` knows every class below `Neuron`.
"""

import importlib
import pkgutil

from ratespike.neurons.base import Neuron, State
from ratespike.neurons.lif import LIF, lif_rate, lif_step
from ratespike.neurons.rectified import SpikingRectifiedLinear

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["LIF", "Neuron", "SpikingRectifiedLinear", "State", "lif_rate", "lif_step"]
