"""No conversion: what was trained runs on spikes."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from ratespike.conversion.methods.base import Conversion


@dataclass(frozen=True, kw_only=True)
class AsTrained(Conversion):
    """The network as it was trained."""

    def converted(
        self,
        network: nn.Module,
        images: Float[Tensor, "batch ..."],
        dt: float = 0.001,
        *,
        start: str = "uniform",
        seed: int = 0,
    ) -> nn.Module:
        return network
