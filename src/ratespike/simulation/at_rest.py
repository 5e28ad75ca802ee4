"""What arrives at each layer when no neuron spikes: the images and biases, through the network's own forward, in float64."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ratespike.neurons import Neuron
from ratespike.simulation.weighted_sums import Target, WeightedSums
from ratespike.stateful import Stateful, replaced


class _SeenEnoughError(BaseException):
    """Ends a forward of which nothing more is needed."""


class AtRest:
    """Computes what arrives at the layers and at the output.

    Args:
        network: in eval mode; for one thread.
        sums: the network's layers.
        image: one, shape (1, ...): its shape and dtype matter.

    Attributes:
        of_zeros: by number of the target, what arrives for an image of zeros, shape (1, channels, height, width).
    """

    def __init__(self, network: nn.Module, sums: WeightedSums, image: Tensor) -> None:
        self._targets: Sequence[Target] = [*sums.layers, sums.output]  # the output's number is the last
        self._network = network
        self._doubles: dict[str, Tensor] = {}  # parameters and buffers, if they are not in float64
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            if tensor.is_floating_point() and tensor.dtype != torch.float64:
                self._doubles[name] = tensor.detach().double()
        self.of_zeros = self._run(torch.zeros_like(image, dtype=torch.float64), range(len(self._targets)))

    def __call__(self, images: Tensor, wanted: Sequence[int]) -> dict[int, Tensor]:
        """What arrives for images (batch, ...) at the targets of these numbers, shape (batch, channels, height, width)."""
        return self._run(images.double(), wanted)

    @torch.no_grad()
    def _run(self, images: Tensor, wanted: Sequence[int]) -> dict[int, Tensor]:
        arrived: dict[int, Tensor] = {}
        layers = 0

        def call(module: Stateful, signal: Tensor) -> Tensor:
            nonlocal layers
            if not isinstance(module, Neuron):
                return signal
            arrived[layers] = signal
            layers += 1
            if wanted and layers > max(wanted):
                raise _SeenEnoughError
            return torch.zeros_like(signal)

        if wanted:
            try:
                with replaced(call):
                    arrived[len(self._targets) - 1] = functional_call(self._network, self._doubles, images)
            except _SeenEnoughError:
                pass
        return {number: self._targets[number].map.laid_out(arrived[number]) for number in wanted}
