"""Against NengoDL 3.6.0 itself, which trained this network and ran it on test image 0 (`tests/data`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from program import ROOT
from torch import nn

from ratespike import simulate
from ratespike.conversion.nengodl import load_nengodl
from ratespike.data import DataSet
from ratespike.parameters import ParameterError, build
from ratespike.synapses import LowPass, NoFilter

REFERENCE = ROOT / "tests/data/nengodl_mnist_reference.npz"
LAYERS: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(ROOT / "conf/network/conv3.yaml").layers)  # type: ignore[assignment]
SHAPES = {1: (26, 26, 32), 2: (24, 24, 64), 3: (10, 10, 128)}  # height, width, channels


@pytest.fixture(scope="module")
def reference() -> Mapping[str, Any]:
    with np.load(REFERENCE) as file:
        return dict(file)


@pytest.fixture(scope="module")
def loaded() -> tuple[nn.Sequential, Any]:
    return load_nengodl(REFERENCE, LAYERS, (1, 28, 28))


@pytest.fixture(scope="module")
def image(reference: Mapping[str, Any]) -> torch.Tensor:
    return torch.tensor(reference["image"]).permute(2, 0, 1)[None]


def test_every_spike_is_nengodls(loaded: tuple[nn.Sequential, Any], image: torch.Tensor, reference: Mapping[str, Any]) -> None:
    network, start = loaded
    result = simulate(network, image, 30, start=start, record=["neuron1", "neuron2", "neuron3"])
    total = 0
    for number, shape in SHAPES.items():
        bits = np.unpackbits(reference[f"spikes{number}_packed"], axis=1)[:, : np.prod(shape)]
        expected = torch.tensor(bits).reshape(30, *shape).permute(0, 3, 1, 2)
        total += int(expected.sum())
        assert torch.equal(result.recordings[f"neuron{number}"][:, 0], expected.float())
    assert total == 34_734


@pytest.mark.slow
def test_outputs_are_nengodls_one_step_earlier(
    loaded: tuple[nn.Sequential, Any], image: torch.Tensor, reference: Mapping[str, Any]
) -> None:
    """Nengo's simulator delays what passes a synapse by one step."""
    network, start = loaded
    filtered = simulate(network, image, 30, start=start, synapse=LowPass(tau=float(reference["synapse_tau"]))).outputs[:, 0]
    assert np.abs(filtered[:-1].numpy() - reference["p_filt"][1:]).max() < 1e-5
    unfiltered = simulate(network, image, 30, start=start, synapse=NoFilter()).outputs[:, 0]
    assert np.abs(unfiltered.numpy() - reference["p"]).max() < 1e-4


def test_rate_outputs_are_nengodls(loaded: tuple[nn.Sequential, Any], reference: Mapping[str, Any]) -> None:
    config = OmegaConf.to_container(OmegaConf.load(ROOT / "conf/data/mnist.yaml"))
    test_images = build(DataSet, config, "data").load(ROOT).test  # type: ignore[arg-type, type-abstract]
    with torch.no_grad():
        rates = loaded[0](test_images[:100].as_inputs())
    assert np.abs(rates.numpy() - reference["rate_logits_first100"]).max() < 1e-4


def test_gain_and_bias_are_read_back(loaded: tuple[nn.Sequential, Any], reference: Mapping[str, Any]) -> None:
    gain, bias = loaded[0].neuron1.gain_and_bias()
    assert np.float32(gain) == reference["gain"]
    assert np.float32(bias) == reference["bias"]
    other, _ = load_nengodl({**reference, "gain": 1.5, "bias": 0.7}, LAYERS, (1, 28, 28))
    assert other.neuron1.gain_and_bias() == pytest.approx((1.5, 0.7), rel=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv2_kernel": None}, "no array conv2_kernel: did you mean conv"),
        ({"conv2_kernel": np.zeros((5, 5, 32, 64))}, r"conv2_kernel: has shape \(64, 32, 5, 5\)"),
        ({"dense_kernel": np.zeros((12, 10))}, "dense_kernel: has 12 rows, but the layer 3200 inputs"),
        ({"tau_rC": 0.02}, "array tau_rC: is none of the network's; did you mean tau_rc?"),
        ({"lif1_v": np.zeros(12)}, "array lif1_v: is none of the network's; did you mean lif1_v0?"),
        ({"lif4_v0": np.zeros(12)}, "array lif4_v0: is none of the network's"),
        ({"tau_rc": np.array([0.02, 0.03])}, r"array tau_rc: has the shape \(2,\); must be one number"),
        ({"gain": np.nan}, "array gain: holds float64; must be finite numbers"),
        ({"gain": np.zeros(3)}, "array gain: is 0"),
        ({"conv2_kernel": np.zeros((3, 3, 32))}, r"conv2_kernel: has the shape \(3, 3, 32\); must have 2 or 4 axes"),
        ({"dense_bias": np.array(["a"])}, "array dense_bias: holds <U1; must be finite numbers"),
        ({"lif1_v0": np.zeros(12)}, "lif1_v0: has 12 values, but the layer 21632"),
    ],
)
def test_arrays_that_do_not_fit(reference: Mapping[str, Any], change: Mapping[str, Any], message: str) -> None:
    arrays = {name: value for name, value in {**reference, **change}.items() if value is not None}
    with pytest.raises(ParameterError, match=message):
        load_nengodl(arrays, LAYERS, (1, 28, 28))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"nowhere\.npz: no such file"):
        load_nengodl(tmp_path / "nowhere.npz", LAYERS, (1, 28, 28))
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(ParameterError, match=r"text\.npz: is damaged, or no \.npz file"):
        load_nengodl(tmp_path / "text.npz", LAYERS, (1, 28, 28))
