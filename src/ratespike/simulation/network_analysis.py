"""What is found out about a network before it is simulated, kept for its next simulation.

For a few images it takes longer to look at a network than to simulate it. So what was found is kept as long as the network
lives, and used again as long as nothing has changed: each number, word and tensor in its modules is the same, and its forward
computes the same values, bit by bit.
"""

import io
import pickle
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ratespike.simulation.fan_out import FanOut, fan_out
from ratespike.simulation.forward import evaluation_copy
from ratespike.simulation.probe import Probe
from ratespike.simulation.terms import NoTermError
from ratespike.simulation.threads import on_one_thread
from ratespike.simulation.tracing import Trace

Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class Analysis:
    """What is found out about a network.

    Attributes:
        network: a copy in eval mode, which nothing changes: threads share it.
        probe: tries its forward.
        fan_out: the weights that an image and each spike meet.
    """

    network: nn.Module
    probe: Probe
    fan_out: FanOut
    _made: dict[Hashable, Any] = field(default_factory=dict)

    @property
    def image(self) -> Tensor:
        """One of the images that it was found out with, shape (1, ...)."""
        return self.probe.image

    @property
    def trace(self) -> Trace:
        """What its forward does."""
        return self.probe.trace

    def made(self, make: Callable[..., Made], *arguments: Hashable) -> Made:
        """`make(self, *arguments)`, which is called once for the same arguments.

        Raises:
            NoTermError: raised by `make`, now or then.
        """
        key = (make, *arguments)
        if key not in self._made:
            try:
                self._made[key] = make(self, *arguments)
            except NoTermError as error:
                self._made[key] = error
        made = self._made[key]
        if isinstance(made, NoTermError):
            raise NoTermError(str(made))
        return made  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Kept:
    """An analysis and what must not have changed since."""

    fingerprint: "_Fingerprint"
    analysis: Analysis


_kept: WeakKeyDictionary[nn.Module, _Kept] = WeakKeyDictionary()


def analyse(network: nn.Module, images: Tensor) -> Analysis:
    """Find out what a network does, or remember it.

    Args:
        network: not changed.
        images: those that are to be simulated, shape (batch, ...).

    Raises:
        ParameterError: a network that cannot be simulated.

    Example:
        >>> from ratespike.neurons import LIF
        >>> network, images = nn.Sequential(nn.Linear(4, 8), LIF(), nn.Linear(8, 3)), torch.rand(2, 4)
        >>> first = analyse(network, images)
        >>> analyse(network, images) is first
        True
        >>> network[0].weight.data[0, 0] = 0
        >>> analyse(network, images) is first
        False
    """
    with on_one_thread():
        found = _find_out(network, images)
    found.probe.check_batch(len(images))
    return found


def _find_out(network: nn.Module, images: Tensor) -> Analysis:
    """What is kept about a network if that is still true, else what is found out now."""
    fingerprint = _fingerprint(network, images)
    kept = _kept.get(network)
    if kept and fingerprint and fingerprint.equals(kept.fingerprint) and kept.analysis.probe.repeats():
        return kept.analysis
    copied = evaluation_copy(network)
    probe = Probe(copied, images)
    analysis = Analysis(copied, probe, fan_out(probe.trace))
    if fingerprint is not None:
        _kept[network] = _Kept(fingerprint.copied(), analysis)
    return analysis


@dataclass(frozen=True)
class _Fingerprint:
    """All that is in the modules of a network, and the kind of its images.

    Attributes:
        pickled: everything but the tensors' values.
        tensors: in the order in which they were met.
    """

    pickled: bytes
    tensors: list[Tensor]

    def equals(self, other: "_Fingerprint") -> bool:
        """Whether all is the same."""
        if self.pickled != other.pickled:
            return False
        return all(torch.equal(mine, its) for mine, its in zip(self.tensors, other.tensors, strict=True))

    @torch.inference_mode(False)
    def copied(self) -> "_Fingerprint":
        """The same with the values that the tensors have now."""
        return _Fingerprint(self.pickled, [tensor.detach().clone() for tensor in self.tensors])


def _fingerprint(network: nn.Module, images: Tensor) -> _Fingerprint | None:
    """A network's fingerprint; None if something in it, such as a hook that is a lambda, cannot be pickled."""
    written = io.BytesIO()
    pickler = _Pickler(written)
    try:
        pickler.dump((network, images.shape[1:], images.dtype, images.device))
    except Exception:
        return None
    return _Fingerprint(written.getvalue(), pickler.tensors)


class _Pickler(pickle.Pickler):
    """Pickles a network with the kind of each tensor in place of its values."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.tensors: list[Tensor] = []

    def reducer_override(self, item: Any) -> Any:
        """How an object that is no number, word or container is pickled."""
        if not isinstance(item, Tensor):
            return NotImplemented
        self.tensors.append(item)
        return _kind_of_tensor, (type(item), item.shape, item.dtype, item.device)


def _kind_of_tensor(*kind: Any) -> None:
    """Stands in the pickle for a tensor; what is pickled is never read."""
