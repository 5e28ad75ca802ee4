"""The causes that a diagnosis knows: one file each. A new file in this folder is found by itself.

A class below `Cause` says in `remedy` whether its evidence is there and what would mend it. That is then tried.
"""

import importlib
import pkgutil

from ratespike.diagnosis.causes.base import Cause, Evidence, Remedy

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["Cause", "Evidence", "Remedy"]
