"""NIR files: what is written computes by NIR's formulas what the network does; what is read, what the file says."""

import tracemalloc
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import every_layer, some_images
from nir_formulas import simulated
from torch import Tensor, nn

from ratespike import Simulation, simulate
from ratespike.exchange.nir import read_nir, write_nir
from ratespike.neurons import LIF, IntegrateAndFire, Neuron, PoissonSpiking, SpikingRectifiedLinear, State
from ratespike.parameters import ParameterError
from ratespike.synapses import Alpha, LowPass

nir = pytest.importorskip("nir")

STEPS = 40
FORGETS = {"max_rate": 600, "reset": "zero", "threshold": 0.8}  # of IntegrateAndFire
LEAKS = {"max_rate": 300, "tau_ref": 0.0, "min_voltage": None, "intercept": -0.3}  # of LIF


@pytest.fixture(autouse=True)
def _no_warning_of_short_refractory_times() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*spikes will be fewer than its rate says", UserWarning)
        yield


def recorded(network: nn.Module, images: Tensor, dt: float = 0.001) -> Simulation:
    """A simulation from zero with the spikes of all layers."""
    layers = [name for name, module in network.named_modules() if isinstance(module, Neuron)]
    return simulate(network, images, STEPS, dt, start="zero", readout="mean", record=layers)


@pytest.mark.parametrize(("neuron", "parameters"), [(IntegrateAndFire, FORGETS), (LIF, LEAKS)])
def test_a_file_says_what_the_network_does(neuron: type[Neuron], parameters: dict[str, Any], tmp_path: Path) -> None:
    network = every_layer(neuron, **parameters).double()
    images = some_images().double()
    report = write_nir(network, tmp_path / "a.nir", images)
    assert (report.lost, report.loss) == ({}, None)
    result = recorded(network, images)
    spikes, outputs = simulated(nir.read(tmp_path / "a.nir"), images, STEPS, 0.001)
    of_network = [result.recordings[name] for name in sorted(result.recordings)]
    of_file = [spikes[name] for name in sorted(spikes)]
    assert len(of_network) == 4
    for expected, found in zip(of_network, of_file, strict=True):
        assert expected.sum() > 30
        assert torch.equal(expected.double(), found)
    means = outputs.cumsum(0) / torch.arange(1, STEPS + 1).reshape(-1, 1, 1)
    assert torch.allclose(means, result.outputs, atol=1e-9)


@pytest.mark.parametrize(("neuron", "parameters"), [(IntegrateAndFire, FORGETS), (LIF, LEAKS)])
def test_what_was_written_is_read(neuron: type[Neuron], parameters: dict[str, Any], tmp_path: Path) -> None:
    network = every_layer(neuron, **parameters).double()
    images = some_images().double()
    write_nir(network, tmp_path / "a.nir", images)
    again = read_nir(tmp_path / "a.nir", dtype=torch.float64)
    assert torch.allclose(again(images), network(images), atol=1e-9)  # on rates
    expected, found = recorded(network, images), recorded(again, images)
    assert list(found.recordings) == [name.replace(".", "_") for name in expected.recordings]
    for name, spikes in expected.recordings.items():
        assert torch.equal(spikes, found.recordings[name.replace(".", "_")]), name
    assert torch.allclose(found.outputs, expected.outputs, atol=1e-9)


def test_a_voltage_at_its_threshold_fires(tmp_path: Path) -> None:
    """NIR's neuron fires above its threshold, this one at it."""
    network = nn.Sequential(nn.Linear(1, 1, bias=False), IntegrateAndFire(max_rate=1024, reset="zero"))
    network[0].weight.data.fill_(0.25)
    image, dt = torch.ones(1, 1), 2**-10
    write_nir(network, tmp_path / "a.nir", image, dt=dt)
    spikes, _ = simulated(nir.read(tmp_path / "a.nir"), image, 8, dt)
    read = read_nir(tmp_path / "a.nir", dt=dt)
    for found in (spikes["1"][:, 0, 0], simulate(read, image, 8, dt, start="zero", record=["1"]).recordings["1"][:, 0, 0]):
        assert found.tolist() == [0, 0, 0, 1] * 2


