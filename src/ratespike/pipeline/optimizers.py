"""Optimizers and learning-rate schedules, as the configuration names them, made by PyTorch."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn, optim
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from ratespike.parameters import check_parameters, parameter


@dataclass(frozen=True, kw_only=True)
class Optimizer(ABC):
    """An optimizer before it knows its parameters. A class below this one is an option of `optimizer.type`.

    Attributes:
        lr: learning rate; with `one_cycle` its peak.
        weight_decay: as the optimizer of that name in `torch.optim` understands it.
        weight_averaging: decay of a moving average of the weights, which is then validated, tested and kept; 0 for none
            (Polyak and Juditsky 1992, doi:10.1137/0330046).
        schedule: `constant`, or `one_cycle` over the whole training (Smith and Topin 2018, arXiv:1708.07120).

    Raises:
        ParameterError: a value out of range.

    Example:
        >>> AdamW(lr=0.01).optimizer(nn.Linear(2, 1).parameters()).defaults["weight_decay"]
        0.01
    """

    lr: float = parameter(1e-3, above=0, at_most=1e6)
    weight_decay: float = parameter(0.0, at_least=0, at_most=1e6)
    weight_averaging: float = parameter(0.0, at_least=0, below=1)
    schedule: str = parameter("constant", choices=("constant", "one_cycle"))

    def __post_init__(self) -> None:
        check_parameters(self)

    @abstractmethod
    def optimizer(self, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
        """The `torch.optim` optimizer."""

    def scheduler(self, optimizer: optim.Optimizer, total_steps: int) -> LRScheduler | None:
        """The schedule, to be advanced at each of `total_steps` batches; None if the rate is constant."""
        if self.schedule == "constant":
            return None
        return OneCycleLR(optimizer, max_lr=self.lr, total_steps=total_steps)

    def _common(self) -> dict[str, Any]:
        return {"lr": self.lr, "weight_decay": self.weight_decay}


@dataclass(frozen=True, kw_only=True)
class Adam(Optimizer):
    """`torch.optim.Adam`."""

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
        return optim.Adam(parameters, **self._common())


@dataclass(frozen=True, kw_only=True)
class AdamW(Optimizer):
    """`torch.optim.AdamW`."""

    weight_decay: float = parameter(0.01, at_least=0, at_most=1e6)

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
        return optim.AdamW(parameters, **self._common())


@dataclass(frozen=True, kw_only=True)
class RMSprop(Optimizer):
    """`torch.optim.RMSprop`; `alpha` is the decay of the mean square."""

    alpha: float = parameter(0.99, above=0, below=1)
    eps: float = parameter(1e-8, above=0)
    momentum: float = parameter(0.0, at_least=0, below=1)

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
        return optim.RMSprop(parameters, **self._common(), alpha=self.alpha, eps=self.eps, momentum=self.momentum)


@dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    """`torch.optim.SGD`."""

    momentum: float = parameter(0.0, at_least=0, below=1)
    nesterov: bool = parameter(False)

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
        return optim.SGD(parameters, **self._common(), momentum=self.momentum, nesterov=self.nesterov)
