"""NeuroBench's harness counts the same network with the same spikes, in an environment of its own.

It counts a network as its modules are. The simulation counts it with pooling and the spikes' height folded into the weights. So
each network is counted twice: as it is, where each difference is computed here, and folded, where there is none.
"""

import copy
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peers import environment_with
from torch import Tensor, nn
from torch.nn import functional as F

from ratespike import simulate
from ratespike.neurons import LIF, IntegrateAndFire, Neuron
from ratespike.simulation import Simulation

pytestmark = [pytest.mark.system, pytest.mark.filterwarnings("ignore:.*spikes will be fewer than its rate says")]

STEPS = 12
PACKAGES = ("neurobench==2.3.0", "snntorch==1.0.0")  # what they need besides is here
PROGRAM = Path(__file__).parent / "neurobench_programs/count.py"
UNIT_HEIGHT = {"max_rate": 1000.0}  # at dt = 1 ms a spike is 1
IMAGES = torch.rand(6, 1, 12, 12, generator=torch.Generator().manual_seed(1)) * (
    torch.rand(6, 1, 12, 12, generator=torch.Generator().manual_seed(2)) < 0.6
)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with NeuroBench, which finds PyTorch in this one."""
    return environment_with(PACKAGES, tmp_path_factory.mktemp("neurobench"))


def conv_average(neuron: type[Neuron], **parameters: Any) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        neuron(**parameters),
        nn.AvgPool2d(2),
        nn.Conv2d(8, 12, 3),
        neuron(**parameters),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(48, 5),
    )


def dense(neuron: type[Neuron], **parameters: Any) -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(144, 40), neuron(**parameters), nn.Linear(40, 20), neuron(**parameters), nn.Linear(20, 5)
    )


def conv_norm(neuron: type[Neuron], **parameters: Any) -> nn.Sequential:
    """Batch normalisation in front of the neurons and average pooling behind, as in a VGG."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        neuron(**parameters),
        nn.Conv2d(8, 8, 3, padding=1, groups=2, bias=False),
        nn.BatchNorm2d(8),
        neuron(**parameters),
        nn.AvgPool2d(2),
        nn.Conv2d(8, 12, 3, stride=2, padding=1),
        neuron(**parameters),
        nn.Flatten(),
        nn.Linear(108, 5),
    )


def made(build: Any, neuron: type[Neuron], pruned: float = 0.0, **parameters: Any) -> nn.Sequential:
    """A network most of whose neurons fire, part of whose weights may be 0."""
    torch.manual_seed(0)
    network: nn.Sequential = build(neuron, **parameters)
    for module in network:
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.data.mul_(3)
            module.weight.data[torch.rand_like(module.weight) < pruned] = 0
        elif isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


NETWORKS = {
    "conv, average pooling, IF": made(conv_average, IntegrateAndFire, **UNIT_HEIGHT),
    "conv, average pooling, LIF": made(conv_average, LIF, max_rate=300),
    "dense, IF": made(dense, IntegrateAndFire, **UNIT_HEIGHT),
    "dense, LIF": made(dense, LIF, max_rate=300),
    "batch norm, average pooling, IF": made(conv_norm, IntegrateAndFire, **UNIT_HEIGHT),
    "batch norm, average pooling, LIF": made(conv_norm, LIF, max_rate=300),
    "pruned conv, IF": made(conv_average, IntegrateAndFire, pruned=0.6, **UNIT_HEIGHT),
    "pruned dense, LIF": made(dense, LIF, pruned=0.6, max_rate=300),
}


@dataclass(frozen=True)
class Counted:
    """A network, its simulation, and what NeuroBench counts of it for an image."""

    result: Simulation
    as_it_is: dict[str, Any]
    folded: dict[str, Any]

    def mean(self, values: Tensor) -> float:
        """Over images, of all steps."""
        return float(values.sum(0).double().mean())


