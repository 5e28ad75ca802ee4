"""ONNX files: ONNX Runtime computes the network's rates, and in 30 steps the spikes of the simulation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import every_layer, some_images
from torch import Tensor, nn

from ratespike import simulate
from ratespike.exchange.onnx import METADATA, write_rates, write_step
from ratespike.neurons import LIF, IntegrateAndFire, Neuron
from ratespike.synapses import Alpha, LowPass

pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.system  # each export takes seconds; `test_page.py` has one in `make test`

NEURONS: list[tuple[type[Neuron], dict[str, Any]]] = [
    (LIF, {"max_rate": 300, "intercept": -0.2, "sigma": 0.02}),
    (LIF, {"max_rate": 150, "tau_ref": 0.0015}),
    (IntegrateAndFire, {"max_rate": 500}),
]


def session(path: Path) -> Any:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("neuron", "parameters"), NEURONS, ids=["soft", "hard", "if"])
def test_onnx_runtime_agrees_on_rates_and_on_spikes(neuron: type[Neuron], parameters: dict[str, Any], tmp_path: Path) -> None:
    network = every_layer(neuron, **parameters)
    network.insert(2, LowPass(tau=0.003))
    write_rates(network, tmp_path / "rates.onnx", some_images())
    step = write_step(network, tmp_path / "step.onnx", some_images(), 0.001, Alpha(tau=0.01))
    rates, steps = session(tmp_path / "rates.onnx"), session(tmp_path / "step.onnx")
    for batch in (1, 5):
        images = some_images(batch)
        (found,) = rates.run(None, {"images": images.numpy()})
        assert np.abs(found - network(images).detach().numpy()).max() < 1e-5
        result = simulate(network, images, 30, start="zero", synapse=Alpha(tau=0.01), engine="torch", record=step.layers)
        spikes, outputs = stepped(steps, images, 30)
        for name in step.layers:
            assert result.recordings[name].sum() > 10
            assert np.array_equal(spikes[name], result.recordings[name].numpy()), name
        assert np.abs(outputs - result.outputs.numpy()).max() < 1e-4 * float(result.outputs.abs().max())


def stepped(steps: Any, images: Tensor, n_steps: int) -> tuple[dict[str, Any], Any]:
    """The spikes of each layer and the outputs over time, as the file's names and metadata say, without ratespike."""
    described = json.loads(steps.get_modelmeta().custom_metadata_map[METADATA])
    names = [output.name for output in steps.get_outputs()]
    state = {}
    for tensor in described["state"]:
        state[tensor["name"]] = np.full((len(images), *tensor["shape"]), tensor["at_zero"], tensor["dtype"])
    spikes: dict[str, list[Any]] = {name: [] for name in described["layers"]}
    outputs = []
    for _ in range(n_steps):
        results = dict(zip(names, steps.run(None, {"images": images.numpy(), **state}), strict=True))
        state = {name: results[f"{name}.next"] for name in state}
        outputs.append(results["outputs"])
        for name, counts in spikes.items():
            counts.append(results[f"{name}.spikes"])
    return {name: np.stack(counts) for name, counts in spikes.items()}, np.stack(outputs)


def test_small_voltages_are_not_lost_in_float32(tmp_path: Path) -> None:
    """With exp(x) - 1 in float32 the share of a step of 10 microseconds is wrong by 1e-4."""
    network = nn.Sequential(LIF(max_rate=100, tau_rc=0.1))
    step = write_step(network, tmp_path / "step.onnx", torch.ones(1, 1), 1e-5)
    (_, _, voltage, _) = session(tmp_path / "step.onnx").run(
        None, {"images": np.ones((1, 1), np.float32), **{tensor.name: tensor.start(1).numpy() for tensor in step.state}}
    )
    expected = float(network[0].current(torch.ones(1, dtype=torch.float64))) * -np.expm1(-1e-5 / 0.1)
    assert voltage.item() == pytest.approx(expected, rel=1e-6)
