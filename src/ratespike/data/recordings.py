"""Recordings of an event camera: images whose input is spikes, each with a place and a moment."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ratespike.data.images import Images, Rows, Scaling
from ratespike.data.mapped import Mapped
from ratespike.parameters import ParameterError


@dataclass(frozen=True)
class EventArrays:
    """The events of many recordings as they lie in a file, those of a recording behind each other, in any order of time.

    Attributes:
        t: when each event happened, seconds from the beginning of its recording, shape (events,).
        x: its column, shape (events,).
        y: its row, shape (events,).
        polarity: its channel, 0 or 1, shape (events,); None: all have channel 0.
        begin: recording i holds the events `begin[i]` to `begin[i + 1] - 1`, shape (recordings + 1,).
        shape: channels, height and width.
        earliest: the time of the first event of all, seconds.
    """

    t: Mapped
    x: Mapped
    y: Mapped
    polarity: Mapped | None
    begin: Int[Tensor, " bounds"]
    shape: tuple[int, int, int]
    earliest: float

    def of(self, recordings: Int[Tensor, " batch"]) -> "ChosenEvents":
        """The events of some recordings, read from the file."""
        first = self.begin[recordings]
        counts = self.begin[recordings.long() + 1] - first
        row = torch.arange(len(counts)).repeat_interleave(counts)
        begin_of_row = counts.cumsum(0) - counts  # among the chosen events
        chosen = (torch.arange(len(row)) + (first - begin_of_row)[row]).numpy()
        _, height, width = self.shape
        place = _read(self.y, chosen) * width + _read(self.x, chosen)
        if self.polarity is not None:
            place += _read(self.polarity, chosen) * (height * width)
        return ChosenEvents(row.numpy(), place, self.t.tensor.numpy()[chosen].astype(np.float64))


@dataclass(frozen=True)
class ChosenEvents:
    """The events of some recordings.

    Attributes:
        row: which of these recordings each is in, shape (events,).
        place: where in an image (channels, height, width) it is, shape (events,).
        t: when, seconds, shape (events,).
    """

    row: "np.ndarray"
    place: "np.ndarray"
    t: "np.ndarray"


class Recordings(Images):
    """Images that change: what a network sees is events, each of them a spike of the height 1 / (max_rate * dt).

    The neurons' own spikes have that height. So the mean over all steps is the event rate of a pixel divided by `max_rate`, and
    does not depend on `dt`; on rates a network sees this mean. Events at `n_steps * dt` and later are not used.

    Args:
        events: of all recordings in a file.
        labels: class numbers, shape (recordings,).
        rows: which of the file's the recordings are, shape (recordings,).
        max_rate: the event rate of a pixel that is an input of 1, Hz.
        n_steps: how many steps a network sees.
        dt: length of a step, seconds.

    Attributes:
        labels: class numbers, shape (recordings,).
    """

    def __init__(
        self,
        events: EventArrays,
        labels: Int[Tensor, " recordings"],
        rows: Int[Tensor, " recordings"],
        max_rate: float,
        n_steps: int = 30,
        dt: float = 0.001,
    ):
        self.labels = labels
        self.scaling = Scaling(white=max_rate * n_steps * dt)
        self._events = events
        self._chosen = rows
        self._max_rate = max_rate
        self._n_steps = n_steps
        self._dt = dt

    def __getitem__(self, chosen: Rows) -> "Recordings":
        return self._like(self.labels[chosen], self._chosen[chosen], self._n_steps, self._dt)

    def shown_for(self, n_steps: int, dt: float) -> "Recordings":
        if self._events.earliest >= n_steps * dt:
            raise ParameterError(
                f"n_steps={n_steps} dt={dt}: the first event comes after {self._events.earliest:g} s, when no step is left; "
                "are the times in seconds, from the beginning of each recording?"
            )
        return self._like(self.labels, self._chosen, n_steps, dt)

    def scaled(self, scaling: Scaling) -> "Recordings":
        return self  # `Events` refuses a mean and a standard deviation

    @property
    def pixels(self) -> Float[Tensor, "recordings channels height width"]:
        """How many events each pixel has in all steps together."""
        return self._counted(in_each_step=False)[0]

    @property
    def value_range(self) -> tuple[float, float]:
        return 0.0, math.inf  # a pixel may have any number of events

    @property
    def shape(self) -> tuple[int, int, int]:
        return self._events.shape

    @property
    def event_height(self) -> float:
        return 1 / (self._max_rate * self._dt)

    def over_time(self) -> Float[Tensor, "time recordings channels height width"]:
        return self._counted(in_each_step=True).mul_(self.event_height)

    def _like(self, labels: Tensor, rows: Tensor, n_steps: int, dt: float) -> "Recordings":
        return Recordings(self._events, labels, rows, self._max_rate, n_steps, dt)

    def _counted(self, in_each_step: bool) -> Float[Tensor, "time recordings channels height width"]:
        """The number of events at each place, in each step or in all of them together."""
        events = self._events.of(self._chosen)
        step = np.floor(events.t / self._dt)
        used = step < self._n_steps
        time = self._n_steps if in_each_step else 1
        channels, height, width = self.shape
        image = events.row[used]
        if in_each_step:
            image = step[used].astype(np.int64) * len(self) + image
        place = torch.from_numpy(image * (channels * height * width) + events.place[used])
        counts = torch.zeros(time * len(self) * channels * height * width).index_add_(0, place, torch.ones(len(place)))
        return counts.reshape(time, len(self), channels, height, width)


def _read(array: Mapped, chosen: "np.ndarray") -> "np.ndarray":
    values: np.ndarray = array.tensor.numpy()[chosen]
    return values.astype(np.int64)  # NumPy adds a uint64 and an int64 as floating-point numbers
