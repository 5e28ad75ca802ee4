"""`simulate` on the reference engine: what it depends on, what it counts, and what it refuses."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ratespike import simulate
from ratespike.neurons import LIF, SpikingRectifiedLinear
from ratespike.parameters import ParameterError
from ratespike.synapses import LowPass, NoFilter


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(203, 1, 13, 13, generator=torch.Generator().manual_seed(1))


LAYERS = ("neuron1", "neuron2", "neuron3")


@pytest.mark.parametrize(("batch_size", "n_images"), [(1, 9), (7, 30), (200, 203)])
def test_spikes_do_not_depend_on_batch_or_order(
    conv_network: nn.Sequential, images: torch.Tensor, batch_size: int, n_images: int
) -> None:
    whole = simulate(conv_network, images, 10, record=LAYERS)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(2))[:n_images]
    parts = []
    for index in order.split(batch_size):
        parts.append(simulate(conv_network, images[index], 10, record=LAYERS, image_index=index))
    for layer in LAYERS:
        spikes = torch.cat([part.recordings[layer] for part in parts], dim=1)
        assert spikes.sum() > 20, f"{layer} hardly spikes: nothing would be compared"
        assert torch.equal(spikes, whole.recordings[layer][:, order]), layer


def test_the_network_is_left_as_it_was(conv_network: nn.Sequential, images: torch.Tensor) -> None:
    before = {key: value.clone() for key, value in conv_network.state_dict().items()}
    conv_network.conv1.eval()
    first = simulate(conv_network, images[:8], 5)
    second = simulate(conv_network, images[:8], 5)
    assert torch.equal(first.outputs, second.outputs), "a state is left over, or dropout does something"
    for name, value in conv_network.state_dict().items():
        assert torch.equal(value, before[name]), f"{name} has changed"
    assert conv_network.drop1.training, "what was in training mode is no longer"
    assert not conv_network.conv1.training, "what was in eval mode is no longer"


def test_a_short_simulation_is_the_beginning_of_a_long_one(conv_network: nn.Sequential, images: torch.Tensor) -> None:
    long = simulate(conv_network, images[:8], 12)
    short = simulate(conv_network, images[:8], 5)
    assert torch.equal(long.outputs[:5], short.outputs)
    assert torch.equal(long.synaptic_operations[:5], short.synaptic_operations)


@pytest.mark.slow
@pytest.mark.parametrize("neuron", [LIF(max_rate=150, intercept=-0.2), SpikingRectifiedLinear(max_rate=300)])
@pytest.mark.parametrize("start", ["zero", "uniform"])
def test_spikes_approach_the_rates(neuron: nn.Module, start: str) -> None:
    """With a constant current a count is the rate times the time, give or take one spike and one that the start cuts off."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 50), neuron, nn.Linear(50, 3)).double()
    images = torch.rand(8, 5).double()
    n_steps = 1000
    result = simulate(network, images, n_steps, start=start, synapse=NoFilter())
    bound = 2 * network[2].weight.abs().sum(1) / (neuron.max_rate * n_steps * 0.001)
    assert ((result.outputs.mean(0) - network(images)).abs() < bound).all()
    assert result.firing_rates_hz()["1"] > 10


def test_statistics_agree_with_the_recorded_spikes(conv_network: nn.Sequential, images: torch.Tensor) -> None:
    result = simulate(conv_network, images[:8], 10, record=LAYERS)
    assert result.neurons == {"neuron1": 8 * 13 * 13, "neuron2": 16 * 2 * 2, "neuron3": 20}
    for layer in LAYERS:
        assert torch.equal(result.recordings[layer].flatten(2).sum(2), result.spike_counts[layer])
        assert result.firing_rates_hz()[layer] == pytest.approx(float(result.recordings[layer].mean()) / 0.001)


