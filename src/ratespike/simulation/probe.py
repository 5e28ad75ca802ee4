"""Whether a network can be simulated: its forward is tried on a few images, with arbitrary numbers in place of spikes.

A forward that mixes the images of a batch, that is random or that remembers something between calls is refused. No rule knows
this of each operation of PyTorch, so it is tried: what is computed for an image must be the same beside other images, one of
NaNs and one of huge values among them, at another place, and in a batch of as many images as are to be simulated. And what
seems to be a constant must be the same for other images: else it comes from them by a way that PyTorch does not show.
"""

import pickle
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ratespike.parameters import ParameterError
from ratespike.simulation.forward import call_forward
from ratespike.simulation.tracing import Recording, Trace, Value, flattened, record
from ratespike.stateful import Stateful

_ROWS = 2  # the least number of which one can tell the batch from one image
_MOST_VALUES = 2**23  # of one layer at a time: of larger layers fewer images are tried
_SMALL = 1e-3  # differences of such values are rounding
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}  # of other dtypes: 5e-2


def trace(network: nn.Module, images: Tensor) -> Trace:
    """Find out what a network's forward does.

    Args:
        network: in eval mode; not changed.
        images: some images, shape (batch, ...); two of them are looked at.

    Raises:
        ParameterError: a forward that fails, or that cannot be simulated.

    Example:
        >>> from ratespike.neurons import LIF
        >>> class Residual(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layer, self.neuron = nn.Linear(4, 4), LIF()
        ...     def forward(self, x):
        ...         return x + self.neuron(self.layer(x))
        >>> found = trace(Residual().eval(), torch.rand(2, 4))
        >>> [(call.name, call.shape) for call in found.calls], sorted(found.output.depends_on)
        ([('neuron', torch.Size([4]))], [-1, 0])
    """
    return Probe(network, images).trace


def _memory_of(network: nn.Module) -> list[object]:
    """What a forward could change in the modules to remember it: numbers and words, and how often buffers were written."""
    memory: list[object] = []
    for module in network.modules():
        memory += _numbers_and_words(list(vars(module).values()))
        memory += [None if buffer is None else buffer._version for buffer in module._buffers.values()]
    return memory


def _numbers_and_words(values: Any, depth: int = 3) -> list[object]:
    """Those among some values, and in their lists and dictionaries."""
    found: list[object] = [len(values)]
    for value in values.values() if isinstance(values, dict) else values:
        if isinstance(value, int | float | str):
            found.append(value)
        elif isinstance(value, list | tuple | set | dict) and depth:
            found += _numbers_and_words(value, depth - 1)
    return found


def _random_states() -> list[bytes]:
    """The states of the generators of random numbers that a forward may draw from."""
    return [torch.get_rng_state().numpy().tobytes(), pickle.dumps(np.random.get_state()), pickle.dumps(random.getstate())]


def _two_rows(images: Tensor) -> Tensor:
    """Two images; zeros where there are fewer."""
    rows = images[:2]
    return torch.cat([rows, rows.new_zeros(2 - len(rows), *rows.shape[1:])])


def _check_calls(found: Trace) -> None:
    if not found.neurons:
        raise ParameterError("network: no spiking neuron to simulate: put one, such as LIF(), behind a layer")
    if found.output.shape[:1] != (_ROWS,):
        raise ParameterError(f"network: its output has the shape {tuple(found.output.shape)} for {_ROWS} images")
    for call in found.calls:
        if type(call.module).forward is not Stateful.forward:
            raise ParameterError(
                f"{call.name}: {type(call.module).__name__} has a forward of its own; define its rate and step"
            )
        if not call.signal.dtype.is_floating_point:
            raise ParameterError(f"{call.name}: gets values of the dtype {call.signal.dtype}; must be real numbers")
        if call.signal.shape[:1] != (_ROWS,):
            shape = tuple(call.signal.shape)
            raise ParameterError(f"{call.name}: gets the shape {shape} for {_ROWS} images; the batch must come first")


