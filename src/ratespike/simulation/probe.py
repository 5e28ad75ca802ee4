"""Whether a network can be simulated: its forward is tried on a few images, with arbitrary numbers in place of spikes.

A forward that mixes the images of a batch, that is random or that remembers something between calls is refused. No rule knows
this of each operation of PyTorch, so it is tried: what is computed for an image must be the same beside other images, one of
NaNs and one of huge values among them, at another place, and in a batch of as many images as are to be simulated.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ratespike.parameters import ParameterError
from ratespike.simulation.forward import call_forward
from ratespike.simulation.tracing import Trace, record
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
        memory += [value for value in vars(module).values() if isinstance(value, int | float | str)]
        memory += [None if buffer is None else buffer._version for buffer in module._buffers.values()]
    return memory


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
        generator = torch.Generator().manual_seed(0)
        before = _memory_of(network)
        self._first = record(network, self._pair, lambda signal: torch.rand(signal.shape, generator=generator).to(signal))
        self.trace = self._first.trace
        _check_calls(self.trace)
        self._check_among_others()
        if _memory_of(network) != before:
            raise ParameterError("network: its forward remembers something: it changes an attribute or a buffer of a module")

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
        run = _ComparedRun(self._network, _rows(self._first.spikes, chosen), _rows(self._first.signals, chosen))
        self._check(run, self._pair[chosen], f"{rows} images in a batch")
        self._tried_batches.add(rows)

    def _check_among_others(self) -> None:
        """Raise if the pair gives something else in the other order and with other rows behind it."""
        spikes = [_with_others(spikes) for spikes in self._first.spikes]
        expected = [signal.flip(0) for signal in self._first.signals]
        run = _ComparedRun(self._network, spikes, expected)
        self._check(run, _with_others(self._pair), "the same two images with others behind them")

    def _check(self, run: "_ComparedRun", images: Tensor, what: str) -> None:
        try:
            run.on(images)
        except ParameterError as error:
            raise ParameterError(
                f"{error}; it works for {_ROWS} images, but not for {what}: it remembers something, or counts the images"
            ) from None
        if run.differs or run.modules != self._first.modules:
            raise ParameterError(
                f"network: its forward gives other values for {what} than at its first call: it is random, remembers "
                "something, or what it computes for an image depends on the other images of the batch"
            )


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


def _rows(signals: Sequence[Tensor], chosen: Tensor) -> list[Tensor]:
    return [signal[chosen] for signal in signals]


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
