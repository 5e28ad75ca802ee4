"""Networks from their specification: names, shapes, initial weights, and errors that name the key."""

import pytest
import torch
from torch import nn

from ratespike import simulate
from ratespike.network import Layer, build_network
from ratespike.neurons import LIF, SpikingRectifiedLinear
from ratespike.parameters import ParameterError, build

NEURON = {"type": "LIF"}


def test_layers_become_named_modules(conv_network: nn.Sequential) -> None:
    assert [name for name, _ in conv_network.named_children()][:3] == ["conv1", "neuron1", "pool1"]
    assert isinstance(conv_network.neuron1, LIF), "the network's neuron"
    assert isinstance(conv_network.neuron2, SpikingRectifiedLinear), "a layer's own neuron"
    assert conv_network(torch.rand(3, 1, 13, 13)).shape == (3, 10)
    assert all(module.training for module in conv_network.modules())


def test_neurons_and_filters_have_no_state_in_the_state_dict(conv_network: nn.Sequential) -> None:
    assert {key.split(".")[0] for key in conv_network.state_dict()} == {"conv1", "conv2", "dense1", "dense"}


def test_glorot_uniform_has_the_limit_of_its_formula() -> None:
    layers = {"conv": {"type": "Conv", "filters": 64, "kernel": 3}, "dense": {"type": "Dense", "units": 10}}
    network = build_network(layers, NEURON, (32, 5, 5), 10, "glorot_uniform")
    limit = (6 / (32 * 9 + 64 * 9)) ** 0.5
    weights = network.conv.weight.detach()
    assert float(weights.abs().max()) == pytest.approx(limit, rel=1e-3)
    assert float(weights.std()) == pytest.approx(limit / 3**0.5, rel=0.02)
    assert not network.conv.bias.any()


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"a": {"type": "Cnov"}}, "network.layers.a.type=Cnov: did you mean Conv"),
        ({"a": {"type": "Conv", "filters": 3, "kernel": 9}}, "network.layers.a.kernel=9: must be at most the image, here 8x8"),
        ({"a": {"type": "Conv", "filters": 3, "kernel": 3, "groups": 2}}, "network.layers.a.groups=2: must divide 1 channels"),
        ({"a": {"type": "AveragePool", "size": 9}}, "network.layers.a.size=9"),
        ({"a": {"type": "Dense", "units": 3}, "b": {"type": "AveragePool"}}, "network.layers.b.type: needs an image"),
        (
            {"a": {"type": "Residual", "layers": {"b": {"type": "Dense"}}}},
            "network.layers.a.layers.b.units=null: inside of another layer it must be a number",
        ),
        ({"a": {"type": "Dense", "units": 3}}, r"the output has shape \(3,\), but the data have 10 classes"),
        ({"a": {"type": "Neurons", "neuron": {"type": "LIF", "tau_rc": -1}}}, "network.layers.a.neuron.tau_rc=-1: must be"),
    ],
)
def test_layers_that_do_not_fit(layers: dict[str, dict[str, object]], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        build_network(layers, NEURON, (1, 8, 8), 10)


def test_a_wrong_common_neuron_is_named_where_the_user_set_it() -> None:
    with pytest.raises(ParameterError, match=r"^neuron\.tau_rc=-1"):
        build_network({"a": {"type": "Neurons"}}, {"type": "LIF", "tau_rc": -1}, (1, 8, 8), 10)


CONV = {"type": "Conv", "filters": 2, "kernel": 1}
RESIDUAL = {
    "conv": {"type": "Conv", "filters": 6, "kernel": 3},
    "norm": {"type": "BatchNorm"},
    "neuron": {"type": "Neurons"},
    "pool": {"type": "MaxPool"},
    "block": {
        "type": "Residual",
        "layers": {"conv": {"type": "Conv", "filters": 6, "kernel": 3, "padding": 1}, "neuron": {"type": "Neurons"}},
    },
    "dense": {"type": "Dense", "units": 4},
}


def test_a_residual_network_is_added_up_and_simulated() -> None:
    torch.manual_seed(0)
    network = build_network(RESIDUAL, {"type": "LIF", "intercept": -0.5}, (1, 10, 10), 4).eval()
    x = torch.rand(3, 1, 10, 10)
    front = network.pool(network.neuron(network.norm(network.conv(x))))
    expected = network.dense(front + network.block.inside.neuron(network.block.inside.conv(front)))
    assert torch.allclose(network(x), expected)
    assert list(simulate(network, x, 5).spike_counts) == ["neuron", "block.inside.neuron"]


def test_batch_norm_passes_on_the_scale_that_it_is_given() -> None:
    network = build_network(
        {"norm": {"type": "BatchNorm", "initial_scale": 0.3}, "dense": RESIDUAL["dense"]}, NEURON, (2, 9, 9), 4
    )
    passed_on = network.norm(5 + 7 * torch.rand(50, 2, 9, 9))
    assert torch.allclose(passed_on.std((0, 2, 3)), torch.tensor(0.3), rtol=1e-3)


def test_a_network_of_one_axis() -> None:
    layers = {
        "conv": {"type": "Conv1d", "filters": 6, "kernel": 3, "stride": 2},
        "norm": {"type": "BatchNorm"},
        "neuron": {"type": "Neurons"},
        "dense": {"type": "Dense", "units": 4},
    }
    assert build_network(layers, NEURON, (2, 11), 4)(torch.rand(3, 2, 11)).shape == (3, 4)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"type": "Residual"}, "network.layers.block.layers: must hold one layer"),
        (
            {"type": "Residual", "layers": {"c": {"type": "Conv", "filters": 2, "kernel": 1}}},
            r"has the shape \(2, 8, 8\), but their input \(1, 8, 8\)",
        ),
        (
            {"type": "Residual", "layers": {"c": {"type": "Conv", "filters": 2, "kernel": 9}}},
            "network.layers.block.layers.c.kernel=9",
        ),
        ({"type": "Residual", "layers": {"c": {"type": "Cnov"}}}, "network.layers.block.layers.c.type=Cnov: did you mean Conv"),
        ({"type": "MaxPool", "size": 9}, "network.layers.block.size=9: must be at most the image"),
        ({"type": "Conv1d", "filters": 1, "kernel": 1}, r"network.layers.block.type: needs inputs \(channels, length\)"),
    ],
)
def test_blocks_that_do_not_fit(block: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        build_network({"block": block}, NEURON, (1, 8, 8), 10)


def test_what_is_inside_a_residual_block_belongs_to_the_training() -> None:
    block = build(Layer, RESIDUAL["block"], "block").training_values(NEURON)
    wider = {
        **RESIDUAL["block"],
        "layers": {**RESIDUAL["block"]["layers"], "conv": {"type": "Conv", "filters": 7, "kernel": 3}},
    }
    assert build(Layer, wider, "block").training_values(NEURON) != block
    assert build(Layer, RESIDUAL["block"], "block").training_values({"type": "LIF", "max_rate": 50}) != block