def test_a_filter_is_a_leaky_integrator(tmp_path: Path) -> None:
    network = nn.Sequential(IntegrateAndFire(**FORGETS), LowPass(tau=0.01), nn.Linear(3, 2), LowPass(tau=0.05)).double()
    images = torch.rand(4, 3, dtype=torch.float64)
    write_nir(network, tmp_path / "a.nir", images)
    graph = nir.read(tmp_path / "a.nir")
    assert [type(node).__name__ for node in graph.nodes.values()].count("LI") == 2
    _, outputs = simulated(graph, images, STEPS, 0.001)
    expected = recorded(network, images).outputs
    means = outputs.cumsum(0) / torch.arange(1, STEPS + 1).reshape(-1, 1, 1)
    assert torch.allclose(means, expected, atol=1e-9)
    assert torch.allclose(recorded(read_nir(tmp_path / "a.nir", dtype=torch.float64), images).outputs, expected, atol=1e-9)


def test_a_file_for_eulers_step_counts_the_same_spikes(tmp_path: Path) -> None:
    """With physical time constants Euler's step counts others, by as much as the report says."""
    network = every_layer(LIF, **LEAKS).double()
    images = some_images().double()
    counts = [spikes.sum(0).double() for spikes in recorded(network, images).recordings.values()]
    report = write_nir(network, tmp_path / "exact.nir", images, n_steps=STEPS)
    assert write_nir(network, tmp_path / "euler.nir", images, update="euler").euler is None
    assert report.euler is not None
    deviations = {}
    for name in ("euler", "exact"):
        spikes, _ = simulated(nir.read(tmp_path / f"{name}.nir"), images, STEPS, 0.001, euler=True)
        off = [(found.sum(0) - expected).abs().sum() for found, expected in zip(spikes.values(), counts, strict=True)]
        deviations[name] = [float(each / expected.sum()) for each, expected in zip(off, counts, strict=True)]
    assert deviations["euler"] == [0, 0, 0, 0]
    assert deviations["exact"] == pytest.approx(list(report.euler.layers.values()), rel=1e-6)
    assert 0.005 < max(deviations["exact"]) < 0.2
    read = read_nir(tmp_path / "exact.nir", update="euler", dtype=torch.float64)
    spikes, _ = simulated(nir.read(tmp_path / "exact.nir"), images, STEPS, 0.001, euler=True)
    for name, found in recorded(read, images).recordings.items():
        assert torch.equal(found.double(), spikes[name]), name


@pytest.mark.parametrize(
    ("neuron", "reason"),
    [
        (IntegrateAndFire(), "1: reset=subtract: in NIR a spike sets the voltage to v_reset; lossy=true"),
        (IntegrateAndFire(negative_spikes=True), "negative_spikes=True: NIR has none"),
        (IntegrateAndFire(reset="zero", min_voltage=0.0), "min_voltage=0: NIR has no floor"),
        (LIF(min_voltage=None), "1: tau_ref=0.002: NIR has no refractory time; lossy=true"),
        (LIF(tau_ref=0.0), "min_voltage=0: NIR has no floor"),
        (SpikingRectifiedLinear(), "several spikes a step"),
    ],
)
def test_what_nir_cannot_say_is_refused_or_measured(neuron: Neuron, reason: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 30), neuron, nn.Linear(30, 3))
    network[0].weight.data.mul_(4)
    images = torch.rand(20, 4)
    with pytest.raises(ParameterError, match=reason):
        write_nir(network, tmp_path / "a.nir", images)
    assert not list(tmp_path.iterdir())
    report = write_nir(network, tmp_path / "a.nir", images, n_steps=STEPS, lossy=True)
    assert list(report.lost) == ["1"] and report.loss is not None
    spikes, _ = simulated(nir.read(tmp_path / "a.nir"), images, STEPS, 0.001)
    counts = recorded(network, images).recordings["1"].sum(0)
    lost = float((spikes["1"].sum(0) - counts).abs().sum() / counts.abs().sum())
    assert report.loss.layers["1"] == pytest.approx(lost, abs=0.02)  # float32 there, float64 here
    assert "spike counts differ by 1 " in report.loss.in_words()


@dataclass(eq=False, repr=False, kw_only=True)
class StartsHalfWay(IntegrateAndFire):
    def initial_state(self, voltage: Tensor) -> State:
        return super().initial_state(voltage + 0.5)


@dataclass(eq=False, repr=False, kw_only=True)
class Rectifies(LIF):
    def current(self, x: Tensor) -> Tensor:
        return super().current(x).relu()


@dataclass(eq=False, repr=False, kw_only=True)
class HasAnotherRate(IntegrateAndFire):
    def firing_rate(self, current: Tensor) -> Tensor:
        return super().firing_rate(current) * 0.9


def test_a_neuron_with_spikes_of_its_own_is_refused(tmp_path: Path) -> None:
    for neuron in (StartsHalfWay(**FORGETS), Rectifies(**LEAKS)):
        with pytest.raises(ParameterError, match=f"0: {type(neuron).__name__}: NIR has no such neuron"):
            write_nir(nn.Sequential(neuron), tmp_path / "a.nir", torch.rand(2, 4), lossy=True)
    assert not write_nir(nn.Sequential(HasAnotherRate(**FORGETS)), tmp_path / "a.nir", torch.rand(2, 4)).lost


