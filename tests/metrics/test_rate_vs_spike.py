import pytest
import torch
from torch import nn

from ratespike import simulate
from ratespike.metrics import Comparison, Results
from ratespike.simulation import Simulation


def simulation(outputs: torch.Tensor, spikes: torch.Tensor, operations: torch.Tensor) -> Simulation:
    steps = torch.arange(outputs.shape[1]) + 1
    return Simulation(outputs, {"a.b": spikes}, operations, {"a.b": 4}, {}, dt=0.001, stopped_after=steps)


def test_comparison_of_two_batches_by_hand() -> None:
    comparison = Comparison(n_steps=2, dt=0.001, classes=3, neurons={"a.b": 4}, report_first=2)
    one_hot = torch.eye(3)
    predictions = torch.tensor([[0, 1, 2], [0, 2, 2]])  # after one step and after two
    labels, rates = torch.tensor([0, 2, 1]), one_hot[torch.tensor([0, 2, 2])]
    spikes, operations = torch.tensor([[4.0, 0, 0], [4, 8, 0]]), torch.tensor([[10.0, 0, 20], [3, 0, 0]])
    for part in (slice(0, 2), slice(2, 3)):
        batch = simulation(one_hot[predictions[:, part]], spikes[:, part], operations[:, part])
        comparison.update(rates[part], batch, labels[part], torch.arange(3)[part])
    results = comparison.compute()
    third = 1 / 3
    assert abs(results.rate_accuracy - 2 / 3) < 1e-12
    assert torch.allclose(results.spiking_accuracy, torch.tensor([third, 2 * third], dtype=torch.float64))
    assert torch.allclose(results.agreement, torch.tensor([2 * third, 1], dtype=torch.float64))
    assert torch.allclose(results.spikes_per_neuron["a.b"], torch.tensor([third, 1], dtype=torch.float64))
    final = results.final()
    assert abs(final["accuracy_gap"]) < 1e-6 and abs(final["synaptic_operations"] - 11) < 1e-9
    assert (
        abs(results.mean_steps - (1 + 2 + 1) / 3) < 1e-12 and results.mean_steps == final["mean_steps"]
    )  # two batches, of two images and of one
    assert abs(final["firing_rate_hz/a.b"] - 1000 * 16 / 4 / (1 + 2 + 1)) < 1e-9  # 16 spikes of 4 neurons in 1 + 2 + 1 steps
    assert results.confusion.tolist() == [[[1, 0, 0], [0, 0, 1], [0, 1, 0]], [[1, 0, 0], [0, 0, 1], [0, 0, 1]]]
    assert results.of_first_images() == {"first_2_images/rate_accuracy": 1, "first_2_images/spiking_accuracy": 1}
    assert final["first_2_images/spiking_accuracy"] == 1
    comparison.reset()
    first = simulation(one_hot[predictions[:, :1]], spikes[:, :1], operations[:, :1])
    comparison.update(rates[:1], first, labels[:1], torch.arange(1))
    assert comparison.compute().rate_accuracy == 1


def test_a_simulation_of_one_step() -> None:
    comparison = Comparison(n_steps=1, dt=0.001, classes=3, neurons={"a.b": 4})
    one_step = simulation(torch.eye(3)[None], torch.ones(1, 3), torch.ones(1, 3))
    comparison.update(torch.eye(3), one_step, torch.arange(3), torch.arange(3))
    assert comparison.compute().final()["spiking_accuracy"] == 1


@pytest.mark.parametrize("early_exit", [None, 0.3])
def test_a_longer_simulation_tells_what_a_shorter_one_tells(conv_network: nn.Sequential, early_exit: float | None) -> None:
    images, labels, index = torch.rand(12, 1, 13, 13), torch.arange(12) % 10, torch.arange(12)
    conv_network.eval()  # without dropout

    def measure(n_steps: int) -> Results:
        spikes = simulate(conv_network, images, n_steps, early_exit=early_exit)
        comparison = Comparison(n_steps, 0.001, 10, spikes.neurons, report_first=5)
        with torch.no_grad():
            comparison.update(conv_network(images), spikes, labels, index)
        return comparison.compute()

    longer, shorter = measure(40), measure(17)
    for results in (longer.until(17), Results.from_arrays(longer.arrays()).until(17)):
        assert results.final() == pytest.approx(shorter.final(), abs=1e-12)
        assert torch.equal(results.confusion, shorter.confusion) and results.n_images == 12
        assert torch.equal(results.spiking_accuracy, shorter.spiking_accuracy)
    assert longer.final() != shorter.final()