class Probe:
    """Runs a network's forward on a few images, with arbitrary numbers in place of spikes.

    Args:
        network: in eval mode; not changed.
        images: some images, shape (batch, ...); two of them are looked at.

    Attributes:
        image: one of the images, shape (1, ...).
        trace: what the forward does.

    Raises:
        ParameterError: a forward that fails, or that cannot be simulated.
    """

    @torch.inference_mode(False)  # in which PyTorch's operations are other ones; with it gradients come back
    @torch.no_grad()
    def __init__(self, network: nn.Module, images: Tensor) -> None:
        self._network = network
        self._pair = _two_rows(images).clone()
        if not bool(self._pair.any()):  # nothing would be seen to mix
            self._pair = torch.rand(self._pair.shape, generator=torch.Generator().manual_seed(2)).to(self._pair)
        self.image = self._pair[:1]
        self._tried_batches = {_ROWS}
        random_before = _random_states()
        self._first = record(network, self._pair, _drawn(0))
        if _random_states() != random_before:
            raise ParameterError("network: its forward is random: it draws numbers")
        self.trace = self._first.trace
        _check_calls(self.trace)
        before = _memory_of(network)
        again = record(network, self._pair.flip(0) * 0.75 + 0.125, _drawn(1))
        if _memory_of(network) != before:
            raise ParameterError("network: its forward remembers something: it changes an attribute or a buffer of a module")
        _check_constants(self._first, again)
        self._check_among_others()

    @torch.inference_mode(False)
    @torch.no_grad()
    def repeats(self) -> bool:
        """Whether the forward computes the same values as at first, bit by bit."""
        run = _ComparedRun(self._network, self._first.spikes, self._first.signals, exact=True)
        try:
            run.on(self._pair)
        except ParameterError:
            return False
        return run.modules == self._first.modules and not run.differs

    @torch.inference_mode(False)
    @torch.no_grad()
    def check_batch(self, images: int) -> None:
        """Raise `ParameterError` if the forward computes something else in a batch of so many images.

        Of large layers fewer are tried. A number that was tried is not tried again.
        """
        largest = max(signal[0].numel() for signal in (self._pair, *self._first.signals))
        rows = min(images, max(_ROWS, _MOST_VALUES // max(1, largest)))
        if rows in self._tried_batches or not rows:
            return
        chosen = torch.randint(_ROWS, (rows,), generator=torch.Generator().manual_seed(3)).to(self._pair.device)
        self._check(lambda pair: pair[chosen], lambda pair: pair[chosen], f"{rows} images in a batch")
        self._tried_batches.add(rows)

    def _check_among_others(self) -> None:
        """Raise if the pair gives something else in the other order and with other rows behind it."""
        what = "the same two images with others behind them"
        try:
            self._check(_with_others, _flipped, what)
        except _FailsError:  # invented images need not be possible ones: a matrix without inverse, a word that does not exist
            self._check(_with_the_first, _flipped, what)

    def _check(self, rows: Callable[[Tensor], Tensor], expected: Callable[[Tensor], Tensor], what: str) -> None:
        """Raise unless some rows made from the pair give first what is expected from what the pair gave."""
        spikes = [rows(spikes) for spikes in self._first.spikes]
        run = _ComparedRun(self._network, spikes, [expected(signal) for signal in self._first.signals])
        try:
            run.on(rows(self._pair))
        except ParameterError as error:
            raise _FailsError(
                f"{error}; it works for {_ROWS} images, but not for {what}: it remembers something, or counts the images"
            ) from None
        if run.differs or run.modules != self._first.modules:
            raise ParameterError(
                f"network: its forward gives other values for {what} than at its first call: it remembers something, "
                "or what it computes for an image depends on the other images of the batch"
            )


class _FailsError(ParameterError):
    """The forward fails for some rows."""


class _ComparedRun:
    """A run of the forward whose values are compared with those of another run.

    Args:
        network: in eval mode.
        spikes: in place of the outputs of neurons and filters, in the order of their calls.
        expected: what should arrive at each of them, and last the output: the first rows of what does.
        exact: whether each bit counts; else rounding may differ.

    Attributes:
        modules: neurons and filters in the order of their calls.
        differs: whether something else arrived.
    """

    def __init__(self, network: nn.Module, spikes: Sequence[Tensor], expected: Sequence[Tensor], exact: bool = False) -> None:
        self._network = network
        self._spikes = spikes
        self._expected = expected
        self._exact = exact
        self.modules: list[Stateful] = []
        self.differs = False

    def on(self, images: Tensor) -> None:
        """Run the forward; raises `ParameterError` if it fails."""
        self._images = len(images)
        output = call_forward(self._network, images.clone(), self._call)
        if len(self.modules) == len(self._spikes):
            self._compare(output)

    def _call(self, module: Stateful, signal: Tensor) -> Tensor:
        number = len(self.modules)
        if number >= len(self._spikes) or signal.shape != self._spikes[number].shape:
            self.differs = True
            self.modules.append(module)
            return signal
        self._compare(signal)
        self.modules.append(module)
        return self._spikes[number].clone()

    def _compare(self, signal: Tensor) -> None:
        expected = self._expected[len(self.modules)]
        if signal.shape != (self._images, *expected.shape[1:]) or signal.dtype != expected.dtype:
            self.differs = True
            return
        same = torch.equal if self._exact else _agree
        self.differs = self.differs or not same(expected, signal[: len(expected)])


def _drawn(seed: int) -> Callable[[Tensor], Tensor]:
    """A function that draws numbers from 0 to 1 of another tensor's shape and dtype."""
    generator = torch.Generator().manual_seed(seed)
    return lambda signal: torch.rand(signal.shape, generator=generator).to(signal)


def _check_constants(first: Recording, again: Recording) -> None:
    """Raise unless two runs on different images do the same with the same constants."""
    unknown = "a value that depends on the image reaches it past PyTorch's operations, such as through NumPy or another thread"
    if [operation.function for operation in first.trace.operations] != [found.function for found in again.trace.operations]:
        raise ParameterError("network: its forward does something else for other images: its way must be the same for all")
    for one, other in zip(first.trace.operations, again.trace.operations, strict=True):
        constants = zip(flattened((one.args, one.kwargs)), flattened((other.args, other.kwargs)), strict=False)
        if not all(_are_same(*pair) for pair in constants):
            raise ParameterError(f"{one.module or 'network'}: {unknown}")
    arriving = [*[call.signal for call in first.trace.calls], first.trace.output]
    for value, one_signal, other_signal in zip(arriving, first.signals, again.signals, strict=True):
        if not value.depends_on and not _are_same(one_signal, other_signal):
            raise ParameterError(f"network: {unknown}")


def _are_same(one: Any, other: Any) -> bool:
    """Whether two arguments are equal, unless they are values."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one is other or one.layout != torch.strided or (one.shape == other.shape and _agree(one[None], other[None]))
    if isinstance(one, Tensor | Value) or isinstance(other, Tensor | Value):
        return type(one) is type(other)
    return bool(one == other) or (one != one and other != other)  # NaN


def _flipped(rows: Tensor) -> Tensor:
    return rows.flip(0)


def _with_the_first(rows: Tensor) -> Tensor:
    """Two rows in the other order, and the first one again."""
    return torch.cat([rows.flip(0), rows[:1]])


def _with_others(rows: Tensor) -> Tensor:
    """Two rows in the other order, and behind them arbitrary values, huge ones and NaNs."""
    arbitrary = 4 * torch.rand(rows[:1].shape, generator=torch.Generator().manual_seed(1)) - 2
    largest = rows.abs().amax() if rows.numel() else 0
    others = arbitrary.to(rows) * (1 + largest)
    huge = others.sign() * torch.finfo(rows.dtype).max ** 0.5
    return torch.cat([rows.flip(0), others, huge, torch.full_like(others, torch.nan)])


def _agree(expected: Tensor, found: Tensor) -> bool:
    """Whether two runs have computed the same values, but for rounding."""
    if not expected.numel():
        return True
    tolerance = _TOLERANCE.get(found.dtype, 5e-2)
    finite = expected.isfinite()
    if not torch.equal(finite, found.isfinite()):
        return False
    if torch.equal(expected, found):
        return True
    if expected.dtype not in _TOLERANCE:
        expected, found = expected.float(), found.float()
    expected = expected.where(finite, 0).flatten(1)  # rows
    found = found.where(finite, 0).flatten(1)
    sizes = expected.abs()
    usual = sizes.where(sizes > 0, torch.nan).nanmedian(1, keepdim=True).values.nan_to_num()  # no large value hides the others
    return bool(((expected - found).abs() <= tolerance * (sizes + 10 * usual + _SMALL)).all())
