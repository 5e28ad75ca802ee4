"""A NIR file in Nengo, whose LIF step is exact too: the same spikes, with the time constants as they are in the file."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import every_layer, some_images
from torch import Tensor
from torch.nn import functional as F

from ratespike import simulate
from ratespike.exchange.nir import write_nir
from ratespike.neurons import LIF

nir = pytest.importorskip("nir")
nengo = pytest.importorskip("nengo")

DT = 0.001


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")  # of Nengo, for a gain of 1
def test_nengo_counts_the_same_spikes(tmp_path: Path) -> None:
    network = every_layer(LIF, max_rate=300, intercept=-0.3, tau_ref=0.0, min_voltage=None).double()
    image = some_images(1).double()
    write_nir(network, tmp_path / "a.nir", image)
    spikes = in_nengo(nir.read(tmp_path / "a.nir"), image[0], n_steps=40)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*spikes will be fewer than its rate says", UserWarning)
        result = simulate(network, image, 40, DT, start="zero", record=["1", "2.inside.2", "7", "10"])
    for name, recording in result.recordings.items():
        found = spikes[name.replace(".", "_")]
        assert found.sum() > 20
        assert np.array_equal(found, recording.flatten(1).numpy()), name


def in_nengo(graph: Any, image: Tensor, n_steps: int) -> dict[str, Any]:
    """The spikes of each neuron node over time, by Nengo; connections without a synapse take no time."""
    with nengo.Network() as model:
        sources, targets, probes = {}, {}, {}
        for name, node in graph.nodes.items():
            kind = type(node).__name__
            if kind == "Input":
                sources[name] = nengo.Node(image.flatten().numpy())
            elif kind == "LIF":
                (tau,) = np.unique(node.tau)
                neuron = nengo.LIF(
                    tau_rc=tau, tau_ref=0, min_voltage=-1e9, amplitude=DT, initial_state={"voltage": nengo.dists.Choice([0])}
                )
                size = node.tau.size
                layer = nengo.Ensemble(size, 1, neuron_type=neuron, gain=np.ones(size), bias=np.zeros(size))
                sources[name] = targets[name] = layer.neurons
                probes[name] = nengo.Probe(layer.neurons)
            elif kind != "Output":
                shape = np.asarray(node.input_type["input"]).astype(int).tolist()
                sources[name] = targets[name] = nengo.Node(applied(node, shape), size_in=int(np.prod(shape)))
        for source, target in graph.edges:
            if target in targets:
                nengo.Connection(sources[source], targets[target], synapse=None)
    nengo.rc.set("decoder_cache", "enabled", "False")
    with nengo.Simulator(model, dt=DT, progress_bar=False) as simulator:
        simulator.run_steps(n_steps, progress_bar=False)
    return {name: simulator.data[probe] for name, probe in probes.items()}


def applied(node: Any, shape: list[int]) -> Any:
    """What a node without time does to a vector of values."""

    def function(time: float, x: Any) -> Any:
        values = torch.from_numpy(np.array(x)).reshape(1, *shape)
        kind = type(node).__name__
        if kind == "Affine":
            values = F.linear(values, torch.tensor(node.weight), torch.tensor(node.bias))
        elif kind == "Conv2d":
            strides, paddings = tuple(map(int, node.stride)), tuple(map(int, node.padding))
            values = F.conv2d(values, torch.tensor(node.weight), torch.tensor(node.bias), strides, paddings)
        elif kind == "SumPool2d":
            size = tuple(map(int, node.kernel_size))
            values = F.avg_pool2d(values, size, tuple(map(int, node.stride))) * float(np.prod(size))
        else:
            assert kind == "Flatten", kind
        return values.flatten().numpy()

    return function