def test_synaptic_operations_count_each_connection(conv_network: nn.Sequential, images: torch.Tensor) -> None:
    """Against the connections counted one by one, as the places that a spike changes."""
    result = simulate(conv_network, images[:3], 6, record=LAYERS)
    expected = torch.zeros(6, 3)
    behind = {
        "neuron1": nn.Sequential(conv_network.pool1, conv_network.conv2),
        "neuron2": conv_network.dense1,
        "neuron3": conv_network.dense,
    }
    for layer, next_layers in behind.items():
        shape = result.recordings[layer].shape[2:]
        jacobian = torch.autograd.functional.jacobian(next_layers, torch.zeros(1, *shape))
        connections = (jacobian != 0).flatten(0, jacobian.dim() - len(shape) - 1).sum(0)
        expected += (result.recordings[layer] * connections).flatten(2).sum(2)
    borders = 13 * 13 * 9 - 4 * 13 * 3 + 4  # each place has nine weights, at a border three less, at a corner one back
    expected[0] += 8 * borders
    assert torch.equal(result.synaptic_operations, expected)


def test_output_filter_is_the_low_pass_of_the_unfiltered_outputs(conv_network: nn.Sequential, images: torch.Tensor) -> None:
    raw = simulate(conv_network, images[:4], 15, synapse=NoFilter()).outputs
    filtered = simulate(conv_network, images[:4], 15, synapse=LowPass(tau=0.01)).outputs
    decay = math.exp(-0.1)
    expected = torch.zeros(4, 10)
    for step in range(15):
        expected = decay * expected + (1 - decay) * raw[step]
        assert torch.allclose(filtered[step], expected, atol=1e-6)


