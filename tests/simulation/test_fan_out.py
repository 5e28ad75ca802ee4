"""The weights that a spike meets, against the places that it changes, counted one by one."""

import copy

import pytest
import torch
from torch import nn

from ratespike import simulate
from ratespike.neurons import LIF, SpikingRectifiedLinear
from ratespike.parameters import ParameterError
from ratespike.simulation.fan_out import fan_out
from ratespike.simulation.probe import trace


def weights_met(layers: list[nn.Module], shape: tuple[int, ...]) -> torch.Tensor:
    found = trace(nn.Sequential(LIF(), *layers).eval(), torch.zeros(1, *shape))
    return fan_out(found).weights_met["0"]


def counted(layers: list[nn.Module], shape: tuple[int, ...]) -> torch.Tensor:
    """For a single weight layer at the end: how many outputs each input changes."""
    network = copy.deepcopy(nn.Sequential(*layers)).double().eval()
    jacobian = torch.autograd.functional.jacobian(network, torch.zeros(1, *shape).double())
    return (jacobian != 0).flatten(0, jacobian.dim() - len(shape) - 1).sum(0).double()


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([nn.Linear(6, 5)], (6,)),
        ([nn.Linear(6, 5)], (3, 6)),
        ([nn.Conv2d(4, 6, 3, padding=1, stride=2)], (4, 7, 6)),
        ([nn.Conv2d(4, 6, (2, 3), groups=2, dilation=2)], (4, 7, 6)),
        ([nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2)], (4, 3, 4)),
        ([nn.Conv1d(2, 3, 3, padding=2)], (2, 8)),
        ([nn.Conv3d(2, 3, 2)], (2, 3, 4, 3)),
        ([nn.AvgPool2d(2), nn.Conv2d(3, 4, 2)], (3, 7, 6)),
        ([nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 5)], (3, 4, 6)),
        ([nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(36, 5)], (3, 4, 3)),
        ([nn.Flatten(), nn.ReLU(), nn.Linear(36, 5)], (3, 4, 3)),
        ([nn.ZeroPad2d((1, 0, 0, 2)), nn.PixelShuffle(2), nn.Conv2d(1, 2, 3)], (4, 3, 4)),
    ],
    ids=str,
)
def test_each_spike_meets_the_weights_that_its_place_reaches(layers: list[nn.Module], shape: tuple[int, ...]) -> None:
    if any(isinstance(layer, nn.ReLU) for layer in layers):
        expected = counted([layer for layer in layers if not isinstance(layer, nn.ReLU)], shape)
    else:
        expected = counted(layers, shape)
    assert torch.equal(weights_met(layers, shape), expected)


def test_each_path_of_a_spike_counts() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.neuron, self.wide, self.narrow = LIF(), nn.Linear(3, 7), nn.Linear(3, 2)
            self.behind = nn.Linear(9, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            spikes = self.neuron(x)
            return self.behind(torch.cat([self.wide(spikes), self.narrow(spikes)], 1))

    met = fan_out(trace(Branches().eval(), torch.zeros(1, 3))).weights_met["neuron"]
    assert met.tolist() == [7 + 2 + 9 * 5] * 3


def test_fan_out_of_a_network() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), LIF(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(2, 5), LIF(), nn.Linear(5, 3))
    counted = fan_out(trace(network.eval(), torch.zeros(1, 1, 4, 4)))
    assert counted.image_operations == 2 * 4 * 9
    assert torch.equal(counted.weights_met["1"], torch.full((2, 2, 2), 5.0, dtype=torch.float64))
    assert torch.equal(counted.weights_met["5"], torch.full((5,), 3.0, dtype=torch.float64))
    assert counted.output_shape == (3,) and counted.largest_layer == 8


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["torch", "event_driven"])
def test_each_event_of_the_image_meets_the_weights_of_its_place(engine: str) -> None:
    """At a corner of 4 x 4 pixels one window of 3 x 3 holds the event, in the middle four; two neurons hear each window."""
    network = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), SpikingRectifiedLinear(), nn.Flatten(), nn.Linear(8, 3))
    nn.init.constant_(network[0].weight, -1)  # nothing spikes but the image
    height = 1 / (70 * 0.001)
    events = torch.zeros(5, 2, 1, 4, 4)
    events[0, 0, 0, 0, 0] = height
    events[2, 0, 0, 1, 2] = 3 * height
    events[2, 1, 0, 3, 1] = height
    events[4, 1, 0, 2, 2] = height
    result = simulate(network, events, 5, start="zero", engine=engine, images_over_time=True, event_height=height)
    assert result.synaptic_operations.T.tolist() == [[2, 0, 3 * 8, 0, 0], [0, 0, 4, 0, 8]]
    frames = simulate(network, events, 5, start="zero", engine=engine, images_over_time=True)
    assert frames.synaptic_operations.unique().tolist() == [2 * 4 * 9], (
        "images that are no events meet all weights in each step"
    )


def test_events_need_images_over_time_and_a_height() -> None:
    network = nn.Sequential(nn.Linear(2, 3), LIF(), nn.Linear(3, 2))
    with pytest.raises(ParameterError, match="event_height=10: needs images_over_time"):
        simulate(network, torch.zeros(2, 2), 1, event_height=10)
    with pytest.raises(ParameterError, match="event_height=0: must be a number above 0"):
        simulate(network, torch.zeros(1, 2, 2), 1, images_over_time=True, event_height=0)
