"""The integrate-and-fire neuron with a reset to zero, trained on the rate that whole time steps leave it.

A reset to zero loses what the membrane has above threshold, so an interval between spikes is a whole number of steps. The rate
is a staircase: just below `1 / dt` it is half of what the current would give. A training that knows it makes up for it.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ratespike.neurons.integrate_and_fire import IntegrateAndFire
from ratespike.parameters import ParameterError, parameter


class _Staircase(torch.autograd.Function):
    """The rate in steps; its slope is that of the curve in the middle of the stairs, `1 / (dt / 2 + 1 / rate)`."""

    @staticmethod
    def forward(ctx: Any, rate: Tensor, dt: float) -> Tensor:
        ctx.save_for_backward(rate)
        ctx.dt = dt
        return 1 / (dt * (1 / (rate * dt)).ceil())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (rate,) = ctx.saved_tensors
        slope = (1 + rate * (ctx.dt / 2)) ** -2
        return grad * slope.nan_to_num(nan=0.0), None


@dataclass(eq=False, repr=False, kw_only=True)
class StaircaseIntegrateAndFire(IntegrateAndFire):
    """Integrate-and-fire neuron with a reset to zero, whose rate mode is the rate in steps of `dt`.

    Rate: `r(J) = 1 / (dt * ceil(threshold / (J * dt)))` for J > 0, else 0, in Hz. Its slope is taken as that of
    `1 / (dt / 2 + threshold / J)`, the curve in the middle of the stairs.

    Step: `v += J * dt`; a spike if `v >= threshold`; then `v = 0`.

    Source: Hunsberger and Eliasmith 2016, "Training spiking deep networks for neuromorphic hardware", arXiv:1611.05141, for
    training on the rates of spiking neurons; the staircase and its slope are those of NengoLoihi 1.1,
    `LoihiSpikingRectifiedLinear`.

    Attributes:
        dt: length of a step, seconds, as it will be in the simulation.

    Shape:
        any; the output has the input's shape.

    Raises:
        ParameterError: in addition to those of `IntegrateAndFire`, `levels`, which are another staircase.

    Example:
        >>> StaircaseIntegrateAndFire(max_rate=1000)(torch.tensor([-1.0, 0.3, 0.6, 1.0]))
        tensor([0.0000, 0.2500, 0.5000, 1.0000])
    """

    reset: str = parameter("zero", choices=("zero",), training=False)
    dt: float = parameter(0.001, above=0, unit="s")

    def check(self) -> None:
        super().check()
        if self.levels is not None:
            raise ParameterError(f"levels={self.levels}: this rate is a staircase already; leave it out")

    def firing_rate(self, current: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return _Staircase.apply(super().firing_rate(current), self.dt)  # type: ignore[no-any-return, no-untyped-call]

    def firing_rate_in_steps(self, current: Float[Tensor, "..."], dt: float) -> Float[Tensor, "..."]:
        return _Staircase.apply(super().firing_rate(current), dt)  # type: ignore[no-any-return, no-untyped-call]
