"""A NIR file, which is HDF5 and may come from a stranger, as a graph of the package `nir`.

The package reads every group and every number that it finds. So it is looked first whether there is anything in the file that
leads elsewhere (a link to another file, numbers kept in another file, a group that contains itself) or that is too much.
"""

import math
from pathlib import Path
from typing import Any

from ratespike.exchange.packages import needed
from ratespike.parameters import ParameterError

_MOST_NUMBERS = 2**26  # in all, unpacked; words count as a number for each 8 bytes
_BYTES_OF_NUMBER = 8
_MOST_ITEMS = 100_000  # groups and arrays
_DEEPEST = 20  # groups within groups


def read_graph(path: Path) -> Any:
    """The graph of a file, a `nir.NIRGraph`; its shapes are not checked.

    Args:
        path: of the file.

    Raises:
        ParameterError: a package is missing; no such file, or one that is no NIR file, or has too much in it.
    """
    h5py = needed("h5py")
    nir = needed("nir")
    if not path.is_file():
        raise ParameterError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            _Check(h5py).group(file, 0)
        graph = nir.read(str(path), type_check=False)
    except ParameterError as error:
        raise ParameterError(f"{path}: {error}") from None
    except Exception as error:  # of HDF5 and of the package's constructors, on anything that a file may hold
        reason = " ".join(str(error).split())[:160]
        raise ParameterError(f"{path}: is no NIR file that can be read ({type(error).__name__}: {reason})") from None
    if not isinstance(graph, nir.NIRGraph):
        raise ParameterError(f"{path}: holds a {type(graph).__name__}, no graph")
    return graph


class _Check:
    """Walks through a file without reading its numbers; raises `ParameterError` for what should not be there."""

    def __init__(self, h5py: Any) -> None:
        self._h5py = h5py
        self._numbers = 0
        self._items = 0

    def group(self, group: Any, depth: int) -> None:
        """Check all that is in a group."""
        if depth > _DEEPEST:
            raise ParameterError(f"has groups more than {_DEEPEST} deep")
        for name in group:
            self._items += 1
            if self._items > _MOST_ITEMS:
                raise ParameterError(f"has more than {_MOST_ITEMS} groups and arrays")
            if not isinstance(group.get(name, getlink=True), self._h5py.HardLink):
                raise ParameterError(f"{str(name)[:60]} is a link to somewhere else")
            item = group[name]
            if isinstance(item, self._h5py.Group):
                self.group(item, depth + 1)
            elif isinstance(item, self._h5py.Dataset):
                self._array(str(name)[:60], item)

    def _array(self, name: str, array: Any) -> None:
        if array.is_virtual or array.external:
            raise ParameterError(f"the numbers of {name} are kept in another file")
        self._numbers += math.prod(array.shape or ()) * math.ceil(array.dtype.itemsize / _BYTES_OF_NUMBER)
        if self._numbers > _MOST_NUMBERS:
            raise ParameterError(f"holds more numbers than are read ({_MOST_NUMBERS} in all), with those of {name}")