def test_start_may_be_given() -> None:
    network = nn.Sequential(nn.Linear(2, 3), SpikingRectifiedLinear(), nn.Linear(3, 2))
    start = {"1": {"voltage": torch.tensor([0.0, 5.5, 1.0])}}
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].bias.zero_()
    result = simulate(network, torch.rand(4, 2), 2, start=start, record=["1"])
    assert torch.equal(result.recordings["1"][:, 2], torch.tensor([[0.0, 5.0, 1.0], [0.0, 0.0, 0.0]]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_steps": 0}, "n_steps=0: must be a whole number at least 1"),
        ({"early_exit": 0}, "early_exit=0: must be a number above 0"),
        ({"early_exit": 2, "exit_by": "softmax"}, "early_exit=2: must be a number above 0 and at most 1"),
        ({"early_exit": 0.5, "exit_by": "stability"}, "early_exit=0.5: must be a number at least 1, or none, with"),
        ({"exit_by": "margins"}, "exit_by=margins: did you mean margin"),
        ({"dt": 0}, "dt=0: must be a number at least 1e-09 and at most 1000"),
        ({"dt": float("nan")}, "dt=nan"),
        ({"engine": "trch"}, "engine=trch: did you mean torch?"),
        ({"start": "unifrm"}, "start=unifrm: did you mean uniform?"),
        ({"record": ["neuron9"]}, "no neuron layer neuron9: did you mean neuron"),
        ({"start": {"neuron1": {"volt": torch.zeros(1)}}}, r"start\[neuron1\]\[volt\]: known: refractory_time, voltage"),
    ],
)
def test_bad_arguments(conv_network: nn.Sequential, images: torch.Tensor, options: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        simulate(conv_network, images[:1], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("last", [nn.Linear(3, 1), nn.Unflatten(1, (3, 1))], ids=repr)
def test_early_exit_needs_classes(last: nn.Module) -> None:
    with pytest.raises(ParameterError, match=r"early_exit=0.5: needs two classes or more"):
        simulate(nn.Sequential(nn.Linear(2, 3), LIF(), last), torch.rand(4, 2), early_exit=0.5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")  # PyTorch's own compiler uses it
def test_compiled_steps_make_the_spikes_of_the_reference() -> None:
    torch.manual_seed(0)
    neuron = LIF(max_rate=150, intercept=-0.2)  # one for both layers, whose sizes differ: it is compiled once
    network = nn.Sequential(nn.Linear(20, 70), neuron, nn.Linear(70, 33), neuron, nn.Linear(33, 3)).double()
    images = torch.rand(5, 20, generator=torch.Generator().manual_seed(1)).double()
    compiled = simulate(network, images, 60, record=("1", "3"), engine="torch_compiled")
    reference = simulate(network, images, 60, record=("1", "3"), engine="torch")
    for layer, spikes in reference.recordings.items():
        assert spikes.sum() > 100, f"{layer} hardly spikes: nothing would be compared"
        assert torch.equal(compiled.recordings[layer], spikes), layer
    assert torch.allclose(compiled.outputs, reference.outputs, rtol=0, atol=1e-12)


NETWORKS = (None, 3, nn.Linear, nn.Sequential(), nn.Linear(4, 3), nn.LSTM(4, 3), nn.Sequential(nn.LazyLinear(3), LIF()))
WRONG: Mapping[str, Sequence[object]] = {
    "images": (
        *(None, 3, [[1.0]], np.zeros((2, 4)), torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, 4, dtype=torch.complex64)),
        *(torch.zeros(4), torch.zeros(2, 3), torch.zeros(2, 0), torch.zeros(()), torch.full((2, 4), math.nan)),
        *(
            torch.zeros(2, 4, device="meta"),
            torch.zeros(2, 4).to_sparse(),
            torch.zeros(2, 4).double(),
            torch.zeros(2, 4).half(),
        ),
    ),
    "n_steps": (0, -1, 1.5, "3", None, True, math.nan, 10**12, [3]),
    "dt": (0, -1, math.nan, math.inf, 1e308, 1e-308, "a", None, True, [1]),
    "synapse": (None, 3, LowPass, "low_pass", nn.Identity()),
    "start": (
        *("x", None, 3, {"1": None}, {"1": {"voltage": None}}, {"9": {}}, {"1": {"v": torch.zeros(8)}}, [("1", {})]),
        *({"1": {"voltage": values}} for values in (torch.zeros(5), torch.full((8,), math.nan), torch.zeros(8, device="meta"))),
    ),
    "readout": ("x", None, 3, ["last"]),
    "burn_in": (-1, math.nan, 1e308, "a", None),
    "early_exit": (0, -1, math.nan, math.inf, 1e-300, "a", [1], True),
    "exit_by": ("x", None, 3, ["margin"]),
    "record": ("1", None, 3, ["9"], [None], [["1"]], {"1"}),
    "engine": ("x", None, 3, ["auto"]),
    "seed": (-1, 1.5, "a", None, 2**63, 2**64, True),
    "image_index": (3, [0, 1], torch.tensor([0]), torch.zeros(2), torch.zeros(2, dtype=torch.int64, device="meta")),
    "images_over_time": (3, "x", True),
    "event_height": (0, -1, math.nan, "a", 1.0, True),
}


@pytest.mark.parametrize("name", WRONG)
def test_every_wrong_argument_is_an_error_of_ours(name: str) -> None:
    network = nn.Sequential(nn.Linear(4, 8), LIF(), nn.Linear(8, 3))
    for value in WRONG[name]:
        options: dict[str, Any] = {"images": torch.rand(2, 4), "n_steps": 3, name: value}
        with pytest.raises(ParameterError) as error:
            simulate(network, **options)
        assert "\n" not in str(error.value), value


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_what_is_no_spiking_network_is_an_error_of_ours(network: Any) -> None:
    with pytest.raises(ParameterError):
        simulate(network, torch.rand(2, 4), 3)


def test_a_simulation_that_memory_does_not_hold_is_refused() -> None:
    network = nn.Sequential(nn.Linear(4, 8), LIF(), nn.Linear(8, 3))
    with pytest.raises(ParameterError, match=r"n_steps=2000000000: needs [\d.e+]+ TiB of memory; there are"):
        simulate(network, torch.rand(100, 4), 2_000_000_000)
