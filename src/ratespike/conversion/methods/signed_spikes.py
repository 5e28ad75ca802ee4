"""Signed spikes: what was sent too early is taken back."""

import copy
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from ratespike.conversion.methods.base import Conversion
from ratespike.neurons import IntegrateAndFire, Neuron
from ratespike.parameters import ParameterError


@dataclass(frozen=True, kw_only=True)
class SignedSpikes(Conversion):
    """Lets IntegrateAndFire neurons send negative spikes (see `IntegrateAndFire`, `negative_spikes`).

    A negative spike is an operation like any other.

    Source: Wang et al. 2022, "Signed neuron with memory: towards simple, accurate and high-efficient ANN-SNN conversion",
    doi:10.24963/ijcai.2022/347; here the negative threshold is 0.

    Raises:
        ParameterError: other neurons, or a reset to zero.

    Example:
        >>> import torch
        >>> from ratespike import simulate
        >>> network = nn.Sequential(IntegrateAndFire(max_rate=1000))
        >>> early = torch.tensor([1.0, -1.0, -1.0, -1.0]).reshape(4, 1, 1)  # a pulse too many, then what makes up for it
        >>> spiking = SignedSpikes().converted(network, torch.zeros(0, 1))
        >>> simulate(spiking, early, 4, start="zero", record=["0"], images_over_time=True).recordings["0"].flatten()
        tensor([ 1., -1.,  0.,  0.])
    """

    def check(self, network: nn.Module) -> None:
        neurons = [(name, module) for name, module in network.named_modules() if isinstance(module, Neuron)]
        for name, module in neurons:
            if not isinstance(module, IntegrateAndFire):
                raise ParameterError(f"{name}: is a {type(module).__name__}; only IntegrateAndFire has negative spikes")
            if module.reset != "subtract":
                raise ParameterError(f"{name}: has reset={module.reset}; negative spikes need reset=subtract")

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
        signed = copy.deepcopy(network).eval()
        for module in signed.modules():
            if isinstance(module, IntegrateAndFire):
                module.negative_spikes = True
        return signed
