"""What can be done to a trained network before it runs on spikes: one file and one paper a method.

A new file in this folder is found by itself: `build` knows every class below `Conversion`.
"""

import importlib
import pkgutil

from ratespike.conversion.methods.as_trained import AsTrained
from ratespike.conversion.methods.balanced import Balanced
from ratespike.conversion.methods.base import Conversion
from ratespike.conversion.methods.calibrated import Calibrated
from ratespike.conversion.methods.residual_potential import ResidualPotential
from ratespike.conversion.methods.signed_spikes import SignedSpikes

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["AsTrained", "Balanced", "Calibrated", "Conversion", "ResidualPotential", "SignedSpikes"]
