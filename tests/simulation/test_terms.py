"""Weighted sums of spikes: several that are one convolution together are one."""

import pytest
import torch
from torch import Tensor, nn

from ratespike.neurons import LIF
from ratespike.simulation.probe import trace
from ratespike.simulation.weighted_sums import weighted_sums


class Around(nn.Module):
    """Convolutions of neurons, and the neurons themselves, added."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.first, self.neuron = nn.Conv2d(1, 4, 3), LIF()
        self.wide = nn.Conv2d(4, 4, 5, padding=2, groups=groups)
        self.narrow = nn.Conv2d(4, 4, 3, padding=1, groups=groups)
        self.second, self.last = LIF(), nn.Linear(4 * 36, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.neuron(self.first(x))
        return self.last(self.second(2 * x + self.narrow(x) - self.wide(x)).flatten(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_ways_around_a_convolution_are_in_its_kernel(groups: int) -> None:
    torch.manual_seed(0)
    network = Around(groups).double().eval()
    (term,) = weighted_sums(trace(network, torch.rand(2, 1, 8, 8).double()), dt=0.001).layers[1].terms
    spikes = torch.randint(3, (2, 4, 6, 6)).double()
    with torch.no_grad():
        biases = (network.narrow.bias - network.wide.bias).reshape(-1, 1, 1)
        expected = 2 * spikes + network.narrow(spikes) - network.wide(spikes) - biases
    assert torch.allclose(term.applied(spikes) * (0.001 / network.neuron.scale), expected, rtol=1e-12, atol=1e-12)
    assert term.convolution is not None
    assert term.convolution.weight.shape == (4, 4 // groups, 5, 5)


def test_a_way_around_a_convolution_of_another_stride_is_not() -> None:
    torch.manual_seed(0)
    network = Around(1).eval()
    network.narrow.stride = (2, 2)
    network.forward = lambda x: network.narrow(h := network.neuron(network.first(x))).mean((2, 3)) + h.mean((2, 3))  # type: ignore[method-assign]
    assert len(weighted_sums(trace(network, torch.rand(2, 1, 8, 8)), dt=0.001).output.terms) == 2
