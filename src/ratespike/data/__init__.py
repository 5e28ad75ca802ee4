"""Data sets, one file each.

A new file in this folder is found by itself: `build` knows every class below `DataSet`.
"""

import importlib
import pkgutil

from ratespike.data.augmentation import Augmentation
from ratespike.data.base import Content, DataSet, Splits, UnsplitDataSet
from ratespike.data.cache import Cache
from ratespike.data.images import Images, Scaling
from ratespike.data.mnist import MNIST
from ratespike.data.recordings import Recordings

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "MNIST",
    "Augmentation",
    "Cache",
    "Content",
    "DataSet",
    "Images",
    "Recordings",
    "Scaling",
    "Splits",
    "UnsplitDataSet",
]