class Concatenated(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, x], dim=1)


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([PoissonSpiking(neuron=LIF())], "0: PoissonSpiking: NIR has no such neuron"),
        ([IntegrateAndFire(**FORGETS), nn.MaxPool2d(2)], "1: NIR has no node for max_pool2d_with_indices"),
        ([IntegrateAndFire(**FORGETS), Alpha()], "1: NIR has no filter Alpha"),
        ([IntegrateAndFire(**FORGETS), Concatenated()], "1: NIR has no node for cat"),
        ([IntegrateAndFire(**FORGETS), nn.Conv2d(2, 2, (1, 3))], "1: NIR has no node for a kernel that is no square"),
        ([IntegrateAndFire(**FORGETS), nn.ConvTranspose2d(2, 2, 3)], "1: NIR has no node for a transposed convolution"),
    ],
)
def test_an_operation_that_nir_does_not_have_is_named(layers: list[nn.Module], reason: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=reason):
        write_nir(nn.Sequential(*layers), tmp_path / "a.nir", some_images(), lossy=True)
    assert not list(tmp_path.iterdir())


def chain(*nodes: Any) -> Any:
    return nir.NIRGraph.from_list(*nodes)


def of(*values: float) -> Any:
    return np.array(values, dtype=np.float32)


def test_graphs_of_others_are_simulated_as_their_formulas_say(tmp_path: Path) -> None:
    """Thresholds and resistances of each neuron, a leak that is not 0, a graph inside, a way around."""
    random = np.random.default_rng(0)
    inner = nir.NIRGraph(
        nodes={
            "in": nir.Input(np.array([3])),
            "neuron": nir.LIF(
                tau=of(0.01, 0.01, 0.01),
                r=of(2, 3, 4),
                v_leak=of(-1, -1, 0),
                v_threshold=of(0.1, 1, 0.5),
                v_reset=of(-1, -1, 0),
            ),
            "out": nir.Output(np.array([3])),
        },
        edges=[("in", "neuron"), ("neuron", "out")],
    )
    graph = nir.NIRGraph(
        nodes={
            "input": nir.Input(np.array([4])),
            "w": nir.Affine(random.normal(size=(3, 4)), random.normal(size=3)),
            "if": nir.IF(r=of(1, 0.5, 2), v_threshold=of(1, 2, 0.5)),
            "linear": nir.Linear(random.normal(size=(3, 3))),
            "inner": inner,
            "scale": nir.Scale(of(1, 2, 3)),
            "output": nir.Output(np.array([3])),
        },
        edges=[
            ("input", "w"),
            ("w", "if"),
            ("if", "linear"),
            ("w", "linear"),
            ("linear", "inner"),
            ("inner", "scale"),
            ("scale", "output"),
            ("if", "output"),
        ],
    )
    nir.write(tmp_path / "a.nir", graph)
    network = read_nir(tmp_path / "a.nir", dtype=torch.float64)
    images = torch.rand(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2
    result = simulate(network, images, STEPS, start="zero", readout="mean", record=["if", "inner_neuron"])
    voltages = {"if": torch.zeros(5, 3).double(), "lif": torch.tensor([-1.0, -1, 0]).double().expand(5, 3)}
    for step in range(STEPS):  # by hand
        w = images @ torch.tensor(graph.nodes["w"].weight).T + torch.tensor(graph.nodes["w"].bias)
        voltages["if"] = voltages["if"] + torch.tensor([1, 0.5, 2]) * w
        fires = voltages["if"] > torch.tensor([1, 2, 0.5])
        voltages["if"] = voltages["if"].masked_fill(fires, 0)
        assert torch.equal(fires.double(), result.recordings["if"][step])
        current = (fires.double() + w) @ torch.tensor(graph.nodes["linear"].weight).T
        leak, resistance = torch.tensor([-1.0, -1, 0]), torch.tensor([2.0, 3, 4])
        share = 1 - np.exp(-0.001 / np.float64(np.float32(0.01)))
        voltages["lif"] = voltages["lif"] + (leak + resistance * current - voltages["lif"]) * share
        spikes = voltages["lif"] > torch.tensor([0.1, 1, 0.5])
        voltages["lif"] = torch.where(spikes, leak.double(), voltages["lif"])
        assert torch.equal(spikes.double(), result.recordings["inner_neuron"][step])
    assert min(float(spikes.sum()) for spikes in result.recordings.values()) > 20


def test_a_current_based_neuron_has_a_synapse(tmp_path: Path) -> None:
    tau = of(0.02, 0.02)
    node = nir.CubaLIF(tau_syn=tau / 4, tau_mem=tau, r=of(1, 2), v_leak=of(0, 0), v_threshold=of(1, 1), w_in=of(3, 4))
    nir.write(tmp_path / "a.nir", chain(nir.Affine(np.eye(2), np.ones(2)), node))
    result = simulate(read_nir(tmp_path / "a.nir"), torch.ones(1, 2), STEPS, start="zero", record=["cubalif"])
    voltage = current = torch.zeros(2)
    counts = torch.zeros(2)
    for _ in range(STEPS):  # by hand, for an input of 2
        current = current + (torch.tensor([3.0, 4]) * 2 - current) * (1 - np.exp(-0.2))
        voltage = voltage + (torch.tensor([1.0, 2]) * current - voltage) * (1 - np.exp(-0.05))
        counts += voltage > 1
        voltage = voltage.masked_fill(voltage > 1, 0)
    assert result.recordings["cubalif"].sum(0)[0].tolist() == counts.tolist()
    assert counts.min() > 5


def lif(**changes: Any) -> Any:
    fields = {"tau": of(0.02, 0.02), "r": of(1, 1), "v_leak": of(0, 0), "v_threshold": of(1, 1)}
    return nir.LIF(**fields | changes)


LINEAR = nir.Linear(np.ones((2, 2), np.float32))


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([LINEAR, lif(tau=of(0.02, 0.01))], "lif: tau differs between neurons"),
        ([LINEAR, lif(v_reset=of(0.5, 0.5))], "lif: v_reset is not v_leak"),
        ([LINEAR, lif(v_threshold=of(0, 1))], "lif: v_threshold is not above v_leak"),
        ([LINEAR, lif(r=of(np.nan, 1))], "lif: r is not finite"),
        ([LINEAR, nir.IF(r=of(1, 1), v_threshold=of(1, 1), v_reset=of(0.1, 0.1))], "if: v_reset of an IF is not 0"),
        ([LINEAR, nir.IF(r=of(1, 1), v_threshold=of(0, 1))], "if: v_threshold is not above 0"),
        ([LINEAR, nir.Threshold(of(1, 1))], "threshold: ratespike has nothing like NIR's Threshold"),
        ([LINEAR, nir.Delay(of(1, 1))], "delay: ratespike has nothing like NIR's Delay"),
        ([LINEAR, nir.LI(tau=of(1, 1), r=of(1, 1), v_leak=of(0, 1))], "li: v_leak of an LI is not 0"),
    ],
)
def test_a_node_that_ratespike_does_not_have_is_refused(nodes: list[Any], reason: str, tmp_path: Path) -> None:
    nir.write(tmp_path / "a.nir", chain(*nodes))
    with pytest.raises(ParameterError, match=f"a.nir: {reason}"):
        read_nir(tmp_path / "a.nir")


