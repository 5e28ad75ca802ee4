"""Weights in safetensors: what was written is read, and nothing else."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import ratespike
from ratespike.config.schemas import RunConfig
from ratespike.exchange.safetensors import read_safetensors, write_safetensors
from ratespike.network import build_network
from ratespike.parameters import ParameterError
from ratespike.pipeline.checkpoint import Checkpoint, load, read_checkpoint, write_checkpoint

pytest.importorskip("safetensors")

LAYERS = {
    "conv": {"type": "Conv", "filters": 3, "kernel": 3},
    "norm": {"type": "BatchNorm"},
    "neuron": {"type": "Neurons"},
    "dense": {"type": "Dense"},
}


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return build_network(LAYERS, {"type": "LIF", "tau_rc": 0.03}, (2, 5, 5), 4)


def description(**changes: Any) -> dict[str, Any]:
    settings = {"network": {"layers": LAYERS}, "neuron": {"type": "LIF", "tau_rc": 0.03}}
    return Checkpoint(settings, (2, 5, 5), ("a", "b", "c", "ü"), {}, (0.0, 1.0)).description() | changes


def test_the_same_network_is_loaded(network: nn.Sequential, tmp_path: Path) -> None:
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as trainings keep it
    path = tmp_path / "a.safetensors"
    write_safetensors(path, network.state_dict(), description())
    loaded = ratespike.load(path)
    assert str(loaded) == str(network) and not loaded.training
    images = torch.rand(3, 2, 5, 5)
    assert torch.equal(loaded(images), network.eval()(images))
    write_checkpoint(tmp_path / "a.ckpt", network, description())
    both = read_checkpoint(path), read_checkpoint(tmp_path / "a.ckpt")
    assert both[0].description() == both[1].description()
    assert all(torch.equal(weights, both[1].state[name]) for name, weights in both[0].state.items())
    assert both[0].config.keys() == RunConfig.__dataclass_fields__.keys()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"config": {"neuron": {"_target_": "os.system"}}}, "its settings are not plain data: neuron holds the key '_target_'"),
        ({"config": {"network": {"layers": LAYERS}, "neuron": {"type": "Evil"}}}, "neuron.type=Evil"),
        ({"classes": 5, "class_names": list("abcde")}, "its weights do not fit the network of its settings"),
        ({"classes": -1}, "must be whole numbers above 0"),
        ({"classes": 10**8}, r"classes=100000000: the largest of its weights have 108 numbers"),
        ({"image_shape": [1, 10**5, 10**5]}, r"has 10000000000 values; must have 67108864 at most"),
        ({"config": None}, "its settings are not plain data"),
    ],
)
def test_settings_are_checked_as_those_of_a_checkpoint(
    changes: dict[str, Any], reason: str, network: nn.Sequential, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    write_safetensors(path, network.state_dict(), description(**changes))
    with pytest.raises(ParameterError, match=reason) as error:
        load(path)
    assert len(str(error.value).splitlines()) == 1


def test_damaged_files_are_refused_in_a_line(network: nn.Sequential, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_safetensors(path, network.state_dict(), description())
    whole = path.read_bytes()
    for content in (b"", whole[:7], whole[:300], whole[:-1], struct.pack("<Q", 2**62) + whole[8:], b"\x80\x04" + whole):
        path.write_bytes(content)
        with pytest.raises(ParameterError, match=r"a\.safetensors: (cannot be read|not a checkpoint)") as error:
            load(path)
        assert len(str(error.value).splitlines()) == 1
    with pytest.raises(ParameterError, match="no such file"):
        load(tmp_path / "b.safetensors")


def test_weights_of_others_have_no_settings(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"weight": torch.ones(2)}, tmp_path / "a.safetensors")
    with pytest.raises(ParameterError, match="holds weights without the settings"):
        read_safetensors(tmp_path / "a.safetensors")
    save_file({"weight": torch.ones(2)}, tmp_path / "a.safetensors", {"ratespike": json.dumps([1])[:-1]})
    with pytest.raises(ParameterError, match="cannot be read"):
        read_safetensors(tmp_path / "a.safetensors")
