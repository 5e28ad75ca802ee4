"""A loss that is no number is refused with the layer where it came from; `tests/system/test_numerics.py` trains into one."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from ratespike.neurons import LIF
from ratespike.parameters import ParameterError
from ratespike.pipeline.finite_loss import check_finite

IMAGES = torch.ones(2, 1, 2, 2)


def network() -> nn.Sequential:
    layers = OrderedDict(flatten=nn.Flatten(), hidden=nn.Linear(4, 3), neuron=LIF(), out=nn.Linear(3, 2), scale=nn.Linear(2, 2))
    return nn.Sequential(layers)


def refusal(made: nn.Sequential, loss: torch.Tensor) -> str:
    with pytest.raises(ParameterError) as error:
        check_finite(loss, made, IMAGES)
    assert "try a smaller optimizer.lr" in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_first_layer_whose_weights_are_wrong_is_named(value: float) -> None:
    made = network()
    with torch.no_grad():
        made.out.weight[1, 2] = value
        made.scale.bias.fill_(value)
    line = refusal(made, torch.tensor([1.0, value]))
    assert f"the loss is {value}: layer out: 1 of 6 values of its weight are NaN or infinite" in line


def test_the_first_layer_whose_sums_are_too_large_is_named() -> None:
    made = network()
    with torch.no_grad():
        made.out.weight.fill_(3e38)
        made.out.bias.fill_(3e38)
        made.hidden.bias.fill_(1e6)  # the neurons fire at their highest rate
        made.neuron.amplitude = 1.0
    loss = made(IMAGES).sum()
    assert not loss.isfinite()
    assert "layer out: its outputs are NaN or infinite" in refusal(made, loss)
    assert not made.out._forward_hooks, "the network has kept a hook"


def test_a_loss_that_no_layer_explains() -> None:
    assert "the outputs of all layers on rates are finite" in refusal(network(), torch.tensor(float("nan")))


def test_a_finite_loss_asks_nothing_of_the_network() -> None:
    check_finite(torch.tensor(1e30), None, IMAGES)  # type: ignore[arg-type]