def graph_of(nodes: dict[str, Any], edges: list[tuple[str, str]]) -> Any:
    ends = {"input": nir.Input(np.array([2])), "output": nir.Output(np.array([2]))}
    return nir.NIRGraph(nodes=ends | nodes, edges=edges, type_check=False)


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (graph_of({"a": LINEAR, "b": LINEAR}, [("input", "a"), ("a", "b"), ("b", "a"), ("b", "output")]), "goes in a circle"),
        (graph_of({"a": LINEAR}, [("input", "a"), ("b", "output")]), "an edge leads to b, which is no node"),
        (graph_of({"a": LINEAR}, [("input", "a")]), "nothing leads"),
        (graph_of({"other": nir.Input(np.array([2]))}, [("input", "output")]), "has 2 nodes of the kind Input"),
        (
            graph_of({"a": nir.Linear(np.ones((2, 3)))}, [("input", "a"), ("a", "output")]),
            "a: does not fit values of the shape",
        ),
        (
            nir.NIRGraph(
                {"i": nir.Input(np.array([10**6, 10**6])), "o": nir.Output(np.array([1]))}, [("i", "o")], type_check=False
            ),
            r"i: values of the shape \(1000000, 1000000\): must be above 0, and not more than",
        ),
    ],
)
def test_a_graph_that_is_none_for_ratespike_is_refused(graph: Any, reason: str, tmp_path: Path) -> None:
    nir.write(tmp_path / "a.nir", graph)
    with pytest.raises(ParameterError, match=f"a.nir: {reason}"):
        read_nir(tmp_path / "a.nir")


