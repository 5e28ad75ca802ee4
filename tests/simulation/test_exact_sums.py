"""Sums that do not depend on their order: the grid of the weights, and which layers have one weighted sum."""

import pytest
import torch
from torch import nn

from ratespike.neurons import LIF
from ratespike.simulation.exact_sums import on_grid, weighted_sum
from ratespike.simulation.segments import split_into_segments


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_sums_of_weights_on_the_grid_are_exact_in_any_order() -> None:
    weight, bias = on_grid(random(5, 2000), 3 * random(5), torch.finfo(torch.float32).eps)
    order = torch.randperm(2000, generator=torch.Generator().manual_seed(1))[:500]
    exact = weight[:, order].sum(1) + bias
    for sequence in (order, order.flip(0), order.sort().values):
        total = bias.float()
        for place in sequence:
            total = total + weight[:, place].float()
        assert torch.equal(total.double(), exact)


def test_the_grid_is_as_fine_as_float32_numbers_of_the_size_of_a_sum() -> None:
    weight = random(5, 2000)
    rounded, _ = on_grid(weight, 3 * random(5), torch.finfo(torch.float32).eps)
    assert (rounded - weight).abs().max() <= torch.finfo(torch.float32).eps * 2000**0.5 / 2


def test_an_output_without_weights_stays_zero() -> None:
    weight, bias = on_grid(torch.zeros(2, 3), torch.zeros(2), 2**-23)
    assert torch.equal(weight, torch.zeros(2, 3))
    assert torch.equal(bias, torch.zeros(2))


@pytest.mark.parametrize(
    "layers",
    [
        [nn.AvgPool2d(2), nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2), nn.Identity()],
        [nn.AvgPool2d((3, 2), stride=2, padding=1), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 4, bias=False)],
        [nn.Conv2d(2, 4, 3, padding="same", dilation=2), nn.Flatten()],
    ],
    ids=repr,
)
def test_a_weighted_sum_is_the_current_of_the_layers(layers: list[nn.Module]) -> None:
    segment = split_into_segments(nn.Sequential(*layers, LIF(max_rate=150, intercept=-0.2), nn.Identity()).double())[0]
    counts = random(3, 2, 9, 9).round().abs()
    total = weighted_sum(segment, height=10)
    assert total is not None, "these layers have a weighted sum"
    assert torch.allclose(total(counts), segment.input(10 * counts), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(2, 4, 3), nn.AvgPool2d(2)],
        [nn.Conv2d(2, 4, 3), nn.AvgPool2d(2), nn.Flatten()],
        [nn.AvgPool2d(2, padding=1, count_include_pad=False), nn.Conv2d(2, 4, 3)],
        [nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect")],
        [nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 1)],
    ],
    ids=repr,
)
def test_other_layers_have_no_weighted_sum(layers: list[nn.Module]) -> None:
    assert weighted_sum(split_into_segments(nn.Sequential(*layers, LIF()))[0], height=1) is None
