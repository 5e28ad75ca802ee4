import torch

from ratespike.metrics import Comparison
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
    assert results.mean_steps == final["mean_steps"] == (1 + 2 + 1) / 3  # two batches, of two images and of one
    assert abs(final["firing_rate_hz/a.b"] - 1000 * 16 / 4 / (1 + 2 + 1)) < 1e-9  # 16 spikes of 4 neurons in 1 + 2 + 1 steps
    assert results.confusion.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 1]]
    assert results.first_images == {"first_2_images/rate_accuracy": 1, "first_2_images/spiking_accuracy": 1}
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
