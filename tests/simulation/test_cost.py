"""What a network costs, counted once more through its modules, by definition or by hand."""

import copy

import pytest
import torch
from torch import Tensor, nn

from ratespike import simulate
from ratespike.neurons import LIF, AdaptiveLIF, IntegrateAndFire, Neuron, PoissonSpiking, SpikingRectifiedLinear
from ratespike.simulation.cost import NetworkCost
from ratespike.synapses import LowPass, NoFilter

UNIT_HEIGHT = {"max_rate": 1000}  # at dt = 1 ms a spike is 1


def cost_of(network: nn.Module, *shape: int) -> NetworkCost:
    found = simulate(network, torch.rand(1, *shape), 1, engine="torch").cost
    assert found is not None
    return found


def counted_by_hooks(network: nn.Module, *shape: int) -> int:
    """Multiply-adds of one image: each layer once more with ones in place of weights and signals, as NeuroBench has it."""
    total = 0

    def count(module: nn.Module, signals: tuple[Tensor, ...]) -> None:
        nonlocal total
        ones = copy.deepcopy(module)
        ones._forward_pre_hooks.clear()
        ones.weight.data.fill_(1)
        if ones.bias is not None:
            ones.bias.data.zero_()
        total += int(ones(torch.ones_like(signals[0])).sum())

    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d):
            module.register_forward_pre_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, *shape))
    return total


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([nn.Linear(6, 5), LIF(), nn.Linear(5, 3)], (6,)),
        ([nn.Linear(6, 5), LIF(), nn.Flatten(), nn.Linear(20, 3)], (4, 6)),
        ([nn.Conv2d(2, 6, 3, padding=1, stride=2), LIF(), nn.Conv2d(6, 4, (2, 3), groups=2)], (2, 9, 8)),
        ([nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), LIF(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(54, 3)], (2, 8, 8)),
        ([nn.Conv2d(2, 6, 3, dilation=2), LIF(), nn.MaxPool2d(2), nn.Conv2d(6, 3, 2)], (2, 10, 10)),
        ([nn.ConvTranspose2d(2, 4, 3, stride=2, groups=2), LIF(), nn.Flatten(), nn.Linear(324, 2)], (2, 4, 4)),
        ([nn.Conv1d(2, 3, 3, padding=2), LIF(), nn.Flatten(), nn.Linear(30, 2)], (2, 8)),
    ],
    ids=str,
)
def test_a_pass_on_rates_makes_the_operations_of_its_layers(layers: list[nn.Module], shape: tuple[int, ...]) -> None:
    network = nn.Sequential(*layers).eval()
    assert cost_of(network, *shape).plain_operations == counted_by_hooks(network, *shape)


def test_memory_weights_and_neurons() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), LIF(), nn.Flatten(), nn.Linear(64, 10)).eval()
    network[0].weight.data[:, :, 0] = 0
    found = cost_of(network, 1, 6, 6)
    assert found.footprint_bytes == sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    assert (found.weights, found.zero_weights) == (36 + 640, 12)
    assert found.connection_sparsity == 12 / 676
    assert (found.neurons, found.image_values) == (64, 36)


def test_a_weight_that_is_used_twice_is_one_weight() -> None:
    shared = nn.Linear(5, 5)
    network = nn.Sequential(shared, LIF(), shared, LIF(), nn.Linear(5, 2))
    found = cost_of(network, 5)
    assert (found.weights, found.plain_operations) == (25 + 10, 25 + 25 + 10)


