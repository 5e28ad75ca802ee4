"""The integrate-and-fire neuron of most conversion papers: no leak, at most one spike a step."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ratespike.neurons.base import State, TunedNeuron
from ratespike.parameters import ParameterError, parameter


class _Staircase(torch.autograd.Function):
    """A part from 0 to 1 rounded to a number of levels; its slope is 1."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, levels: int) -> Tensor:
        return (part * levels + 0.5).floor() / levels

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return grad, None


@dataclass(eq=False, repr=False, kw_only=True)
class IntegrateAndFire(TunedNeuron):
    """Integrate-and-fire neuron without leak, at most one spike a step.

    Rate: `r(J) = max(J, 0) / threshold`, in Hz. In steps of dt the neuron cannot exceed `1 / dt`; with a reset to zero
    what the membrane had above threshold is lost, and the rate is the staircase `1 / (dt * ceil(threshold / (J * dt)))`.

    Step: `v += J * dt`; a spike if `v >= threshold`; then `v -= threshold`, or `v = 0`.

    With `levels=L` the rate is what a neuron that starts at half its threshold fires in L steps of a constant current, if it
    reaches `max_rate` by a spike in each step: `r(J) = max_rate * clip(floor(J * L / J_max + 1/2) / L, 0, 1)`, with `J_max`
    the current at `max_rate`. Its slope is taken as that of `clip(J / J_max, 0, 1)`. Source: Bu et al. 2022, "Optimal
    ANN-SNN conversion for high-accuracy and ultra-low-latency spiking neural networks", arXiv:2303.04347; the thresholds that
    are learned there are part of the weights here.

    With `negative_spikes` it takes back what came too early: if `v < 0` and it has sent more positive spikes than negative
    ones, it sends one of the opposite sign, and `v += threshold`. The rate stays. Source: Wang et al. 2022, "Signed neuron
    with memory: towards simple, accurate and high-efficient ANN-SNN conversion", doi:10.24963/ijcai.2022/347.

    Source: Rueckauer et al. 2017, "Conversion of continuous-valued deep networks to efficient event-driven networks for
    image classification", doi:10.3389/fnins.2017.00682, equations 1 and 2.

    Attributes:
        threshold: membrane voltage at which it fires, and that a reset by subtraction takes away.
        levels: how many steps of the rate lie above zero, if it is a staircase; None: it is not.
        reset: `subtract` or `zero`.
        min_voltage: the membrane cannot fall below it; None: it can fall without limit.
        negative_spikes: whether it takes spikes back; only with `reset=subtract`.

    Shape:
        any; the output has the input's shape.

    Raises:
        ParameterError: a parameter out of range, or `negative_spikes` with a reset to zero.

    Example:
        >>> IntegrateAndFire(max_rate=200)(torch.tensor([-1.0, 0.5]))
        tensor([0.0000, 0.5000])
        >>> IntegrateAndFire(max_rate=1000, levels=2)(torch.tensor([0.2, 0.3, 0.8, 2.0]))
        tensor([0.0000, 0.5000, 1.0000, 1.0000])
    """

    threshold: float = parameter(1.0, above=0)
    levels: int | None = parameter(None, at_least=1)
    reset: str = parameter("subtract", choices=("subtract", "zero"), training=False)
    min_voltage: float | None = parameter(None, at_most=0, training=False)
    negative_spikes: bool = parameter(False, training=False)

    def check(self) -> None:
        """Refuse negative spikes where a reset to zero has lost what they would take back."""
        if self.negative_spikes and self.reset != "subtract":
            raise ParameterError(f"negative_spikes=True: needs reset=subtract, not reset={self.reset}")

    def current_for(self, rate: float) -> float:
        return rate * self.threshold

    def firing_rate(self, current: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        rate = torch.relu(current) / self.threshold
        if self.levels is None:
            return rate
        part = (rate / self.max_rate).clamp(max=1)
        staircase: Tensor = _Staircase.apply(part, self.levels)  # type: ignore[no-untyped-call]
        return staircase * self.max_rate

    def firing_rate_in_steps(self, current: Float[Tensor, "..."], dt: float) -> Float[Tensor, "..."]:
        rate = self.firing_rate(current)
        if self.reset == "subtract":
            return rate.clamp(max=1 / dt)
        steps_to_threshold = (1 / (rate * dt)).ceil()
        return 1 / (dt * steps_to_threshold)

    def step_warning(self, dt: float) -> str | None:
        if self.max_rate * dt <= 1:
            return None
        return f"max_rate={self.max_rate:g} Hz is above 1/dt = {1 / dt:g} Hz, and it fires at most once a step"

    def initial_state(self, voltage: Float[Tensor, "..."]) -> State:
        state = {"voltage": voltage * self.threshold}
        if self.negative_spikes:
            state["sent"] = torch.zeros_like(voltage)  # positive spikes minus negative ones
        return state

    def steady_state(self, current: Float[Tensor, "..."], phase: Float[Tensor, "..."], dt: float) -> State:
        if self.reset == "subtract":
            return self.initial_state(phase)
        drive = current.clamp(min=0) * dt
        steps_to_threshold = (self.threshold / drive).ceil()
        return {"voltage": torch.where(drive > 0, (phase * steps_to_threshold).floor() * drive, 0)}

    def step(self, current: Float[Tensor, "..."], state: State, dt: float) -> tuple[Float[Tensor, "..."], State]:
        voltage = state["voltage"] + current * dt
        spikes = (voltage >= self.threshold).to(current.dtype)
        if self.negative_spikes:
            spikes = spikes - ((voltage < 0) & (state["sent"] > 0)).to(current.dtype)
        taken_by_reset = self.threshold if self.reset == "subtract" else voltage
        voltage = voltage - spikes * taken_by_reset
        if self.min_voltage is not None:
            voltage = voltage.clamp(min=self.min_voltage)
        if self.negative_spikes:
            return spikes, {"voltage": voltage, "sent": state["sent"] + spikes}
        return spikes, {"voltage": voltage}
