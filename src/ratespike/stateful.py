"""Modules with memory over time: neurons and filters.

In rate mode such a module is an ordinary function of its input. A simulation puts a function of its own in its place, which
keeps the state between steps, and calls the network's `forward`: whatever that does between the modules with memory is done to
spikes as it is done to rates.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

Replacement = Callable[["Stateful", Tensor], Tensor]

_replacement: ContextVar[Replacement | None] = ContextVar("replacement", default=None)


class Stateful(nn.Module, ABC):
    """A module with memory over time, whose class is a dataclass."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "Stateful":
        module = super().__new__(cls)
        nn.Module.__init__(module)  # before the dataclass assigns attributes
        return module

    @abstractmethod
    def in_rate_mode(self, signal: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The module's output for a steady input, of the same shape and dtype; differentiable."""

    def forward(self, signal: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The rate mode; inside a simulation, what the simulation puts in its place."""
        replacement = _replacement.get()
        return self.in_rate_mode(signal) if replacement is None else replacement(self, signal)


@contextmanager
def replaced(replacement: Replacement) -> Iterator[None]:
    """Inside the `with` block, `forward` of every `Stateful` module is `replacement(module, signal)`, in this thread alone.

    Example:
        >>> import torch
        >>> from ratespike.neurons import LIF
        >>> with replaced(lambda module, signal: signal + 1):
        ...     print(LIF()(torch.zeros(1)))
        tensor([1.])
    """
    token = _replacement.set(replacement)
    try:
        yield
    finally:
        _replacement.reset(token)