@pytest.mark.parametrize(
    ("neuron", "updates"),
    [
        (LIF(), (1, 0)),
        (AdaptiveLIF(), (2, 1)),
        (IntegrateAndFire(), (0, 1)),
        (SpikingRectifiedLinear(), (0, 1)),
        (PoissonSpiking(neuron=LIF()), (0, 1)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_update_costs_what_the_type_of_the_neuron_needs(neuron: Neuron, updates: tuple[int, int]) -> None:
    found = cost_of(nn.Sequential(nn.Linear(3, 7), neuron, nn.Linear(7, 2)), 3)
    assert (found.update_multiply_accumulates, found.update_accumulates) == (7 * updates[0], 7 * updates[1])


class Filtered(nn.Module):
    """A filter behind a layer of neurons."""

    def __init__(self, synapse: nn.Module):
        super().__init__()
        self.neuron, self.synapse, self.out = IntegrateAndFire(**UNIT_HEIGHT), synapse, nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.out(self.synapse(self.neuron(x)))
        return output


class Added(nn.Module):
    """Two layers of neurons whose spikes are added in front of a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = IntegrateAndFire(**UNIT_HEIGHT), IntegrateAndFire(**UNIT_HEIGHT)
        self.inside, self.out = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.first(x)
        output: Tensor = self.out(spikes + self.second(self.inside(spikes)))
        return output


@pytest.mark.parametrize(
    ("network", "shape", "folded"),
    [
        (nn.Sequential(IntegrateAndFire(**UNIT_HEIGHT), nn.Flatten(), nn.Linear(16, 2)), (1, 4, 4), ()),
        (nn.Sequential(IntegrateAndFire(**UNIT_HEIGHT), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, 2)), (1, 4, 4), ()),
        (nn.Sequential(IntegrateAndFire(**UNIT_HEIGHT), nn.ZeroPad2d(1), nn.Conv2d(1, 2, 3)), (1, 4, 4), ()),
        (nn.Sequential(IntegrateAndFire(max_rate=500), nn.Flatten(), nn.Linear(16, 2)), (1, 4, 4), ("0",)),
        (nn.Sequential(IntegrateAndFire(**UNIT_HEIGHT), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 2)), (1, 4, 4), ("0",)),
        (nn.Sequential(IntegrateAndFire(**UNIT_HEIGHT), nn.BatchNorm2d(1), nn.Conv2d(1, 2, 3)), (1, 4, 4), ("0",)),
        (nn.Sequential(IntegrateAndFire(**UNIT_HEIGHT), nn.Linear(4, 4), nn.Linear(4, 2)), (4,), ("0",)),
        (Filtered(LowPass(tau=0.01)), (4,), ("neuron",)),
        (Filtered(NoFilter()), (4,), ()),
        (Added(), (4,), ("first", "second")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_layers_whose_spikes_are_no_plain_spikes_in_front_of_a_weight(
    network: nn.Module, shape: tuple[int, ...], folded: tuple[str, ...]
) -> None:
    assert cost_of(network.eval(), *shape).folded == folded


def pruned_network() -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        IntegrateAndFire(max_rate=1000),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 8, 3, groups=2),
        IntegrateAndFire(max_rate=1000),
        nn.Flatten(),
        nn.Linear(32, 4),
    ).eval()
    for place in (0, 3, 6):
        weight = network[place].weight.data
        weight.mul_(3)
        weight[torch.rand_like(weight) < 0.5] = 0
    return network


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["torch", "event_driven"])
def test_effective_operations_are_those_of_weights_and_values_that_are_not_0(engine: str) -> None:
    """Against connections counted one by one, as the places that a spike or a pixel changes."""
    network = pruned_network()
    images = torch.rand(3, 2, 8, 8)
    images[images < 0.5] = 0
    result = simulate(network, images, 6, record=["1", "4"], engine="torch")
    found = simulate(network, images, 6, engine=engine)
    for layer, behind in (("1", network[2:4]), ("4", network[5:])):
        expected = (result.recordings[layer] * connections(behind, result.recordings[layer].shape[2:])).flatten(2).sum(2)
        assert torch.equal(found.spike_operations[layer], expected.double())
    expected = ((images != 0) * connections(network[:1], (2, 8, 8))).flatten(1).sum(1)
    assert torch.equal(found.multiply_accumulates[0], expected.double())
    assert found.multiply_accumulates[1:].sum() == 0, "the image's current is computed once"
    assert torch.equal(found.accumulates, found.spike_operations["1"] + found.spike_operations["4"])
    assert torch.equal(found.folded_accumulates, found.spike_operations["1"])
    total = found.accumulates.clone()
    total[0] += float(connections(network[:1], (2, 8, 8)).sum())
    assert torch.equal(found.synaptic_operations.double(), total), "all pixels count among the synaptic operations"


def connections(layers: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """How many places each value of an input of this shape changes."""
    with torch.no_grad():
        copied = copy.deepcopy(layers)
        for module in copied.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.data.abs_()  # none cancels another one
    jacobian = torch.autograd.functional.jacobian(copied, torch.zeros(1, *shape))
    return (jacobian != 0).flatten(0, jacobian.dim() - len(shape) - 1).sum(0)


def test_nothing_is_counted_behind_an_early_exit() -> None:
    network, images = pruned_network(), torch.rand(6, 2, 8, 8)
    whole = simulate(network, images, 8, engine="torch")
    early = simulate(network, images, 8, engine="torch", early_exit=1, exit_by="stability")
    running = torch.arange(8).unsqueeze(1) < early.steps
    assert not running.all()
    assert torch.equal(early.accumulates, whole.accumulates * running)
    assert torch.equal(early.multiply_accumulates, whole.multiply_accumulates)


def test_events_are_accumulates_and_images_that_change_are_multiplied_in_each_step() -> None:
    network = pruned_network()
    events = (torch.rand(4, 3, 2, 8, 8) < 0.2).float() * 10
    of_events = simulate(network, events, 4, images_over_time=True, event_height=10.0, engine="torch")
    of_frames = simulate(network, events, 4, images_over_time=True, engine="torch")
    assert of_events.multiply_accumulates.sum() == 0
    assert torch.equal(of_events.accumulates - of_frames.accumulates, of_frames.multiply_accumulates)
    assert bool((of_frames.multiply_accumulates > 0).all())
