import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from ratespike.network import build_network

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository root of its own, so that a program's database and outputs stay apart."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copy(ROOT / "train.py", folder)
    shutil.copytree(ROOT / "conf", folder / "conf")
    (folder / "data").symlink_to(ROOT / "data")
    return folder


@pytest.fixture
def conv_network() -> nn.Sequential:
    """Two convolutions with pooling, borders and every kind of layer, with firing neurons."""
    torch.manual_seed(0)
    layers = {
        "conv1": {"type": "Conv", "filters": 8, "kernel": 3, "padding": 1},
        "neuron1": {"type": "Neurons"},
        "pool1": {"type": "AveragePool", "size": 2},
        "drop1": {"type": "Dropout", "p": 0.5},
        "conv2": {"type": "Conv", "filters": 16, "kernel": 3, "stride": 2, "groups": 2},
        "neuron2": {"type": "Neurons", "neuron": {"type": "SpikingRectifiedLinear", "intercept": -0.1}},
        "filter2": {"type": "Filter", "synapse": {"type": "LowPass", "tau": 0.005}},
        "dense1": {"type": "Dense", "units": 20},
        "neuron3": {"type": "Neurons"},
        "dense": {"type": "Dense", "units": 10},
    }
    return build_network(layers, {"type": "LIF", "intercept": -0.2}, (1, 13, 13), 10)