def folded(network: nn.Sequential) -> nn.Sequential:
    """The same without average poolings: the next layer has a kernel that is as much larger."""
    layers: list[nn.Module] = []
    pool: nn.AvgPool2d | None = None
    for module in copy.deepcopy(network):
        if isinstance(module, nn.AvgPool2d):
            pool = module
            continue
        if pool is not None and isinstance(module, nn.Conv2d):
            wide = nn.Conv2d(module.in_channels, module.out_channels, 6, 2 * module.stride[0], 2 * module.padding[0])
            wide.weight.data = module.weight.data.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4
            module, pool = wide, None
        if pool is not None and isinstance(module, nn.Linear):
            side = int((module.in_features / 12) ** 0.5)
            places = module.weight.data.unflatten(1, (12, side, side))
            wide_weight = places.repeat_interleave(2, 2).repeat_interleave(2, 3).flatten(1) / 4
            wide_matrix = nn.Linear(wide_weight.shape[1], module.out_features)
            wide_matrix.weight.data = wide_weight
            module, pool = wide_matrix, None
        layers.append(module)
    return nn.Sequential(*layers).eval()


def neurobench(python: Path, folder: Path, network: nn.Sequential, recorded: dict[str, Tensor], image_once: bool) -> Any:
    """What NeuroBench counts of a network whose neurons send recorded spikes."""
    folder.mkdir()
    plain = nn.Sequential(*(nn.Identity() if isinstance(module, Neuron) else module for module in network)).eval()
    torch.save(plain, folder / "network.pt")
    np.savez(folder / "recorded.npz", **{name: values.numpy() for name, values in recorded.items()})
    subprocess.run([python, PROGRAM, folder, str(int(image_once))], check=True)
    return json.loads((folder / "counts.json").read_text())


@pytest.fixture(scope="module", params=NETWORKS)
def counted(request: pytest.FixtureRequest, python: Path, tmp_path_factory: pytest.TempPathFactory) -> Counted:
    network = NETWORKS[request.param]
    folder = tmp_path_factory.mktemp("counts")
    layers = [name for name, module in network.named_modules() if isinstance(module, Neuron)]
    result = simulate(network, IMAGES, STEPS, record=layers, engine="torch")
    heights = [network.get_submodule(name).scale / 0.001 for name in layers]
    recorded = {"images": IMAGES}
    unit = {"images": IMAGES}
    for number, (name, height) in enumerate(zip(layers, heights, strict=True)):
        assert result.recordings[name].max() == 1
        unit[f"spikes{number}"] = result.recordings[name]
        recorded[f"spikes{number}"] = result.recordings[name] * height
        unit[f"voltages{number}"] = recorded[f"voltages{number}"] = result.voltages[name]
    return Counted(
        result,
        neurobench(python, folder / "as_it_is", network, recorded, image_once=False),
        neurobench(python, folder / "folded", folded(network), unit, image_once=True),
    )


def test_footprint_and_sparsities_are_the_same(counted: Counted) -> None:
    cost = counted.result.cost
    assert cost is not None
    assert counted.as_it_is["Footprint"] == cost.footprint_bytes
    assert counted.as_it_is["ConnectionSparsity"] == round(cost.connection_sparsity, 4)
    spikes = sum(float(counts.sum()) for counts in counted.result.spike_counts.values())
    assert counted.as_it_is["ActivationSparsity"] == pytest.approx(1 - spikes / (cost.neurons * STEPS * len(IMAGES)))


def test_the_folded_network_makes_the_same_operations(counted: Counted) -> None:
    """The image is shown in the first step alone, as its current is computed once."""
    found = counted.folded["SynapticOperations"]
    assert found["Effective_ACs"] == pytest.approx(counted.mean(counted.result.accumulates), rel=1e-12)
    assert found["Effective_MACs"] == pytest.approx(counted.mean(counted.result.multiply_accumulates), rel=1e-12)
    assert min(found["Effective_ACs"], found["Effective_MACs"]) > 0


def test_the_dense_operations_are_those_of_the_plain_network_in_each_step(counted: Counted) -> None:
    cost = counted.result.cost
    assert cost is not None
    assert counted.as_it_is["SynapticOperations"]["Dense"] == STEPS * cost.plain_operations


