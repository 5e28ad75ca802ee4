"""Recordings of an event camera in an `.npz` file: the input itself is spikes."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ratespike.data.base import Content
from ratespike.data.cache import Cache
from ratespike.data.mapped import Mapped
from ratespike.data.npz import Arrays, NPZFile, labels_and_names, npz_file, read_arrays
from ratespike.data.recordings import EventArrays, Recordings
from ratespike.parameters import ParameterError, parameter

_MOST_PIXELS = 2**24  # of a camera; those that there are have a million


@dataclass(frozen=True, kw_only=True)
class Events(NPZFile):
    """Recordings of an event camera in the arrays of one `.npz` file.

    `dir` is the file, or a folder with one such file. Its arrays, all events of a recording behind each other:

    - `t`: (events,), when each event happened, seconds from the beginning of its recording, in any order.
    - `x`, `y`: (events,), its column and its row, from 0.
    - `polarity`, optional: (events,), 0 or 1, which becomes the channel; else there is one channel.
    - `begin`: (recordings + 1,): recording i holds the events `begin[i]` to `begin[i + 1] - 1`, as in SciPy's `indptr` of
      sparse rows; `numpy.cumsum([0, *counts])` of the numbers of events.
    - `labels`: (recordings,), class numbers from 0, or names of classes.
    - `split`, optional: (recordings,), `train` or `test` for each; else some of each class are drawn for tests.
    - `class_names`, optional: the name of each class number.

    On spikes a network sees the events of each step, on rates the event rate of each pixel (see `Recordings`).

    Attributes:
        height: rows of the camera; null for the largest `y` + 1.
        width: columns of the camera; null for the largest `x` + 1.
        max_rate: the event rate of a pixel that is an input of 1, Hz.

    Raises:
        ParameterError: a parameter out of range.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> events = np.arange(300)
        >>> arrays = {"t": events % 3 / 100, "x": events % 5, "y": events % 4, "begin": np.arange(0, 301, 3)}
        >>> np.savez(folder / "some.npz", **arrays, labels=np.arange(100) % 2)
        >>> splits = Events(dir=str(folder / "some.npz")).load(folder).shown_for(n_steps=20, dt=0.001)
        >>> splits.image_shape, splits.classes, len(splits.train), len(splits.validation), len(splits.test)
        ((1, 4, 5), 2, 72, 8, 20)
        >>> splits.test[:7].over_time().shape
        torch.Size([20, 7, 1, 4, 5])
    """

    height: int | None = parameter(None, at_least=1)
    width: int | None = parameter(None, at_least=1)
    max_rate: float = parameter(100.0, above=0, unit="Hz")

    changes_over_time: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("mean", "std"):
            if getattr(self, name) is not None:
                raise ParameterError(f"{name}={list(getattr(self, name))}: must be null: events are scaled by max_rate alone")

    def read(self, folder: Path, cache: Cache) -> Content:
        path = npz_file(folder)
        arrays = read_arrays(path, cache, ("t", "x", "y", "begin", "labels"), ("polarity", "split", "class_names"))
        try:
            events = self._events(arrays)
        except ParameterError as error:
            raise ParameterError(f"{path.name}: {error}") from None
        labels, class_names = labels_and_names(arrays, path)
        n_recordings = len(events.begin) - 1
        if len(labels) != n_recordings:
            raise ParameterError(f"{path.name}: holds {len(labels)} labels for {n_recordings} recordings")
        rows = torch.arange(n_recordings, dtype=torch.int32)
        return self.divided(Recordings(events, labels, rows, self.max_rate), arrays, class_names, path)

    def _events(self, arrays: Arrays) -> EventArrays:
        """The arrays of all events, checked."""
        t, x, y = (_numbers(arrays, name) for name in ("t", "x", "y"))
        polarity = _numbers(arrays, "polarity") if "polarity" in arrays else None
        n_events = len(t.tensor)
        if not n_events:
            raise ParameterError("holds no events")
        for name, values in (("x", x), ("y", y), ("polarity", polarity)):
            if values is not None and len(values.tensor) != n_events:
                raise ParameterError(f"holds {len(values.tensor)} values of {name} for {n_events} values of t")
        if polarity is not None:
            _check_whole(polarity, "polarity", 2)
        height, width = _check_whole(y, "y", self.height), _check_whole(x, "x", self.width)
        if height * width > _MOST_PIXELS:
            raise ParameterError(
                f"its events are those of a camera of {height:,} x {width:,} pixels, which take too much memory; give "
                "data.height= and data.width= of the camera, or are x and y no columns and rows?"
            )
        return EventArrays(
            t=t,
            x=x,
            y=y,
            polarity=polarity,
            begin=_begin(_numbers(arrays, "begin"), n_events),
            shape=(1 if polarity is None else 2, height, width),
            earliest=_earliest(t),
        )


def _numbers(arrays: Arrays, name: str) -> Mapped:
    """An array of one axis; raises `ParameterError` for another one, or for words."""
    array = arrays[name]
    if isinstance(array, np.ndarray) or array.tensor.dim() != 1:
        kind = array.dtype if isinstance(array, np.ndarray) else f"of the shape {tuple(array.tensor.shape)}"
        raise ParameterError(f"{name} is {kind}; must be numbers of the shape (count,)")
    return array


def _check_whole(array: Mapped, name: str, end: int | None) -> int:
    """How many values there may be, from 0: `end`, or one more than the largest; raises `ParameterError` for others."""
    values = array.tensor.numpy()
    if values.dtype.kind not in "iub":
        raise ParameterError(f"{name} is {values.dtype}; must be whole numbers")
    lowest, highest = int(values.min()), int(values.max())
    end = highest + 1 if end is None else end
    if not 0 <= lowest <= highest < end:
        raise ParameterError(f"{name} is from {lowest} to {highest}; must be from 0 to {max(0, end - 1)}")
    return end


def _earliest(t: Mapped) -> float:
    """The time of the first event of all; raises `ParameterError` if the times cannot be such."""
    values = t.tensor.numpy()
    if values.dtype.kind != "f":
        raise ParameterError(f"t is {values.dtype}; must be seconds, as floating-point numbers")
    earliest, latest = float(values.min()), float(values.max())  # NaN if one is
    if not 0 <= earliest <= latest < np.inf:
        raise ParameterError(f"t is from {earliest:g} to {latest:g}; must be finite and at least 0 (s)")
    return earliest


def _begin(array: Mapped, n_events: int) -> Tensor:
    """Where the events of each recording begin, and the end; raises `ParameterError` if they do not follow each other."""
    values = array.tensor.numpy()
    if values.dtype.kind not in "iu" or len(values) < 2:
        raise ParameterError(
            f"begin is {len(values)} values of {values.dtype}; must be whole numbers, one more than recordings"
        )
    begin = values.astype(np.int64)
    if begin[0] != 0 or begin[-1] != n_events:
        raise ParameterError(f"begin is from {begin[0]} to {begin[-1]}; must be from 0 to the number of events, {n_events}")
    falls = np.flatnonzero(np.diff(begin) < 0)
    if len(falls):
        raise ParameterError(f"begin falls behind recording {falls[0]}, from {begin[falls[0]]} to {begin[falls[0] + 1]}")
    return torch.from_numpy(begin)
