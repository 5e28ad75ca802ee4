"""Max pooling of spikes.

The largest of the inputs of one step says little: each neuron spikes now and then. Here, after each step, the sum of what has
left a window is the largest of the sums of what has arrived in it:

    sum over t' <= t of output(t')  =  max over the window's inputs of (sum over t' <= t of input(t'))

So the mean output is the largest mean input, which is what max pooling does to rates, and neurons that spike with one height
make outputs of this height or 0.
"""

from typing import Any

import torch
from torch import Tensor

from ratespike.parameters import ParameterError
from ratespike.simulation.forward import Interception
from ratespike.simulation.replay import CHOICES
from ratespike.simulation.tracing import Operation, Trace

_aten = torch.ops.aten
_POOLINGS = (
    _aten.max_pool2d_with_indices,
    _aten.max_pool3d_with_indices,
    _aten.adaptive_max_pool2d,
    _aten.adaptive_max_pool3d,
)


def is_max_pooling(operation: Operation) -> bool:
    """Whether an operation is a max pooling of something that depends on spikes."""
    return operation.function.overloadpacket in _POOLINGS and operation.has_spikes


def check_max_poolings(found: Trace) -> None:
    """Raise `ParameterError` if the network uses the places of the largest values, which spikes do not have."""
    for operation in found.operations:
        if not is_max_pooling(operation):
            continue
        places = {operation.results[1]}
        for later in found.operations:
            if places.isdisjoint(later.inputs):
                continue
            if later.function.overloadpacket in CHOICES:
                places.update(later.results)
            else:
                raise ParameterError(f"{operation.module}: a max pooling of spikes has no indices to return")
        if found.output in places:
            raise ParameterError(f"{operation.module}: a max pooling of spikes has no indices to return")


def sums_over_time(signal: Tensor, before: Tensor | None) -> Tensor:
    """The sums of a signal (time, batch, ...) before its first step and after each, shape (time + 1, batch, ...).

    Args:
        signal: that goes on.
        before: its sum so far; None: 0.
    """
    if before is None:
        before = torch.zeros_like(signal[0])
    return torch.cat([before[None], before + signal.cumsum(0)])


class MaxPoolings(Interception):
    """While it is active, max poolings of spikes go by their sums over time; for one slice of images.

    Args:
        found: the network.

    Attributes:
        steps: how many time steps the rows of the batch hold.
    """

    def __init__(self, found: Trace) -> None:
        super().__init__()
        self.steps = 1
        self._of_spikes: list[bool] = []  # for each max pooling of the forward
        for operation in found.operations:
            if operation.function.overloadpacket in _POOLINGS:
                self._of_spikes.append(is_max_pooling(operation))
        self._sums: list[Tensor | None] = [None] * len(self._of_spikes)
        self._next = 0

    def begin(self, steps: int) -> None:
        """A forward pass of `steps` more time steps begins."""
        self.steps = steps
        self._next = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.overloadpacket not in _POOLINGS:
            return function(*args, **(kwargs or {}))
        number = self._next
        self._next += 1
        if not self._of_spikes[number]:
            return function(*args, **(kwargs or {}))
        signal = args[0].unflatten(0, (self.steps, -1))  # (time, batch, ...)
        sums = sums_over_time(signal, self._sums[number])
        self._sums[number] = sums[-1]
        largest, places = function(sums.flatten(0, 1), *args[1:], **(kwargs or {}))
        largest = largest.unflatten(0, sums.shape[:2])
        batch = signal.shape[1]
        return largest.diff(dim=0).flatten(0, 1), places[batch:]
