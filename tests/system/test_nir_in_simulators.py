"""NIR files in Norse and snnTorch, and files of theirs here, in an environment of their own."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peers import environment_with
from torch import Tensor, nn

from ratespike import simulate
from ratespike.exchange.nir import read_nir, write_nir
from ratespike.neurons import LIF, IntegrateAndFire, Neuron

pytestmark = [pytest.mark.system, pytest.mark.filterwarnings("ignore:.*spikes will be fewer than its rate says")]

STEPS = 60
PACKAGES = ("norse==1.1.0", "snntorch==1.0.0", "nirtorch==2.6")  # what they need besides is here
HERE = Path(__file__).parent / "nir_programs"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with other simulators, which finds PyTorch and NIR in this one."""
    return environment_with(PACKAGES, tmp_path_factory.mktemp("simulators"))


def network_of(neuron: type[Neuron], **parameters: Any) -> nn.Sequential:
    """Convolutions, a pooling and a dense layer, for images (1, 12, 12); most neurons fire."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3),
        neuron(**parameters),
        nn.Conv2d(8, 12, 3, padding=1),
        neuron(**parameters),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(300, 20),
        neuron(**parameters),
        nn.Linear(20, 5),
    )
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.data.mul_(3)
    return network.eval()


def images(count: int = 8) -> Tensor:
    return torch.rand(count, 1, 12, 12, generator=torch.Generator().manual_seed(1))


def counts_of(network: nn.Module, shown: Tensor, dt: float) -> dict[str, Any]:
    """By neuron layer, in order, how often each neuron has fired, of each image, from zero."""
    layers = [name for name, module in network.named_modules() if isinstance(module, Neuron)]
    result = simulate(network, shown, STEPS, dt, start="zero", record=layers)
    return {name: result.recordings[name].sum(0).numpy() for name in layers}


def run(python: Path, program: str, folder: Path, **arguments: Any) -> dict[str, Any]:
    """Run one of the programs beside this file; it reads and writes files in a folder, and returns its arrays by name."""
    np.save(folder / "images.npy", arguments.pop("shown").numpy())
    command = [python, HERE / program, folder, json.dumps({"n_steps": STEPS, **arguments})]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # snnTorch prints all time constants
    with np.load(folder / "counts.npz") as file:
        return dict(file)


def deviations(expected: dict[str, Any], found: dict[str, Any]) -> list[float]:
    """By layer, by how much spike counts differ, relative to all spikes."""
    assert len(expected) == len(found) == 3
    parts = []
    for ours, theirs in zip(expected.values(), found.values(), strict=True):
        assert ours.sum() > 150
        parts.append(float(np.abs(ours - theirs).sum() / ours.sum()))
    return parts


def test_norse_counts_the_spikes_of_integrate_and_fire(python: Path, tmp_path: Path) -> None:
    network = network_of(IntegrateAndFire, max_rate=800, reset="zero")
    write_nir(network, tmp_path / "network.nir", images())
    found = run(python, "norse_reads.py", tmp_path, shown=images(), dt=0.001)
    assert deviations(counts_of(network, images(), 0.001), found) == [0, 0, 0]


def test_norse_counts_the_spikes_of_leaky_neurons(python: Path, tmp_path: Path) -> None:
    """Norse steps by Euler: with physical time constants it counts others, with those made for Euler's step the same."""
    network = network_of(LIF, max_rate=300, tau_ref=0.0, min_voltage=None)
    expected = counts_of(network, images(), 0.001)
    report = write_nir(network, tmp_path / "network.nir", images(), n_steps=STEPS)
    physical = deviations(expected, run(python, "norse_reads.py", tmp_path, shown=images(), dt=0.001))
    assert report.euler is not None
    print(f"\nNorse, LIF, dt = 1 ms: spike counts differ by {physical}; the report says {report.euler.in_words()}")
    assert physical == pytest.approx(list(report.euler.layers.values()), abs=0.002)
    write_nir(network, tmp_path / "network.nir", images(), update="euler")
    assert deviations(expected, run(python, "norse_reads.py", tmp_path, shown=images(), dt=0.001)) == [0, 0, 0]


def test_snntorch_counts_the_spikes_of_leaky_neurons(python: Path, tmp_path: Path) -> None:
    """Its steps are of 0.1 ms, and Euler's."""
    network = network_of(LIF, max_rate=2000, tau_ref=0.0, tau_rc=0.002, min_voltage=None)
    expected = counts_of(network, images(), 1e-4)
    write_nir(network, tmp_path / "network.nir", images(), dt=1e-4, update="euler")
    assert deviations(expected, run(python, "snntorch_reads.py", tmp_path, shown=images())) == [0, 0, 0]
    report = write_nir(network, tmp_path / "network.nir", images(), dt=1e-4, n_steps=STEPS)
    physical = deviations(expected, run(python, "snntorch_reads.py", tmp_path, shown=images()))
    assert report.euler is not None
    print(f"\nsnnTorch, LIF, dt = 0.1 ms: spike counts differ by {physical}; the report says {report.euler.in_words()}")
    assert physical == pytest.approx(list(report.euler.layers.values()), abs=0.002)


def test_a_file_of_norse_is_simulated_to_its_counts(python: Path, tmp_path: Path) -> None:
    shown = torch.rand(8, 30, generator=torch.Generator().manual_seed(2))
    expected = run(python, "norse_writes.py", tmp_path, shown=shown)
    network = read_nir(tmp_path / "network.nir")
    found = counts_of(network, shown, 0.001)
    assert [np.abs(ours - theirs).sum() for ours, theirs in zip(found.values(), expected.values(), strict=True)] == [0, 0]
    assert min(counts.sum() for counts in expected.values()) > 150


def test_a_file_of_snntorch_is_simulated_to_its_counts(python: Path, tmp_path: Path) -> None:
    shown = torch.rand(8, 30, generator=torch.Generator().manual_seed(2))
    expected = run(python, "snntorch_writes.py", tmp_path, shown=shown)
    network = read_nir(tmp_path / "network.nir", dt=1e-4, update="euler")
    found = counts_of(network, shown, 1e-4)
    assert [np.abs(ours - theirs).sum() for ours, theirs in zip(found.values(), expected.values(), strict=True)] == [0, 0]
    assert min(counts.sum() for counts in expected.values()) > 150
