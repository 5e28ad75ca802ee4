"""What the spikes of a layer add to a value that the forward computes: linear maps of a form that needs few weights.

A term maps a layer's spikes to a value in three stages:

1. *cells*: along each axis, the places of the layer that make up a row or column of a grid. A cell of several places is their
   sum; the factor of an average pooling is in `scale`. An empty cell is 0: so are padding and the gaps of a transposed
   convolution.
2. *convolution* of the grid, with weights; a dense layer's kernel covers the whole grid.
3. *places*: where in the value the convolution's outputs lie, after flattening, permuting, concatenating and the like.

A map that has no such form becomes a matrix, which is a convolution whose kernel covers the grid, if it is not too large.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ratespike.synapses import Synapse

Shape = tuple[int, int, int]  # channels, height, width
Pair = tuple[int, int]  # vertical, horizontal
Members = tuple[tuple[int, ...], ...]  # for each row or column of a grid: rows or columns of the layer

LARGEST_MATRIX = 2**24  # weights


class NoTermError(Exception):
    """A map that has no form for which there are terms; the message says which operation, in which module."""


class Map(NamedTuple):
    """How the neurons of a layer lie as channels, height and width.

    Attributes:
        shape: channels, height, width.
        places: of the shape of the layer's output, without batch: the number of each neuron, counted in `shape`.
    """

    shape: Shape
    places: Tensor

    @property
    def is_in_order(self) -> bool:
        """Whether neurons are counted in the order in which they lie."""
        return torch.equal(self.places.flatten(), torch.arange(self.places.numel()))

    def laid_out(self, values: Tensor) -> Tensor:
        """Values of a layer's output, shape (*more, ...), in the map: (*more, channels, height, width)."""
        if self.places.shape == self.shape and self.is_in_order:
            return values
        placed: Tensor = values.flatten(-self.places.dim())
        if not self.is_in_order:
            placed = torch.empty_like(placed)
            placed[..., self.places.flatten().to(values.device)] = values.flatten(-self.places.dim())
        in_map: Tensor = placed.unflatten(-1, self.shape)
        return in_map

    def as_called(self, values: Tensor) -> Tensor:
        """Values in the map, shape (*more, channels, height, width), as the forward has them: (*more, ...)."""
        values = values.flatten(-3)
        if not self.is_in_order:
            values = values[..., self.places.flatten().to(values.device)]
        called: Tensor = values.unflatten(-1, self.places.shape)
        return called


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution in float64.

    Attributes:
        weight: shape (out, in / groups, height, width).
        stride: of the kernel on the grid.
        padding: rows and columns of zeros around the grid.
        groups: of channels.
    """

    weight: Tensor
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    groups: int = 1

    def out_shape(self, grid: Shape) -> Shape:
        """Channels, height and width of the output for a grid of this shape."""
        channels, _, height, width = self.weight.shape
        rows = (grid[1] + 2 * self.padding[0] - height) // self.stride[0] + 1
        columns = (grid[2] + 2 * self.padding[1] - width) // self.stride[1] + 1
        return channels, rows, columns

    def without_groups(self) -> "Convolution":
        """The same with weights of 0 between groups."""
        if self.groups == 1:
            return self
        outputs, inputs, height, width = self.weight.shape
        whole = self.weight.new_zeros(outputs, inputs * self.groups, height, width)
        per_group = outputs // self.groups
        for group in range(self.groups):
            out = slice(group * per_group, (group + 1) * per_group)
            whole[out, group * inputs : (group + 1) * inputs] = self.weight[out]
        return replace(self, weight=whole, groups=1)

    def in_groups(self, groups: int) -> "Convolution | None":
        """The same in fewer groups, of a convolution of each channel by itself; None of another one."""
        channels, inputs, height, width = self.weight.shape
        if groups == self.groups:
            return self
        if self.groups != channels or inputs != 1 or channels % groups:
            return None
        per_group = channels // groups
        whole = self.weight.new_zeros(channels, per_group, height, width)
        whole[torch.arange(channels), torch.arange(channels) % per_group] = self.weight[:, 0]
        return replace(self, weight=whole, groups=groups)

    def plus(self, other: "Convolution", factor: float) -> "Convolution | None":
        """This one and `factor` times another as one with a kernel of this one's size; None if it does not fit into it."""
        inside = other.in_groups(self.groups)
        if inside is None or inside.stride != self.stride or inside.weight.shape[:2] != self.weight.shape[:2]:
            return None
        top, left = self.padding[0] - inside.padding[0], self.padding[1] - inside.padding[1]
        height, width = inside.weight.shape[2:]
        if min(top, left) < 0 or top + height > self.weight.shape[2] or left + width > self.weight.shape[3]:
            return None
        weight = self.weight.clone()
        weight[:, :, top : top + height, left : left + width] += factor * inside.weight
        return replace(self, weight=weight)

    def pooled(self, size: Pair, stride: Pair) -> "Convolution":
        """The convolution and sums over squares of its outputs as one convolution with a larger kernel."""
        outputs, inputs, height, width = self.weight.shape
        down, right = self.stride
        weight = self.weight.new_zeros(outputs, inputs, height + (size[0] - 1) * down, width + (size[1] - 1) * right)
        for y in range(size[0]):
            for x in range(size[1]):
                weight[:, :, y * down : y * down + height, x * right : x * right + width] += self.weight
        return replace(self, weight=weight, stride=(down * stride[0], right * stride[1]))