def test_a_file_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    nir.write(tmp_path / "good.nir", chain(LINEAR))
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["weight"] = np.ones((2, 2))
    for name, change in {
        "external link": lambda node: node.__setitem__("weight", h5py.ExternalLink(str(secret), "weight")),
        "soft link": lambda node: node.__setitem__("weight", h5py.SoftLink("/version")),
        "external numbers": lambda node: node.create_dataset("weight", (2, 2), "f8", external=[(str(secret), 0, 32)]),
        "virtual numbers": lambda node: node.create_virtual_dataset("weight", _virtual(h5py, secret)),
        "too many": lambda node: node.create_dataset("weight", (2**20, 2**12), "f4", chunks=(2**10, 2**10)),
        "a group in itself": lambda node: node.__setitem__("weight", node.file["node"]),
    }.items():
        path = tmp_path / f"{name}.nir"
        path.write_bytes((tmp_path / "good.nir").read_bytes())
        with h5py.File(path, "r+") as file:
            node = file["node/nodes/linear"]
            del node["weight"]
            change(node)
        with pytest.raises(ParameterError, match=r"somewhere else|another file|more than|more numbers") as error:
            read_nir(path)
        assert "\n" not in str(error.value)


def _virtual(h5py: Any, source: Path) -> Any:
    layout = h5py.VirtualLayout((2, 2), "f8")
    layout[:] = h5py.VirtualSource(str(source), "weight", (2, 2))
    return layout


def test_a_small_file_with_too_many_numbers_is_refused(tmp_path: Path) -> None:
    """HDF5 keeps only the chunks that were written: a weight of 67 million numbers of a byte is a file of some kB."""
    h5py = pytest.importorskip("h5py")
    nir.write(tmp_path / "a.nir", chain(LINEAR))
    with h5py.File(tmp_path / "a.nir", "a") as file:
        node = file["node/nodes/linear"]
        del node["weight"]
        node.create_dataset("weight", (8192, 8192), "i1", chunks=(1024, 1024), compression="gzip")
    assert (tmp_path / "a.nir").stat().st_size < 100_000
    with pytest.raises(ParameterError, match=r"a\.nir: holds more numbers than are read \(67108864 in all\)"):
        read_nir(tmp_path / "a.nir")


def test_one_number_for_all_neurons_takes_the_memory_of_one(tmp_path: Path) -> None:
    one = np.ones(1, np.float32)
    neuron = nir.LIF(tau=one, r=one, v_leak=one * 0, v_threshold=one)
    nodes = {"input": nir.Input(np.array([2**26])), "lif": neuron, "output": nir.Output(np.array([2**26]))}
    graph = nir.NIRGraph(nodes=nodes, edges=[("input", "lif"), ("lif", "output")], type_check=False)
    nir.write(tmp_path / "a.nir", graph)
    tracemalloc.start()
    try:
        read_nir(tmp_path / "a.nir")
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


def test_files_that_are_no_nir_are_refused_in_a_line(tmp_path: Path) -> None:
    nir.write(tmp_path / "good.nir", chain(LINEAR))
    whole = (tmp_path / "good.nir").read_bytes()
    random = np.random.default_rng(0)
    (tmp_path / "bad.nir").write_bytes(b"no HDF5")
    with pytest.raises(ParameterError, match="is no NIR file that can be read"):
        read_nir(tmp_path / "bad.nir")
    with pytest.raises(ParameterError, match="no such file"):
        read_nir(tmp_path / "none.nir")
    for _ in range(60):
        damaged = bytearray(whole[: random.integers(1, len(whole))] if random.random() < 0.3 else whole)
        for place in random.integers(0, len(damaged), 8):
            damaged[place] = random.integers(256)
        (tmp_path / "bad.nir").write_bytes(damaged)
        try:
            read_nir(tmp_path / "bad.nir")
        except ParameterError as error:
            assert len(str(error).splitlines()) == 1


def test_wrong_words_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="update=rk4: must be one of exact, euler"):
        read_nir(tmp_path / "a.nir", update="rk4")
    with pytest.raises(ParameterError, match="reset=soft: must be one of zero, subtract"):
        read_nir(tmp_path / "a.nir", reset="soft")
    fast = nn.Sequential(LIF(tau_rc=0.0008, **{key: value for key, value in LEAKS.items() if key != "intercept"}))
    assert write_nir(fast, tmp_path / "a.nir", torch.rand(2, 3)).euler is None
    with pytest.raises(ParameterError, match=r"a time constant of 0\.0008 s: Euler's step needs one above dt=0\.001 s"):
        read_nir(tmp_path / "a.nir", update="euler")
