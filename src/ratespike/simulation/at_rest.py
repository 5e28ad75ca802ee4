"""What arrives at each layer when no neuron spikes: the images and biases, through the network's own forward, in float64."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ratespike.neurons import Neuron
from ratespike.simulation.forward import evaluation_copy
from ratespike.simulation.weighted_sums import Target, WeightedSums
from ratespike.stateful import Stateful, replaced


class _SeenEnoughError(BaseException):
    """Ends a forward of which nothing more is needed."""


class AtRest:
    """Computes what arrives at the layers and at the output.

    Args:
        network: in eval mode.
        sums: the network's layers.
        zeros: an image of zeros, shape (1, ...), in float64.

    Attributes:
        of_zeros: by number of the target, what arrives for an image of zeros, shape (1, channels, height, width).
    """

    def __init__(self, network: nn.Module, sums: WeightedSums, zeros: Tensor) -> None:
        self._targets: Sequence[Target] = [*sums.layers, sums.output]  # the output's number is the last
        self._network = _in_float64(network)
        self.of_zeros = self._run(zeros, range(len(self._targets)))

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
                    arrived[len(self._targets) - 1] = self._network(images)
            except _SeenEnoughError:
                pass
        return {number: self._targets[number].map.laid_out(arrived[number]) for number in wanted}


def _in_float64(network: nn.Module) -> nn.Module:
    """A copy whose parameters and buffers are in float64."""
    copied = evaluation_copy(network)
    for module in copied.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.is_floating_point():
                module._parameters[name] = nn.Parameter(parameter.detach().double(), requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_floating_point():
                module._buffers[name] = buffer.double()
    return copied
