"""Poolings and a weight layer folded into one convolution, against the layers one after the other."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ratespike.simulation.event_driven.errors import UnsupportedError
from ratespike.simulation.event_driven.folding import Pooling, cell_members, fold, spike_height_in_cell, weight_stack


def image(*shape: int) -> torch.Tensor:
    return torch.rand(1, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(4, 6, (2, 3), stride=(2, 1)),
        nn.Conv2d(4, 6, 3, padding=1, bias=False),
        nn.Conv2d(4, 6, 3, groups=2, dilation=(1, 2)),
        nn.Conv2d(4, 6, (3, 2), padding="same"),
        nn.Conv2d(4, 6, 3, padding="valid"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("pools", [[], [nn.AvgPool2d(2)], [nn.AvgPool2d((1, 2)), nn.AvgPool2d(2, stride=1)]], ids=repr)
@pytest.mark.filterwarnings("ignore:Using padding='same'")  # PyTorch: an even kernel may cost it a copy
def test_poolings_behind_a_convolution(convolution: nn.Conv2d, pools: list[nn.AvgPool2d]) -> None:
    layers = nn.Sequential(convolution, *pools).double()
    folded = fold(weight_stack(list(layers)), (4, 12, 13))
    weight, bias = torch.from_numpy(folded.weight), torch.from_numpy(folded.bias)
    expected = layers(image(4, 12, 13))
    result = F.conv2d(image(4, 12, 13), weight, bias, folded.stride, folded.padding, groups=folded.groups)
    assert folded.out_shape((4, 12, 13)) == expected.shape[1:]
    assert torch.allclose(result, expected, rtol=0, atol=1e-12)


def test_a_dense_layer_covers_the_grid() -> None:
    layer = nn.Linear(4 * 3 * 2, 5).double()
    folded = fold(weight_stack([nn.Flatten(), layer]), (4, 3, 2))
    result = F.conv2d(image(4, 3, 2), torch.from_numpy(folded.weight), torch.from_numpy(folded.bias))
    assert torch.allclose(result.flatten(1), layer(image(4, 3, 2).flatten(1)))


@pytest.mark.parametrize(
    "pools",
    [
        [],
        [nn.AvgPool2d(2)],
        [nn.AvgPool2d(3, stride=2, padding=1)],
        [nn.AvgPool2d(3, stride=1), nn.AvgPool2d(2, stride=1)],  # the windows overlap: pixels count several times
    ],
    ids=repr,
)
def test_poolings_in_front_are_cells(pools: list[nn.AvgPool2d]) -> None:
    stack = weight_stack([*pools, nn.Conv2d(1, 1, 1)])
    pixels = image(1, 7, 8)
    expected = nn.Sequential(*pools)(pixels)[0, 0]
    rows = cell_members(7, stack.before, axis=0)
    columns = cell_members(8, stack.before, axis=1)
    assert (len(rows), len(columns)) == expected.shape
    height = spike_height_in_cell(stack, 1.0)
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            total = sum(float(pixels[0, 0, i, j]) for i in row for j in column)
            assert abs(total * height - float(expected[y, x])) < 1e-12, f"cell {y}, {x}"


def test_a_border_cell_has_fewer_members() -> None:
    pool = Pooling(size=(3, 3), stride=(2, 2), padding=(1, 1))
    assert cell_members(5, [pool], axis=0) == ((0, 1), (1, 2, 3), (3, 4))


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([nn.AvgPool2d(2)], "0 weight layers"),
        ([nn.ReLU(), nn.Linear(2, 2)], "the layer ReLU"),
        ([nn.AvgPool2d(2, ceil_mode=True), nn.Linear(2, 2)], "the layer AvgPool2d"),
        ([nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")], "the layer Conv2d"),
        ([nn.Conv2d(1, 1, 3), nn.AvgPool2d(2, padding=1)], "a pooling with padding behind a weight layer"),
    ],
)
def test_what_cannot_be_folded_is_named(layers: list[nn.Module], reason: str) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        fold(weight_stack(layers), (1, 8, 8))
