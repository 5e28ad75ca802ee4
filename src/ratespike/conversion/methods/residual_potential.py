"""The residual potential: neurons that some first steps find below zero are silent from then on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ratespike.conversion.methods.base import Conversion
from ratespike.neurons import IntegrateAndFire, Neuron, State
from ratespike.parameters import ParameterError, parameter
from ratespike.simulation import Simulation, simulate
from ratespike.simulation.network_analysis import analyse
from ratespike.simulation.settings import Settings
from ratespike.simulation.start import FROM_CURRENTS, initial_state, steady_currents

_SILENT = -1e30  # a voltage from which no current brings a neuron to its threshold


@dataclass(frozen=True, kw_only=True)
class ResidualPotential(Conversion):
    """Runs some steps, mutes the neurons whose voltage is then not above 0, and begins anew with the others.

    A neuron whose voltage is negative has sent more than its input was worth; the rate of most of these is 0. In the first
    `steps` steps the answers are those of an ordinary simulation. From then on they are those of the second one, which starts
    as the first did. Steps, spikes and operations of both count.

    Source: Hao et al. 2023, "Reducing ANN-SNN conversion error through residual membrane potential", arXiv:2302.02091. The
    first steps do not count there.

    Attributes:
        steps: of the first simulation.

    Raises:
        ParameterError: neurons whose voltage cannot be negative, an early exit, images that change, or no step after `steps`.

    Example:
        >>> network = nn.Sequential(nn.Linear(1, 1), IntegrateAndFire(max_rate=1000), nn.Linear(1, 1))
        >>> result = ResidualPotential(steps=2).simulate(network, torch.rand(3, 1), 6)
        >>> result.outputs.shape
        torch.Size([6, 3, 1])
    """

    steps: int = parameter(4, at_least=1, at_most=1000)

    @property
    def least_steps(self) -> int:
        return self.steps + 1

    def check(self, network: nn.Module) -> None:
        for name, module in network.named_modules():
            if not isinstance(module, Neuron):
                continue
            below_zero = isinstance(module, IntegrateAndFire) and module.reset == "subtract" and module.min_voltage is None
            if not below_zero:
                raise ParameterError(
                    f"{name}: a {type(module).__name__} as it is set says nothing by a voltage below 0; "
                    "ResidualPotential needs IntegrateAndFire with reset=subtract and no min_voltage"
                )

    def check_simulation(self, n_steps: int, *, early_exit: bool, images_over_time: bool) -> None:
        if early_exit:
            raise ParameterError(
                "simulation.early_exit, simulation.exit_loss: ResidualPotential takes all steps of each image; set both to null"
            )
        if images_over_time:
            raise ParameterError("data: ResidualPotential needs images that stand still, but these change; try conversion=none")
        if n_steps < self.least_steps:
            raise ParameterError(
                f"n_steps={n_steps}: must be above conversion.steps={self.steps}, after which ResidualPotential mutes neurons"
            )

    def converted(
        self,
        network: nn.Module,
        images: Float[Tensor, "batch ..."],
        dt: float = 0.001,
        *,
        start: str = "uniform",
        seed: int = 0,
    ) -> nn.Module:
        self.check(network)
        return network

    @torch.no_grad()
    def simulate(
        self, network: nn.Module, images: Float[Tensor, "batch ..."], n_steps: int = 30, dt: float = 0.001, **settings: Any
    ) -> Simulation:
        self.check(network)
        has_exit = settings.get("early_exit") is not None
        self.check_simulation(n_steps, early_exit=has_exit, images_over_time=settings.get("images_over_time", False))
        layers = [call.name for call in analyse(network, images).trace.neurons]
        of_first = settings | {"record": layers, "engine": "torch"}
        first = simulate(network, images, self.steps, dt, **of_first)
        muted = {name: voltages[-1] <= 0 for name, voltages in first.voltages.items()}
        start = _start_without(muted, network, images, dt, settings)
        second = simulate(network, images, n_steps - self.steps, dt, **settings | {"start": start})
        # the current of the first layer is known by now
        second.synaptic_operations[0] -= analyse(network, images).fan_out.image_operations
        assert second.image_operations is not None
        second.image_operations.zero_()
        return _one_after_the_other(first, second)


def _start_without(
    muted: Mapping[str, Bool[Tensor, "batch ..."]], network: nn.Module, images: Tensor, dt: float, settings: Mapping[str, Any]
) -> dict[str, State]:
    """The state in which a simulation starts, with some neurons that will not spike."""
    calls = analyse(network, images).trace.neurons
    index = settings.get("image_index")
    index = torch.arange(len(images), device=images.device) if index is None else index.to(images.device)
    word = settings.get("start", "uniform")
    asked_for = Settings(1, dt, word, (), settings.get("seed", 0))
    currents = [torch.zeros_like(values, dtype=images.dtype) for values in muted.values()]
    if word in FROM_CURRENTS:
        currents = steady_currents(network, images.unsqueeze(0), len(calls))
    start: dict[str, State] = {}
    for number, call in enumerate(calls):
        state = initial_state(call, number, currents[number], index, asked_for)
        start[call.name] = state | {"voltage": state["voltage"].masked_fill(muted[call.name], _SILENT)}
    return start


def _one_after_the_other(first: Simulation, second: Simulation) -> Simulation:
    """One simulation of the steps of both; what the second one has not recorded is left out."""

    def joined(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: torch.cat([before[name], values]) for name, values in after.items()}

    assert first.image_operations is not None and second.image_operations is not None
    return replace(
        second,
        outputs=torch.cat([first.outputs, second.outputs]),
        spike_counts=joined(first.spike_counts, second.spike_counts),
        synaptic_operations=torch.cat([first.synaptic_operations, second.synaptic_operations]),
        recordings=joined(first.recordings, second.recordings),
        voltages=joined(first.voltages, second.voltages),
        spike_operations=joined(first.spike_operations, second.spike_operations),
        image_operations=torch.cat([first.image_operations, second.image_operations]),
    )
