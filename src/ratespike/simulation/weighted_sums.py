"""What arrives at each layer of neurons, as weighted sums of the spikes of other layers, if that is what the forward computes.

    signal = sum over sources of term(spikes of the source) + what arrives when no neuron spikes

The second part depends on the image and on biases alone; the forward itself computes it, with silent neurons.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ratespike.neurons import Neuron
from ratespike.simulation.replay import CHOICES, VIEWS, apply_to
from ratespike.simulation.terms import Convolution, Map, Members, NoTermError, Pair, Pool, Term, added_up, is_in_order
from ratespike.simulation.tracing import IMAGES, Call, Operation, Trace, Value
from ratespike.synapses import Synapse

_aten = torch.ops.aten

# Linear operations that have no form of their own among terms: they are applied to matrices.
_OTHER_LINEAR = {
    _aten.avg_pool3d,
    _aten._adaptive_avg_pool3d,
    _aten.upsample_bilinear2d,
    _aten.upsample_bicubic2d,
    _aten.upsample_linear1d,
    _aten.upsample_trilinear3d,
    _aten.cumsum,
    _aten.tril,
    _aten.triu,
}
_MAX_POOLINGS = {_aten.max_pool2d_with_indices, _aten.adaptive_max_pool2d}
# Exceptions of an operation that is used in a way that the rules below do not know: then they are not followed.
_UNFORESEEN = (ArithmeticError, AssertionError, IndexError, RuntimeError, TypeError, ValueError)
_IDENTITIES = {_aten._to_copy, _aten.lift_fresh, _aten.lift_fresh_copy}


@dataclass(frozen=True)
class Target:
    """What gets weighted sums: a layer of neurons, or the network's output.

    Attributes:
        map: how its neurons, or the output's values, lie.
        terms: their sources are numbers of layers; places are those of the map.
        of_image: whether more arrives that depends on the image.
        image_term: from the image's values, if that is all that arrives besides biases.
    """

    map: Map
    terms: tuple[Term, ...]
    of_image: bool
    image_term: Term | None


@dataclass(frozen=True)
class WeightedSums:
    """A network between whose neurons there are weighted sums alone.

    Attributes:
        layers: the layers of neurons, in the order of their calls.
        output: of the network.
        pools: max poolings of spikes, whose numbers as sources follow those of the layers.
    """

    layers: list[Target]
    output: Target
    pools: list[Pool]


def weighted_sums(found: Trace, dt: float) -> WeightedSums:
    """What arrives at each layer of neurons, and at the output.

    Args:
        found: the network.
        dt: the step, seconds: a spike has the height `neuron.scale / dt`.

    Raises:
        NoTermError: something else than a weighted sum; the message names the operation and the module.
    """
    for shape in (*[call.shape for call in found.calls], found.output.shape[1:]):
        if not shape or not shape.numel():
            raise NoTermError("a layer without neurons or axes")
    if found.overwritten is not None:
        raise NoTermError(f"{found.overwritten}, which overwrites a part of a value")
    try:
        return _Search(found, dt, _Search(found, dt).from_images()).result()
    except _UNFORESEEN as error:
        raise NoTermError(f"the network ({type(error).__name__}: {error})") from None


class _Search:
    """The terms of all values that a trace needs, found when they are asked for.

    Args:
        found: the trace.
        dt: the step, seconds.
        image_terms: the terms from the image, which another search has found; None: this one is to find them.
    """

    def __init__(self, found: Trace, dt: float, image_terms: Mapping[Value, tuple[Term, ...]] | None = None) -> None:
        self._found = found
        self._dt = dt
        self._numbers = {call.output: number for number, call in enumerate(found.neurons)}
        self._operations: dict[Value, Operation] = {}
        for operation in found.operations:
            for value in operation.results:
                if value is not None:
                    self._operations[value] = operation
        self._terms: dict[Value, tuple[Term, ...]] = {}
        self._image_terms = image_terms or {}
        self._known = frozenset() if image_terms is None else frozenset([IMAGES])  # what needs no terms, for it is no spikes
        self._layers: list[Target] = []
        self._pools: list[Pool] = []

    def result(self) -> WeightedSums:
        for operation_or_call in self._in_order():
            if isinstance(operation_or_call, Operation):
                self._follow(operation_or_call)
            elif isinstance(operation_or_call.module, Neuron):
                self._layers.append(self._target(operation_or_call.signal))
                self._begin(operation_or_call)
            else:
                self._filter(operation_or_call)
        return WeightedSums(self._layers, self._target(self._found.output), self._pools)

    def _in_order(self) -> list[Operation | Call]:
        """Operations and calls in an order in which each comes behind what it needs."""
        ordered: list[Operation | Call] = []
        calls = iter(self._found.calls)
        begun = -1  # number of the last call
        for operation in self._found.operations:
            needed = max((max(value.depends_on, default=IMAGES) for value in operation.inputs), default=IMAGES)
            while begun < needed:
                call = next(calls)
                ordered.append(call)
                begun = call.number
            ordered.append(operation)
        return [*ordered, *calls]

    def from_images(self) -> dict[Value, tuple[Term, ...]]:
        """The terms from the image to values that depend on nothing else."""
        images = self._found.images
        self._terms[images] = (Term.of_layer(IMAGES, _natural_map(images.shape[1:]), 1.0),)
        for operation in self._found.operations:
            if all(value.depends_on == {IMAGES} for value in operation.inputs):
                with suppress(NoTermError):
                    self._follow(operation)
        return self._terms

    def terms(self, value: Value) -> tuple[Term, ...]:
        """The terms of a value; none if it does not depend on spikes, or on the image where its terms are searched for."""
        if value not in self._terms and value.depends_on - self._known:
            raise NoTermError("a value that comes from no operation")
        return self._terms.get(value, ())

    def _begin(self, call: Call) -> None:
        number = self._numbers[call.output]
        assert isinstance(call.module, Neuron)
        layer = self._layers[number].map
        self._terms[call.output] = (Term.of_layer(number, layer, call.module.scale / self._dt),)

    def _filter(self, call: Call) -> None:
        """A filter directly behind neurons."""
        terms = self.terms(call.signal)
        if not self._is_spikes(call.signal) or len(terms) != 1 or terms[0].synapse is not None:
            raise NoTermError(f"{call.name}, a filter that is not directly behind neurons")
        assert isinstance(call.module, Synapse)
        self._terms[call.output] = (replace(terms[0], synapse=call.module),)

    def _is_spikes(self, value: Value) -> bool:
        """Whether a value is the output of one layer of neurons and zeros, perhaps in other places, max-pooled or scaled."""
        while value in self._operations:
            operation = self._operations[value]
            packet = operation.function.overloadpacket
            passes = packet in CHOICES | _IDENTITIES | _MAX_POOLINGS or _is_scaling(operation)
            if (
                not passes
                or packet in (_aten.cat, _aten.stack)
                or (packet is _aten.constant_pad_nd and any(operation.args[2:]))
            ):
                return False
            value = operation.inputs[0]
        return value in self._numbers

    def max_pooled(self, operation: Operation) -> list[tuple[Term, ...]]:
        """A max pooling of the spikes of one layer."""
        value = operation.inputs[0]
        terms = self.terms(value)
        shape = self._shape(operation.results[0])
        if not self._is_spikes(value) or len(terms) != 1 or terms[0].synapse is not None or len(shape) != 3:
            raise _NotLinearError(operation)
        before = self._shape(value)
        windows = (_windows_of(operation, before, shape, 0), _windows_of(operation, before, shape, 1))
        members = terms[0].pooled(windows)
        if members is None:
            raise _NotLinearError(operation)
        pool = Pool(terms[0].source, _natural_map(torch.Size(shape)), *members)
        self._pools.append(pool)
        number = len(self._found.neurons) + len(self._pools) - 1
        return [(Term.of_layer(number, pool.map, terms[0].scale),)]

    def _target(self, value: Value) -> Target:
        """What arrives where the forward hands `value` to neurons or returns it."""
        terms = self.terms(value)
        of_image = IMAGES in value.depends_on
        for layer in self._possible_maps(value, terms):
            try:
                in_map = added_up([term.in_map(layer) for term in terms])
                return Target(layer, in_map, of_image, self._image_term(value, layer))
            except NoTermError:
                continue
        flat = _map_in_order((value.shape[1:].numel(), 1, 1), value.shape[1:])
        return Target(flat, tuple(term.as_matrix().in_map(flat) for term in terms), of_image, None)

    def _image_term(self, value: Value, layer: Map) -> Term | None:
        """The term from the image to a layer to which nothing else leads."""
        terms = self._image_terms.get(value, ())
        if len(terms) != 1 or terms[0].convolution is None:
            return None
        try:
            return terms[0].in_map(layer)
        except NoTermError:
            return None

    def _possible_maps(self, value: Value, terms: tuple[Term, ...]) -> list[Map]:
        """Maps in which the value may lie, the best first."""
        shape = value.shape[1:]
        maps: list[Map] = []
        for term in (*terms, *self._image_terms.get(value, ())):
            if is_in_order(term.places.flatten(), (math.prod(term.out_shape),)) or _is_permutation(term):
                maps.append(Map(term.out_shape, term.places))
        maps.sort(key=lambda layer: layer.shape[0] == shape.numel())  # a matrix last
        if self._has_channels_last(value):
            places = torch.arange(shape.numel()).reshape(shape[-1], -1).movedim(0, -1).reshape(shape)
            maps.append(Map((shape[-1], shape[:-2].numel(), shape[-2]), places))
        maps.append(_natural_map(shape))
        return maps

    def _has_channels_last(self, value: Value) -> bool:
        """Whether a value with places comes from a matrix that was applied at each place."""
        while value in self._operations:
            packet = self._operations[value].function.overloadpacket
            if packet in (_aten.addmm, _aten.mm):
                return value.shape[0] != self._found.images.shape[0]
            if packet not in CHOICES:
                return False
            value = self._operations[value].inputs[0]
        return False

    def _follow(self, operation: Operation) -> None:
        """Find the terms of what an operation returns."""
        if not any(self.terms(value) for value in operation.inputs):
            self._terms.update({value: () for value in operation.results if value is not None})
            return
        follow = _FOLLOWING.get(operation.function.overloadpacket)
        try:
            if follow is None:
                raise NoTermError(operation.name)
            try:
                found = follow(self, operation)
            except NoTermError:
                found = self._as_matrices(operation)
        except _UNFORESEEN:
            raise NoTermError(f"{operation.name} in {operation.module or 'the network'}") from None
        except (NoTermError, _NotLinearError) as error:
            raise NoTermError(f"{error} in {operation.module or 'the network'}") from None
        for value, terms in zip(operation.results, found, strict=False):
            if value is not None:
                self._terms[value] = terms

    def _as_matrices(self, operation: Operation) -> list[tuple[Term, ...]]:
        """A linear operation, one for which there is no form, applied to matrices."""
        by_result: list[list[Term]] = [[] for _ in operation.results]
        linear = _without_bias(operation)
        for value in operation.inputs:
            for term in self.terms(value):
                rows = self._with_rows(value, term.matrix())
                try:
                    results = _tensors(apply_to(linear, self._only(value, rows)))
                except RuntimeError:  # it treats the rows of a batch in another way
                    raise _NotLinearError(operation) from None
                self._check_keeps_rows(linear, value, rows[: len(self._with_rows(value, term.places[None]))])
                for number, result in enumerate(results):
                    separate = result.reshape(-1, *self._shape(operation.results[number]))
                    by_result[number].append(term.from_matrix(separate))
        return [tuple(terms) for terms in by_result]

    def _only(self, value: Value, rows: Tensor) -> Callable[[Value], Tensor]:
        """For `apply_to`: these rows for a value, zeros for the other values."""

        def of(other: Value) -> Tensor:
            if other is value:
                return rows
            return rows.new_zeros(len(rows) * other.shape[0] // value.shape[0], *other.shape[1:])

        return of

    def _check_keeps_rows(self, operation: Operation, value: Value, row: Tensor) -> None:
        """Raise unless an operation treats each row of a batch alike and by itself: tried with zeros between two equal rows."""
        result = operation.results[0]
        if operation.function.overloadpacket in VIEWS and result is not None and result.shape[0] == value.shape[0]:
            return  # the rows stay apart
        alone = _tensors(apply_to(operation, self._only(value, row)))
        rows = torch.cat([row, torch.zeros_like(row), row])
        together = _tensors(apply_to(operation, self._only(value, rows)))
        for one, three in zip(alone, together, strict=True):
            if len(three) != 3 * len(one):
                raise _NotLinearError(operation)
            first, between, last = three.chunk(3)
            if not torch.equal(first, one) or not torch.equal(last, one) or bool(between.any()):
                raise _NotLinearError(operation)

    def _with_rows(self, value: Value, rows: Tensor) -> Tensor:
        """Rows of a value, shape (rows, ...), as the forward has them: it may have merged the rows with an axis of places."""
        return rows.reshape(-1, *value.shape[1:])

    def _shape(self, value: Value | None) -> tuple[int, ...]:
        """The shape of one row of a value."""
        assert value is not None
        merged = value.shape[0] // self._found.images.shape[0]
        return tuple(value.shape[1:]) if merged == 1 else (merged, *value.shape[1:])

    def chosen(self, operation: Operation) -> list[tuple[Term, ...]]:
        """An operation that puts places elsewhere."""
        by_result: list[list[Term]] = [[] for _ in operation.results]
        for value in operation.inputs:
            for term in self.terms(value):
                numbered = self._with_rows(value, (term.places[None] + 1).double())  # 0 is none, as padding makes it
                results = _tensors(apply_to(operation, self._only(value, numbered)))
                self._check_keeps_rows(operation, value, numbered)
                for number, result in enumerate(results):
                    places = result.reshape(self._shape(operation.results[number])).long() - 1
                    by_result[number].append(term.with_places(places))
        return [tuple(term for term in terms if bool((term.places >= 0).any())) for terms in by_result]

    def each(self, operation: Operation, change: Callable[[Term], Term]) -> list[tuple[Term, ...]]:
        """An operation with one result on one value that has terms."""
        values = [value for value in operation.inputs if self.terms(value)]
        if len(values) != 1:
            raise _NotLinearError(operation)
        (value,) = values
        return [tuple(change(term) for term in self.terms(value))]

    def shape(self, operation: Operation) -> tuple[int, ...]:
        """The shape of one row of an operation's result."""
        return self._shape(operation.results[0])

    def added(self, operation: Operation) -> list[tuple[Term, ...]]:
        """A sum or a difference."""
        shape = self.shape(operation)
        subtracted = operation.function.overloadpacket in (_aten.sub, _aten.sub_)
        factor = float(operation.kwargs.get("alpha", 1)) * (-1 if subtracted else 1)
        terms: list[Term] = []
        for item, times in zip(operation.args[:2], (1.0, factor), strict=True):
            if not isinstance(item, Value):
                continue
            for term in self.terms(item):
                terms.append(term.times(times).with_places(term.places.expand(shape)))
        return [tuple(terms)]

    def multiplied(self, operation: Operation) -> list[tuple[Term, ...]]:
        """A product with a constant, or a quotient."""
        first, second = operation.args[:2]
        value, factor = (first, second) if isinstance(first, Value) else (second, first)
        divides = operation.function.overloadpacket in (_aten.div, _aten.div_)
        if isinstance(factor, Value) or (divides and value is second) or operation.kwargs:
            raise _NotLinearError(operation)
        if not isinstance(factor, Tensor) or factor.numel() == 1:
            number = 1 / float(factor) if divides else float(factor)
            shape = self.shape(operation)
            return self.each(operation, lambda term: term.times(number).with_places(term.places.expand(shape)))
        factors = factor.detach().cpu().double()
        if factors.dim() == len(value.shape):
            factors = factors[0]
        factors = (1 / factors if divides else factors).expand(self.shape(operation))
        return self.each(operation, lambda term: term.with_places(term.places.expand(factors.shape)).times_each(factors))

    def normalised(self, operation: Operation) -> list[tuple[Term, ...]]:
        """A batch normalisation with the statistics of the training."""
        packet = operation.function.overloadpacket
        _, weight, _, _, variance, *rest = operation.args
        if (packet is _aten.native_batch_norm and rest[0]) or not isinstance(variance, Tensor):
            raise _NotLinearError(operation)
        factor = 1 / (variance.detach().cpu().double() + rest[-1]).sqrt()
        if isinstance(weight, Tensor):
            factor = factor * weight.detach().cpu().double()
        shape = self.shape(operation)
        factors = factor.reshape(-1, *[1] * (len(shape) - 1)).expand(shape)
        return self.each(operation, lambda term: term.times_each(factors))

    def convolved(self, operation: Operation) -> list[tuple[Term, ...]]:
        """A convolution or a transposed one."""
        signal, weight, _, stride, padding, dilation, transposed, _, groups = operation.args
        if not isinstance(signal, Value) or not isinstance(weight, Tensor) or len(stride) > 2:
            raise NoTermError("a convolution of three axes" if len(stride) > 2 else "a convolution with weights that change")
        weights = weight.detach().cpu().double()
        if weights.dim() == 3:
            weights = weights.unsqueeze(2)
        down, right = _pair(stride, 1)
        below, beside = _pair(padding, 0)
        spread = _pair(dilation, 1)
        insert: Pair = (0, 0)
        if transposed:
            per_group = weights.unflatten(0, (groups, -1)).transpose(1, 2)  # (groups, out, in, height, width)
            weights = per_group.flatten(0, 1).flip(-1, -2)
        weights = _dilated(weights, spread)
        if not transposed:
            convolution = Convolution(weights, (down, right), (below, beside), groups)
            return self.each(operation, lambda term: term.convolved(convolution, insert, (0, 0), (0, 0), self.shape(operation)))
        insert = (down - 1, right - 1)
        before = (weights.shape[2] - 1 - below, weights.shape[3] - 1 - beside)
        more = _pair(operation.args[7], 0)  # rows and columns at the end alone
        convolution = Convolution(weights, groups=groups)
        return self.each(operation, lambda term: term.convolved(convolution, insert, before, more, self.shape(operation)))

    def through_matrix(self, operation: Operation) -> list[tuple[Term, ...]]:
        """A matrix of constants, for each row or for each place of a row."""
        signal, weight = operation.args[-2:]
        added = operation.args[0] if len(operation.args) == 3 else None
        if operation.kwargs or not isinstance(signal, Value) or not isinstance(weight, Tensor) or isinstance(added, Value):
            raise _NotLinearError(operation)
        matrix = weight.detach().cpu().double()
        if len(self._shape(signal)) == 1:
            return self.each(operation, lambda term: term.multiplied(matrix))
        return self.each(operation, lambda term: term.multiplied_at_each_place(matrix))

    def averaged(self, operation: Operation) -> list[tuple[Term, ...]]:
        """An average pooling."""
        given = operation.arguments
        padding = _pair(given["padding"], 0)
        if given["ceil_mode"] or (padding != (0, 0) and not given["count_include_pad"]):
            raise NoTermError("a pooling whose windows are not equal")
        window = _pair(given["kernel_size"], 1)
        stride = _pair(given["stride"] or given["kernel_size"], 1)
        factor = 1 / (given["divisor_override"] or math.prod(window))
        shape = self.shape(operation)
        return self.each(operation, lambda term: term.summed(window, stride, padding, shape).times(factor))

    def averaged_to_size(self, operation: Operation) -> list[tuple[Term, ...]]:
        """An adaptive average pooling whose windows are equal."""
        signal, size = operation.args
        before, after = signal.shape[-2:], _pair(size, 1)
        if any(old % new for old, new in zip(before, after, strict=True)):
            raise NoTermError("a pooling whose windows are not equal")
        window = (before[0] // after[0], before[1] // after[1])
        shape = self.shape(operation)
        return self.each(operation, lambda term: term.summed(window, window, (0, 0), shape).times(1 / math.prod(window)))

    def totalled(self, operation: Operation) -> list[tuple[Term, ...]]:
        """A mean or a sum over height and width."""
        signal = operation.args[0]
        dims = operation.arguments.get("dim")
        if len(signal.shape) != 4 or dims is None or sorted(dim % 4 for dim in dims) != [2, 3]:
            raise NoTermError("a mean over other axes than height and width")
        window = (signal.shape[2], signal.shape[3])
        factor = 1 / math.prod(window) if operation.function.overloadpacket is _aten.mean else 1.0
        shape = self.shape(operation)
        return self.each(operation, lambda term: term.summed(window, (1, 1), (0, 0), shape).times(factor))

    def unchanged(self, operation: Operation) -> list[tuple[Term, ...]]:
        """An operation that returns what it gets."""
        dtypes = {value.dtype for value in (*operation.inputs, *operation.results) if value is not None}
        if len(dtypes) != 1:
            raise _NotLinearError(operation)
        return self.each(operation, lambda term: term)

    def overwritten(self, operation: Operation) -> list[tuple[Term, ...]]:
        """A tensor that is overwritten as a whole."""
        source = operation.args[1]
        if not isinstance(source, Value) or source.dtype != operation.results[0].dtype:  # type: ignore[union-attr]
            raise _NotLinearError(operation)
        shape = self.shape(operation)
        return [tuple(term.with_places(term.places.expand(shape)) for term in self.terms(source))]

    def subtracted(self, operation: Operation) -> list[tuple[Term, ...]]:
        """A change of sign, or a value that is taken from a constant."""
        shape = self.shape(operation)
        if len(operation.args) > 2 or operation.kwargs or any(isinstance(item, Value) for item in operation.args[1:]):
            raise _NotLinearError(operation)
        return self.each(operation, lambda term: term.times(-1).with_places(term.places.expand(shape)))

    def as_matrices(self, operation: Operation) -> list[tuple[Term, ...]]:
        """Linear, but of no form."""
        raise NoTermError("no form")


_FOLLOWING: dict[Any, Callable[[_Search, Operation], list[tuple[Term, ...]]]] = {
    _aten.convolution: _Search.convolved,
    _aten.addmm: _Search.through_matrix,
    _aten.mm: _Search.through_matrix,
    _aten.native_batch_norm: _Search.normalised,
    _aten._native_batch_norm_legit_no_training: _Search.normalised,
    _aten.avg_pool2d: _Search.averaged,
    _aten._adaptive_avg_pool2d: _Search.averaged_to_size,
    _aten.mean: _Search.totalled,
    _aten.sum: _Search.totalled,
    **dict.fromkeys((_aten.neg, _aten.rsub), _Search.subtracted),
    **dict.fromkeys(_MAX_POOLINGS, _Search.max_pooled),
    **dict.fromkeys((_aten.add, _aten.add_, _aten.sub, _aten.sub_), _Search.added),
    **dict.fromkeys((_aten.mul, _aten.mul_, _aten.div, _aten.div_), _Search.multiplied),
    **dict.fromkeys(CHOICES, _Search.chosen),
    **dict.fromkeys(_IDENTITIES, _Search.unchanged),
    _aten.copy_: _Search.overwritten,
    **dict.fromkeys(_OTHER_LINEAR, _Search.as_matrices),
}


class _NotLinearError(Exception):
    """An operation that is not linear in spikes."""

    def __init__(self, operation: Operation) -> None:
        super().__init__(operation.name)


def _tensors(results: Any) -> list[Tensor]:
    return [results] if isinstance(results, Tensor) else list(results)


def is_linear(operation: Operation) -> bool:
    """Whether an operation is one for which there are terms."""
    return operation.function.overloadpacket in _FOLLOWING


def _without_bias(operation: Operation) -> Operation:
    """The linear part of an operation: its bias is 0."""
    packet = operation.function.overloadpacket
    args = list(operation.args)
    if packet is _aten.convolution:
        args[2] = None
    if packet is _aten.addmm:
        args[0] = torch.zeros_like(args[0])
    if packet in (_aten.native_batch_norm, _aten._native_batch_norm_legit_no_training):
        args[2] = None
        args[3] = torch.zeros_like(args[3])
    if packet in (_aten.add, _aten.add_, _aten.sub, _aten.sub_):
        args[:2] = [item if isinstance(item, Value) else 0.0 for item in args[:2]]
    return replace(operation, args=tuple(args))


def _is_scaling(operation: Operation) -> bool:
    """Whether an operation multiplies a value with one positive number, which changes no order."""
    if operation.function.overloadpacket not in (_aten.mul, _aten.div) or operation.kwargs:
        return False
    value, factor = operation.args
    if not isinstance(value, Value) or isinstance(factor, Value):
        return False
    return (not isinstance(factor, Tensor) or factor.numel() == 1) and float(factor) > 0


def _is_permutation(term: Term) -> bool:
    """Whether each output of a term stands in one place of the value."""
    return torch.equal(term.places.flatten().sort().values, torch.arange(math.prod(term.out_shape)))


def _natural_map(shape: torch.Size) -> Map:
    """The map of a value: its first axis are channels, its last one columns, what is between rows."""
    if len(shape) < 2:
        return _map_in_order((shape.numel(), 1, 1), shape)
    return _map_in_order((shape[0], shape[1:-1].numel(), shape[-1]), shape)


def _windows_of(operation: Operation, before: tuple[int, ...], after: tuple[int, ...], axis: int) -> Members:
    """Rows (axis 0) or columns (1) of a value in each window of a max pooling; shapes are (channels, height, width)."""
    extent, windows = before[1 + axis], after[1 + axis]
    if operation.function.overloadpacket is _aten.adaptive_max_pool2d:
        edges = [(extent * i // windows, -(-extent * (i + 1) // windows)) for i in range(windows)]
        return tuple(tuple(range(first, end)) for first, end in edges)
    given = operation.arguments
    if _pair(given["dilation"], 1) != (1, 1):
        raise _NotLinearError(operation)
    length = _pair(given["kernel_size"], 1)[axis]
    step = _pair(given["stride"] or given["kernel_size"], 1)[axis]
    start = -_pair(given["padding"], 0)[axis]
    return tuple(tuple(range(max(0, start + i * step), min(extent, start + i * step + length))) for i in range(windows))


def _map_in_order(shape: tuple[int, int, int], of_value: tuple[int, ...]) -> Map:
    """The map in which the values lie in their own order."""
    return Map(shape, torch.arange(math.prod(shape)).reshape(of_value))


def _pair(value: Any, first: int) -> Pair:
    """Vertical and horizontal; `first` for the vertical of a single one."""
    values = [value] if isinstance(value, int) else list(value)
    return (values[0], values[-1]) if len(values) == 2 else (first, values[0])


def _dilated(weight: Tensor, spread: Pair) -> Tensor:
    """The kernel with zeros between its weights."""
    outputs, inputs, height, width = weight.shape
    wide = weight.new_zeros(outputs, inputs, (height - 1) * spread[0] + 1, (width - 1) * spread[1] + 1)
    wide[:, :, :: spread[0], :: spread[1]] = weight
    return wide
