"""Spiking neurons: one file a family; each class gives the neuron's rate and its step.

A new file in this folder is found by itself: `build` knows every class below `Neuron`.
"""

import importlib
import pkgutil

from ratespike.neurons.adaptive_lif import AdaptiveLIF, adaptive_lif_rate
from ratespike.neurons.base import Neuron, State, TunedNeuron
from ratespike.neurons.from_rates import (
    PoissonSpiking,
    RegularSpiking,
    StochasticSpiking,
    poisson_quantile,
    stochastic_count,
)
from ratespike.neurons.integrate_and_fire import IntegrateAndFire
from ratespike.neurons.lif import LIF, lif_steady_state, lif_step
from ratespike.neurons.lif_rates import lif_current, lif_rate, lif_rate_in_steps, lif_slope
from ratespike.neurons.rectified import SpikingLeakyReLU, SpikingRectifiedLinear
from ratespike.neurons.sigmoid import Sigmoid
from ratespike.neurons.spike_noise import filtered_spikes
from ratespike.neurons.staircase import StaircaseIntegrateAndFire
from ratespike.neurons.window_count import WindowCountLIF, lif_count

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "LIF",
    "AdaptiveLIF",
    "IntegrateAndFire",
    "Neuron",
    "PoissonSpiking",
    "RegularSpiking",
    "Sigmoid",
    "SpikingLeakyReLU",
    "SpikingRectifiedLinear",
    "StaircaseIntegrateAndFire",
    "State",
    "StochasticSpiking",
    "TunedNeuron",
    "WindowCountLIF",
    "adaptive_lif_rate",
    "filtered_spikes",
    "lif_count",
    "lif_current",
    "lif_rate",
    "lif_rate_in_steps",
    "lif_slope",
    "lif_steady_state",
    "lif_step",
    "poisson_quantile",
    "stochastic_count",
]