def test_as_it_is_the_image_is_multiplied_in_each_step_and_what_would_be_folded_too(
    counted: Counted, request: pytest.FixtureRequest
) -> None:
    """Spikes of height 1 in front of a weight are accumulates; others are products, of which a pooled cell makes one a step."""
    network = NETWORKS[request.node.callspec.params["counted"]]
    result = counted.result
    merged = 0.0  # accumulates that a pooled cell makes once
    modules = list(network.named_children())
    for (name, _), (_, behind), (_, next_one) in zip(modules, modules[1:], [*modules[2:], ("", nn.Flatten())], strict=False):
        if name not in result.recordings:
            continue
        if isinstance(behind, nn.AvgPool2d):
            cells = 4 * F.avg_pool2d(result.recordings[name].flatten(0, 1), 2)  # spikes in a cell
            weights = next_one if isinstance(next_one, nn.Conv2d) else network[-1]
            once = (cells > 0).float()
            merged += float(made_by(weights, cells) - made_by(weights, once))
    n_images = len(IMAGES)
    found = counted.as_it_is["SynapticOperations"]
    folded_acs = counted.mean(result.folded_accumulates)
    image = STEPS * counted.mean(result.multiply_accumulates)
    assert found["Effective_ACs"] == pytest.approx(counted.mean(result.accumulates) - folded_acs)
    assert found["Effective_MACs"] == pytest.approx(image + folded_acs - merged / n_images)
    print(f"\n{request.node.callspec.params['counted']}: accumulates {counted.mean(result.accumulates):.0f}, of which")
    print(f"folded {folded_acs:.0f}; NeuroBench as it is: {found}")


def made_by(layer: nn.Module, signal: Tensor) -> Tensor:
    """The operations of a signal in a layer, each value of which counts as often as it says."""
    connections = (layer.weight.detach() != 0).float()  # type: ignore[union-attr, operator]
    if isinstance(layer, nn.Conv2d):
        return F.conv2d(signal, connections, None, layer.stride, layer.padding, 1, layer.groups).double().sum()
    return (signal.flatten(1) @ connections.T).double().sum()


def test_membrane_updates_are_an_upper_bound_of_those_that_change_something(counted: Counted) -> None:
    """NeuroBench leaves out a membrane whose voltage has not changed, behind the first step."""
    changed = 0
    for voltages in counted.result.voltages.values():
        changed += voltages[0].numel() + int(voltages.diff(dim=0).count_nonzero())
    cost = counted.result.cost
    assert cost is not None
    assert counted.as_it_is["MembraneUpdates"] == pytest.approx(changed / len(IMAGES))
    assert counted.as_it_is["MembraneUpdates"] <= cost.neurons * STEPS


def test_both_engines_count_the_same(counted: Counted, request: pytest.FixtureRequest) -> None:
    network = NETWORKS[request.node.callspec.params["counted"]]
    found = simulate(network, IMAGES, STEPS, engine="event_driven")
    assert torch.equal(found.accumulates, counted.result.accumulates)
    assert torch.equal(found.multiply_accumulates, counted.result.multiply_accumulates)
    assert found.cost == counted.result.cost


def test_behind_a_max_pooling_every_spike_that_arrives_counts(python: Path, tmp_path: Path) -> None:
    """Those that leave the windows are fewer: NeuroBench gets them in place of neurons and pooling together."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), IntegrateAndFire(max_rate=1000), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(288, 5)
    ).eval()
    network[0].weight.data.mul_(3)
    result = simulate(network, IMAGES, STEPS, record=["1"], engine="torch")
    sums = result.recordings["1"].cumsum(0)
    largest = F.max_pool2d(sums.flatten(0, 1), 2).unflatten(0, sums.shape[:2])
    left = torch.cat([largest[:1], largest.diff(dim=0)])
    without_pool = nn.Sequential(network[0], network[1], network[3], network[4])
    recorded = {"images": IMAGES, "spikes0": left, "voltages0": torch.zeros_like(left)}
    found = neurobench(python, tmp_path / "left", without_pool, recorded, image_once=True)["SynapticOperations"]
    assert found["Effective_ACs"] == pytest.approx(5 * float(left.sum()) / len(IMAGES))
    assert result.cost is not None and result.cost.folded == ()
    arrived = float(result.accumulates.sum()) / len(IMAGES)
    assert arrived == pytest.approx(5 * float(result.recordings["1"].sum()) / len(IMAGES))
    print(f"\nmax pooling: {arrived:.0f} accumulates of spikes that arrive, {found['Effective_ACs']:.0f} of those that leave")
    assert found["Effective_ACs"] < arrived
