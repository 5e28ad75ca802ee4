"""Numbers in a file, as a tensor whose pages the system reads when they are used: a set of images may be larger than memory."""

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor


class Mapped:
    """A part of a file as a tensor, which is opened anew in each process instead of being copied to it.

    Nothing may write into the tensor.

    Args:
        path: of the file.
        dtype: of its numbers.
        shape: of the tensor, as it lies in the file.
        offset: where in the file it begins, bytes.
        axes: the order of the axes of `tensor`; None for that of the file.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "numbers"
        >>> _ = path.write_bytes(bytes([9, 1, 2, 3, 4]))
        >>> Mapped(path, np.dtype(np.uint8), (2, 2), offset=1).tensor
        tensor([[1, 2],
                [3, 4]], dtype=torch.uint8)
    """

    def __init__(
        self,
        path: Path,
        dtype: "np.dtype[np.generic]",
        shape: tuple[int, ...],
        offset: int = 0,
        axes: tuple[int, ...] | None = None,
    ):
        self._arguments = (path, dtype, shape, offset, axes)
        values = np.memmap(path, dtype, "r", offset, shape)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            tensor = torch.from_numpy(values)
        self.tensor: Tensor = tensor if axes is None else tensor.permute(axes)

    def __reduce__(self) -> tuple[type["Mapped"], tuple[object, ...]]:
        return Mapped, self._arguments

    def permuted(self, *axes: int) -> "Mapped":
        """The same numbers with the axes in another order."""
        path, dtype, shape, offset, before = self._arguments
        before = before or tuple(range(len(shape)))
        return Mapped(path, dtype, shape, offset, tuple(before[axis] for axis in axes))

    def with_axis(self, place: int) -> "Mapped":
        """The same numbers with one more axis, of size 1, at a place."""
        path, dtype, shape, offset, axes = self._arguments
        axes = axes or tuple(range(len(shape)))
        return Mapped(path, dtype, (*shape, 1), offset, (*axes[:place], len(shape), *axes[place:]))

    @classmethod
    def of_array_file(cls, path: Path) -> "Mapped":
        """The array in a file of the format `.npy`."""
        with path.open("rb") as file:
            return cls.of_array(path, read_array_header(file), file.tell())

    @classmethod
    def of_array(cls, path: Path, header: "ArrayHeader", offset: int) -> "Mapped":
        """The array that has this header, and whose numbers begin at a place in a file."""
        if not header.is_fortran:
            return cls(path, header.dtype, header.shape, offset)
        reverse = tuple(reversed(range(len(header.shape))))
        return cls(path, header.dtype, header.shape[::-1], offset, reverse)


@dataclass(frozen=True)
class ArrayHeader:
    """The header of a file of the format `.npy`: shape, type, and whether the first index changes fastest."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: "np.dtype[np.generic]"

    @property
    def size(self) -> int:
        """How many bytes the numbers take."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_array_header(file: IO[bytes]) -> ArrayHeader:
    """Read the header of the format `.npy`; raises `ValueError` for another format.

    Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
    """
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the format is not read")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return ArrayHeader(*read(file))
