"""How many weights a spike meets, against the connections counted one by one."""

import pytest
import torch
from torch import nn

from ratespike.neurons import LIF
from ratespike.simulation.fan_out import fan_out, weights_met
from ratespike.simulation.segments import split_into_segments
from ratespike.synapses import LowPass

CPU = torch.device("cpu")


def connections(layer: nn.Module, shape: tuple[int, ...]) -> torch.Tensor:
    """By place in front of a layer, how many places behind it change when that place does."""
    jacobian = torch.autograd.functional.jacobian(layer, torch.zeros(1, *shape))
    places_behind = jacobian.dim() - len(shape)
    return (jacobian != 0).flatten(0, places_behind - 1).sum(0).double()


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([nn.Conv2d(2, 6, 3, padding=1)], (2, 5, 5)),
        ([nn.Conv2d(2, 6, 3, stride=2, groups=2)], (2, 6, 6)),
        ([nn.Conv2d(1, 3, (3, 2), dilation=2)], (1, 7, 7)),
        ([nn.AvgPool2d(2), nn.Conv2d(1, 4, 2)], (1, 7, 7)),
        ([nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 7)], (2, 5, 5)),
        ([nn.Linear(6, 4)], (6,)),
        ([nn.Linear(6, 4)], (3, 5, 6)),
        ([nn.Linear(6, 4), nn.Identity()], (3, 6)),
    ],
    ids=repr,
)
def test_each_connection_is_a_weight(layers: list[nn.Module], shape: tuple[int, ...]) -> None:
    expected = connections(nn.Sequential(*layers), shape)
    assert torch.equal(weights_met(tuple(layers), torch.Size(shape), CPU), expected)


def test_cells_that_pooling_drops_meet_no_weight() -> None:
    met = weights_met((nn.AvgPool2d(2), nn.Flatten(), nn.Linear(2 * 2 * 2, 7)), torch.Size([2, 5, 5]), CPU)
    assert torch.equal(met[:, :4, :4], torch.full((2, 4, 4), 7.0, dtype=torch.float64))
    assert not met[:, 4].any(), "the last row"
    assert not met[:, :, 4].any(), "the last column"


def test_two_weight_layers_in_a_row_count_each_path() -> None:
    met = weights_met((nn.Linear(3, 4), nn.Linear(4, 5)), torch.Size([3]), CPU)
    assert met.tolist() == [4 + 4 * 5] * 3


def test_fan_out_of_a_network() -> None:
    """Its filter is no layer, and the weights behind the last neurons lead to the output."""
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3), LIF(), LowPass(tau=0.005), nn.Flatten(), nn.Linear(8, 6), LIF(), nn.Linear(6, 3)
    )
    counted = fan_out(split_into_segments(network), torch.zeros(1, 1, 4, 4))
    assert counted.first_operations == 2 * 4 * 9  # channels, places, weights of a kernel
    assert list(counted.weights_met) == ["1", "5"]
    assert torch.equal(counted.weights_met["1"], torch.full((2, 2, 2), 6.0, dtype=torch.float64))
    assert torch.equal(counted.weights_met["5"], torch.full((6,), 3.0, dtype=torch.float64))
    assert counted.output_shape == (3,)
    assert counted.largest_layer == 8