@dataclass(frozen=True, eq=False)
class Pool:
    """The spikes of a layer, pooled by their sums over time (see `ratespike.simulation.max_pooling`): a layer of its own.

    Attributes:
        source: number of the layer.
        map: of the windows.
        rows: of the source, in each row of windows; see `Members`.
        columns: of the source, in each column of windows.
    """

    source: int
    map: Map
    rows: Members
    columns: Members

    def largest(self, sums: Tensor) -> Tensor:
        """The largest sum in each window, from sums (*more, channels, height, width)."""
        return _largest(_largest(sums, self.rows, -2), self.columns, -1)


class _Axes(NamedTuple):
    """Places that are chosen along each axis by itself; -1 where nothing is."""

    channels: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Term:
    """A linear map from the spikes of one layer to a value, in float64.

    Attributes:
        source: number of the call of the neurons.
        synapse: the filter directly behind them.
        map: of the source.
        rows: of the grid, see `Members`.
        columns: of the grid.
        scale: a factor of everything.
        convolution: of the grid; None: the grid itself.
        places: of the shape of the value, without batch: which output of the convolution stands there, counted in its out
            shape; -1 for none.
    """

    source: int
    synapse: Synapse | None
    map: Map
    rows: Members
    columns: Members
    scale: float
    convolution: Convolution | None
    places: Tensor

    @classmethod
    def of_layer(cls, source: int, layer: Map, scale: float) -> "Term":
        """The output of a layer of neurons, each spike of which has the height `scale`."""
        _, height, width = layer.shape
        rows = tuple((y,) for y in range(height))
        columns = tuple((x,) for x in range(width))
        return cls(source, None, layer, rows, columns, scale, None, layer.places)

    @property
    def grid(self) -> Shape:
        """The grid's channels, height and width."""
        return self.map.shape[0], len(self.rows), len(self.columns)

    @property
    def out_shape(self) -> Shape:
        """Channels, height and width of what `places` count."""
        return self.grid if self.convolution is None else self.convolution.out_shape(self.grid)

    def applied(self, spikes: Tensor) -> Tensor:
        """The value for spikes in the source's map, shape (batch, channels, height, width), in their dtype."""
        signal = _summed(_summed(spikes, self.rows, 2), self.columns, 3)
        if self.convolution is not None:
            weight = self.convolution.weight.to(signal)
            signal = F.conv2d(
                signal, weight, None, self.convolution.stride, self.convolution.padding, 1, self.convolution.groups
            )
        signal = F.pad(signal.flatten(1), (0, 1))  # a zero at the end, for -1
        return signal[:, self.places.to(signal.device)] * self.scale

    def with_places(self, places: Tensor) -> "Term":
        """The same for a value that is chosen from this one."""
        return replace(self, places=places)

    def plus(self, other: "Term") -> "Term | None":
        """This term and another as one, if the other's weights fit into this one's kernel, as those of a way around it do."""
        same_source = self.source == other.source and self.synapse is other.synapse and self.map is other.map
        same_grid = self.rows == other.rows and self.columns == other.columns
        if not (same_source and same_grid) or self.out_shape != other.out_shape or not torch.equal(self.places, other.places):
            return None
        own = self.convolution or _identity(self.grid[0])
        convolution = own.plus(other.convolution or _identity(self.grid[0]), other.scale / self.scale)
        return None if convolution is None else replace(self, convolution=convolution)

    def times(self, factor: float) -> "Term":
        """The same, multiplied with a number."""
        return replace(self, scale=self.scale * factor)

    def times_each(self, factors: Tensor) -> "Term":
        """The same, multiplied with a number at each place of the value; a matrix if those of a channel are not equal."""
        channels = self.out_shape[0]
        place_channel = torch.where(self.places < 0, 0, self.places // (self.out_shape[1] * self.out_shape[2]))
        used = self.places.flatten() >= 0
        of_channel = torch.zeros(channels, dtype=torch.float64)
        of_channel[place_channel.flatten()[used]] = factors.flatten()[used]
        if not torch.equal(of_channel[place_channel.flatten()[used]], factors.flatten()[used]):
            matrix = self.as_matrix()
            assert matrix.convolution is not None
            weight = matrix.convolution.weight * factors.reshape(-1, 1, 1, 1)
            return replace(matrix, convolution=replace(matrix.convolution, weight=weight))
        convolution = self.convolution or _identity(channels)
        return replace(self, convolution=replace(convolution, weight=convolution.weight * of_channel.reshape(-1, 1, 1, 1)))

    def summed(self, size: Pair, stride: Pair, padding: Pair, shape: tuple[int, ...]) -> "Term":
        """Sums over squares of the value, whose last two axes are height and width; `shape` is that of the result."""
        axes = _along_axes(self._with_three_axes(), self.out_shape)
        if axes is not None and self.convolution is None:
            return self._from_cells(
                axes,
                _windows(axes.rows, size[0], stride[0], padding[0]),
                _windows(axes.columns, size[1], stride[1], padding[1]),
            )._checked(shape)
        if axes is not None and padding == (0, 0) and _is_whole(axes, self.out_shape):
            assert self.convolution is not None
            pooled = self.convolution.pooled(size, stride)
            channels = torch.tensor(axes.channels)
            return replace(self, convolution=pooled)._with_channels(channels)._checked(shape)
        raise NoTermError("a pooling")

    def pooled(self, windows: tuple[Members, Members]) -> tuple[Members, Members] | None:
        """The source's rows and columns in windows of the value; None if its channels are not those of the source."""
        axes = _along_axes(self._with_three_axes(), self.out_shape)
        if self.convolution is not None or axes is None or axes.channels != tuple(range(self.map.shape[0])):
            return None
        rows = _joined(_joined(self.rows, _singles(axes.rows)), windows[0])
        columns = _joined(_joined(self.columns, _singles(axes.columns)), windows[1])
        return rows, columns

    def convolved(self, convolution: Convolution, insert: Pair, border: Pair, more: Pair, shape: tuple[int, ...]) -> "Term":
        """The value, with empty rows and columns as a transposed convolution puts them in, convolved.

        Args:
            convolution: of the value.
            insert: empty rows and columns between two.
            border: empty rows and columns in front and behind, besides the padding; negative ones are cut off.
            more: empty rows and columns behind alone.
            shape: of the result.
        """
        axes = None if self.convolution is not None else _along_axes(self._with_three_axes(), self.out_shape)
        if axes is None:
            raise NoTermError("a convolution")
        rows = _spread(axes.rows, insert[0], border[0], more[0])
        columns = _spread(axes.columns, insert[1], border[1], more[1])
        channels = torch.tensor(axes.channels)
        if not torch.equal(channels, torch.arange(self.map.shape[0])):
            convolution = convolution.without_groups()
            weight = convolution.weight.new_zeros(len(convolution.weight), self.map.shape[0], *convolution.weight.shape[2:])
            weight.index_add_(1, channels[channels >= 0], convolution.weight[:, channels >= 0])
            convolution = replace(convolution, weight=weight)
        cells = self._from_cells(None, _singles(rows), _singles(columns))
        return replace(cells, convolution=convolution)._canonical()._checked(shape)

    def multiplied(self, matrix: Tensor) -> "Term":
        """A value of one axis, multiplied with a matrix (in, out)."""
        if self.convolution is not None:
            raise NoTermError("a matrix")
        used = self.places >= 0
        weight = matrix.new_zeros(matrix.shape[1], math.prod(self.grid))
        weight.index_add_(1, self.places[used], matrix.T[:, used])
        convolution = Convolution(weight.reshape(-1, *self.grid))
        return replace(self, convolution=convolution)._canonical()._checked((matrix.shape[1],))

    def multiplied_at_each_place(self, matrix: Tensor) -> "Term":
        """A value whose last axis are channels, multiplied with a matrix (in, out) at each place."""
        channels_first = self.places.movedim(-1, 0)
        shape = channels_first.shape
        if len(shape) > 3:
            raise NoTermError("a matrix at places of more than two axes")
        image = replace(self, places=channels_first.reshape(shape[0], *[1] * (3 - len(shape)), *shape[1:]))
        result = image.convolved(
            Convolution(matrix.T.reshape(matrix.shape[1], -1, 1, 1)),
            (0, 0),
            (0, 0),
            (0, 0),
            (matrix.shape[1], *image.places.shape[1:]),
        )
        return result.with_places(result.places.reshape(-1, *shape[1:]).movedim(0, -1))

    def matrix(self) -> Tensor:
        """The value for a spike of each neuron of the source, shape (neurons, ...).

        Raises:
            NoTermError: it would be too large.
        """
        neurons = math.prod(self.map.shape)
        if neurons * self.places.numel() > LARGEST_MATRIX:
            raise NoTermError(f"a matrix of {neurons} x {self.places.numel()} weights")
        return self.applied(torch.eye(neurons, dtype=torch.float64).reshape(-1, *self.map.shape))

    def as_matrix(self) -> "Term":
        """The same as a matrix; raises `NoTermError` if it would be too large."""
        return self.from_matrix(self.matrix())

    def from_matrix(self, values: Tensor) -> "Term":
        """A term that maps a spike of each neuron of the source to the value of that number, shape (neurons, ...)."""
        weight = values.flatten(1).T.reshape(-1, *self.map.shape).contiguous()
        whole = Term.of_layer(self.source, self.map, 1.0)
        places = torch.arange(len(weight)).reshape(values.shape[1:])
        return replace(whole, synapse=self.synapse, convolution=Convolution(weight), places=places)

    def in_map(self, target: Map) -> "Term":
        """The same with outputs in the order of a target's map; raises `NoTermError` if the convolution cannot do that."""
        if self.convolution is not None and self.out_shape == target.shape and torch.equal(self.places, target.places):
            return self._canonical()
        placed = torch.empty(math.prod(target.shape), dtype=torch.long)
        placed[target.places.flatten()] = self.places.flatten()
        axes = _along_axes(placed.reshape(target.shape), self.out_shape)
        if axes is None:
            raise NoTermError("an order of neurons")
        channels = torch.tensor(axes.channels)
        if self.convolution is None:
            cells = self._from_cells(None, _singles(axes.rows), _singles(axes.columns))
            return replace(cells, convolution=_identity(self.map.shape[0]))._with_channels(channels)
        if not _is_whole(axes, self.out_shape):
            raise NoTermError("an order of neurons")
        return self._with_channels(channels)

    def _with_three_axes(self) -> Tensor:
        """The places of a value of channels and up to two axes as channels, height and width."""
        shape = self.places.shape
        if not 2 <= len(shape) <= 3:
            raise NoTermError("a value without height and width, or with more axes")
        return self.places.reshape(shape[0], *[1] * (3 - len(shape)), *shape[1:])

    def _from_cells(self, axes: _Axes | None, rows: Members, columns: Members) -> "Term":
        """A grid whose cells are sums of this grid's cells; with `axes`, the value is the grid, with its chosen channels."""
        grid = replace(self, rows=_joined(self.rows, rows), columns=_joined(self.columns, columns))._canonical()
        if axes is None:
            return grid
        channels = torch.tensor(axes.channels)
        return grid.with_places(torch.where(channels.reshape(-1, 1, 1) < 0, -1, grid.places[channels.clamp(min=0)]))

    def _with_channels(self, channels: Tensor) -> "Term":
        """The convolution's outputs with other channels: those of these numbers, none for -1."""
        assert self.convolution is not None
        convolution = self.convolution
        if not torch.equal(channels, torch.arange(len(convolution.weight))):
            convolution = convolution.without_groups()
            weight = convolution.weight[channels.clamp(min=0)]
            weight = torch.where(channels.reshape(-1, 1, 1, 1) < 0, 0.0, weight)
            convolution = replace(convolution, weight=weight)
        return replace(self, convolution=convolution)._canonical()

    def _canonical(self) -> "Term":
        """The same with each output at its own place."""
        return replace(self, places=torch.arange(math.prod(self.out_shape)).reshape(self.out_shape))

    def _checked(self, shape: tuple[int, ...]) -> "Term":
        """The same for a value of this shape, which may lack axes of length 1."""
        return replace(self, places=self.places.reshape(shape))


def _identity(channels: int) -> Convolution:
    return Convolution(torch.ones(channels, 1, 1, 1, dtype=torch.float64), groups=channels)


def _along_axes(places: Tensor, shape: Shape) -> _Axes | None:
    """How `places`, of three axes, are chosen along the axes of `shape`; None if they are not."""
    if is_in_order(places, shape):
        return _Axes(tuple(range(shape[0])), tuple(range(shape[1])), tuple(range(shape[2])))
    chosen = (places >= 0).nonzero()
    if not len(chosen):
        return None
    c, y, x = chosen[0].tolist()
    _, height, width = shape
    channels = torch.where(places[:, y, x] < 0, -1, places[:, y, x] // (height * width))
    rows = torch.where(places[c, :, x] < 0, -1, places[c, :, x] // width % height)
    columns = torch.where(places[c, y, :] < 0, -1, places[c, y, :] % width)
    grid = (channels.reshape(-1, 1, 1) * height + rows.reshape(-1, 1)) * width + columns
    nothing = (channels.reshape(-1, 1, 1) < 0) | (rows.reshape(-1, 1) < 0) | (columns < 0)
    if not torch.equal(torch.where(nothing, -1, grid), places):
        return None
    return _Axes(tuple(channels.tolist()), tuple(rows.tolist()), tuple(columns.tolist()))


def added_up(terms: Sequence[Term]) -> tuple[Term, ...]:
    """The same sum of fewer terms: those that are one convolution together are one."""
    found: list[Term] = []
    for term in terms:
        for number, other in enumerate(found):
            both = other.plus(term) or term.plus(other)
            if both is not None:
                found[number] = both
                break
        else:
            found.append(term)
    return tuple(found)


def is_in_order(places: Tensor, shape: tuple[int, ...]) -> bool:
    """Whether places are those of `shape`, in their order."""
    return places.shape == torch.Size(shape) and torch.equal(places.flatten(), torch.arange(places.numel()))


def _is_whole(axes: _Axes, shape: Shape) -> bool:
    """Whether all rows and columns are chosen, in their order."""
    return axes.rows == tuple(range(shape[1])) and axes.columns == tuple(range(shape[2]))


def _singles(chosen: Sequence[int]) -> Members:
    return tuple((i,) if i >= 0 else () for i in chosen)


def _windows(chosen: Sequence[int], size: int, stride: int, padding: int) -> Members:
    """The members of windows along an axis; what hangs over is left out."""
    singles = _singles(chosen)
    windows: list[tuple[int, ...]] = []
    for start in range(-padding, len(singles) + padding - size + 1, stride):
        windows.append(tuple(chain.from_iterable(singles[max(0, start) : max(0, start + size)])))
    return tuple(windows)


def _joined(inner: Members, outer: Members) -> Members:
    """Cells of cells."""
    return tuple(tuple(chain.from_iterable(inner[i] for i in cell)) for cell in outer)


def _spread(chosen: Sequence[int], insert: int, border: int, more: int) -> list[int]:
    """With `insert` empty entries between two, `border` at both ends (cut off there if negative), `more` at the end alone."""
    spread: list[int] = []
    for number, place in enumerate(chosen):
        spread += ([-1] * insert if number else []) + [place]
    behind = border + more
    spread = [-1] * border + spread[max(0, -border) :] + [-1] * behind
    return spread[: len(spread) + min(0, behind)]


def _largest(values: Tensor, members: Members, axis: int) -> Tensor:
    """The largest value of rows or columns; 0 where there are none."""
    largest: list[Tensor] = []
    for places in members:
        if places:
            largest.append(values.index_select(axis, torch.tensor(places, device=values.device)).amax(axis))
        else:
            largest.append(torch.zeros_like(values.select(axis, 0)))
    return torch.stack(largest, axis)


def _summed(signal: Tensor, members: Members, axis: int) -> Tensor:
    """Sums of rows or columns."""
    if members == tuple((i,) for i in range(signal.shape[axis])):
        return signal
    counts = signal.new_zeros(len(members), signal.shape[axis])
    for cell, places in enumerate(members):
        for place in places:
            counts[cell, place] += 1
    return torch.movedim(torch.movedim(signal, axis, -1) @ counts.T, -1, axis)
