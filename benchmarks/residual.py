"""What ways around layers cost: a residual network against the network of `problem.py`, with as many operations an image.

python benchmarks/residual.py [rounds]

Both make 18.2 million multiply-adds in a dense pass. The residual network's weights are random; the maximal rate of its
neurons is set so that its spikes cause as many synaptic operations as those of the other network. The two take turns.
"""

import statistics
import sys
import time

import torch
from problem import BATCH, STEPS, load
from torch import Tensor, nn

from ratespike import simulate
from ratespike.neurons import LIF

N_IMAGES = 1000


class Block(nn.Module):
    """A convolution and a way around it."""

    def __init__(self, channels: int, max_rate: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.neuron = LIF(max_rate=max_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, channels, height, width), as `x` has it."""
        return self.neuron(self.conv(x) + x)  # type: ignore[no-any-return]


def residual(max_rate: float) -> nn.Sequential:
    """The network of `problem.py` with two layers of 64 channels, one with a way around it, in place of one of 128."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), LIF(max_rate=max_rate)),
        *(nn.Conv2d(32, 64, 3), LIF(max_rate=max_rate), nn.AvgPool2d(2)),
        *(nn.Conv2d(64, 64, 3), LIF(max_rate=max_rate), Block(64, max_rate), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(64 * 5 * 5, 10)),
    )


def _operations(network: nn.Module, images: Tensor) -> float:
    return float(simulate(network, images[:50], STEPS).synaptic_operations.sum(0).mean())


def _milliseconds(network: nn.Module, images: Tensor) -> float:
    """An image."""
    began = time.perf_counter()
    for first in range(0, len(images), BATCH):
        batch = images[first : first + BATCH]
        simulate(network, batch, STEPS, engine="event_driven", image_index=torch.arange(first, first + len(batch)))
    return 1000 * (time.perf_counter() - began) / len(images)


def main() -> None:
    """Match the operations, then take turns."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    problem = load(N_IMAGES)
    wanted = _operations(problem.network, problem.images)
    low, high = 10.0, 400.0
    for _ in range(12):
        middle = (low + high) / 2
        if _operations(residual(middle), problem.images) < wanted:
            low = middle
        else:
            high = middle
    network = residual(low)
    print(f"{wanted / 1e6:.1f} and {_operations(network, problem.images) / 1e6:.1f} million operations; max_rate={low:.0f} Hz")
    _milliseconds(network, problem.images)
    ratios = []
    for number in range(rounds):
        pair = [problem.network, network] if number % 2 else [network, problem.network]
        took = {id(each): _milliseconds(each, problem.images) for each in pair}
        ratios.append(took[id(network)] / took[id(problem.network)])
    print(f"residual / plain: {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")


if __name__ == "__main__":
    main()
