"""Networks with neurons that fire often, for tests of exports."""

import torch
from torch import Tensor, nn

from ratespike.network import Added
from ratespike.neurons import Neuron


class Gained(nn.Module):
    """Multiplies and shifts each channel, as a forward of one's own may."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("gain", torch.linspace(0.8, 1.2, channels).reshape(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain + 0.01


def every_layer(neuron: type[Neuron], **parameters: object) -> nn.Sequential:
    """Convolutions with and without groups, normalisation, a way around, pooling and dense layers, for images (2, 9, 9)."""
    torch.manual_seed(0)

    def spiking() -> Neuron:
        return neuron(**parameters)

    inside = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1, groups=3), nn.BatchNorm2d(6), spiking())
    network = nn.Sequential(
        nn.Conv2d(2, 6, 3),
        spiking(),
        Added(inside),
        Gained(6),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 4, 2, stride=2, bias=False),
        nn.BatchNorm2d(4),
        spiking(),
        nn.Flatten(),
        nn.Linear(4, 8),
        spiking(),
        nn.Linear(8, 5),
    )
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.1, 0.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.bias, 0.1, 0.4)
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.data.mul_(2.5)
    return network.eval()


def some_images(count: int = 3) -> Tensor:
    return torch.rand(count, 2, 9, 9, generator=torch.Generator().manual_seed(1))
