import pickle

import pytest
import torch
from torch import nn

from ratespike import simulate
from ratespike.metrics import RateVsSpike, Results, names
from ratespike.simulation import Simulation

ONE_HOT = torch.eye(3)


def simulation(outputs: torch.Tensor, spikes: torch.Tensor, operations: torch.Tensor) -> Simulation:
    """Of one layer `a.b` of four neurons; the n-th image stops after n steps."""
    steps = torch.arange(outputs.shape[1]) + 1
    return Simulation(outputs, {"a.b": spikes}, operations, {"a.b": 4}, {}, dt=0.001, stopped_after=steps)


class TestThreeImagesInTwoBatches:
    """Images of classes 0, 2 and 1 in batches of two and one, two steps, all numbers by hand."""

    labels = torch.tensor([0, 2, 1])
    predictions = torch.tensor([[0, 1, 2], [0, 2, 2]])  # after one step and after two
    rates = ONE_HOT[torch.tensor([0, 2, 2])]
    spikes = torch.tensor([[4.0, 0, 0], [4, 8, 0]])
    operations = torch.tensor([[10.0, 0, 20], [3, 0, 0]])

    def update(self, measured: RateVsSpike, images: slice) -> None:
        outputs = ONE_HOT[self.predictions[:, images]]
        batch = simulation(outputs, self.spikes[:, images], self.operations[:, images])
        measured.update(self.rates[images], batch, self.labels[images], torch.arange(3)[images])

    @pytest.fixture
    def measured(self) -> RateVsSpike:
        measured = RateVsSpike(n_steps=2, dt=0.001, classes=3, neurons={"a.b": 4}, report_first=2)
        self.update(measured, slice(0, 2))
        self.update(measured, slice(2, 3))
        return measured

    def test_arrays_over_the_steps(self, measured: RateVsSpike) -> None:
        results = measured.compute()
        assert results.spiking_accuracy.tolist() == pytest.approx([1 / 3, 2 / 3])
        assert results.agreement.tolist() == pytest.approx([2 / 3, 1])
        assert results.spikes_per_neuron["a.b"].tolist() == pytest.approx([1 / 3, 1])
        assert results.confusion.tolist() == [[[1, 0, 0], [0, 0, 1], [0, 1, 0]], [[1, 0, 0], [0, 0, 1], [0, 0, 1]]]

    def test_final_metrics(self, measured: RateVsSpike) -> None:
        steps = (1 + 2 + 1) / 3  # of an image; in the second batch there is one image, which stops after one step
        n_spikes = 16 / 3 / 4  # of a neuron for an image
        assert names.final(measured.compute()) == pytest.approx(
            {
                "rate_accuracy": 2 / 3,
                "spiking_accuracy": 2 / 3,
                "accuracy_gap": 0,
                "agreement": 1,
                "mean_steps": steps,
                "synaptic_operations": 11,
                "firing_rate_hz/a.b": n_spikes / (steps * 0.001),
            },
            abs=1e-6,
        )

    def test_the_first_images_alone(self, measured: RateVsSpike) -> None:
        expected = {"first_2_images/rate_accuracy": 1, "first_2_images/spiking_accuracy": 1}
        assert names.of_first_images(measured.compute()) == expected

    def test_reset_forgets_all_batches(self, measured: RateVsSpike) -> None:
        measured.reset()
        self.update(measured, slice(0, 1))
        results = measured.compute()
        assert results.n_images == 1
        assert results.rate_accuracy == 1

    def test_another_process_gets_it_by_pickle(self, measured: RateVsSpike) -> None:
        copy = pickle.loads(pickle.dumps(measured))
        assert names.final(copy.compute()) == names.final(measured.compute())


def test_a_simulation_of_one_step() -> None:
    measured = RateVsSpike(n_steps=1, dt=0.001, classes=3, neurons={"a.b": 4})
    one_step = simulation(ONE_HOT[None], torch.ones(1, 3), torch.ones(1, 3))
    measured.update(ONE_HOT, one_step, labels=torch.arange(3), image_index=torch.arange(3))
    assert names.final(measured.compute())["spiking_accuracy"] == 1


@pytest.mark.parametrize("early_exit", [None, 0.3])
def test_a_longer_simulation_gives_the_results_of_a_shorter_one(conv_network: nn.Sequential, early_exit: float | None) -> None:
    images = torch.rand(12, 1, 13, 13)
    labels = torch.arange(12) % 10
    conv_network.eval()  # without dropout

    def measure(n_steps: int) -> Results:
        spikes = simulate(conv_network, images, n_steps, early_exit=early_exit)
        measured = RateVsSpike(n_steps, 0.001, 10, spikes.neurons, report_first=5)
        with torch.no_grad():
            measured.update(conv_network(images), spikes, labels, image_index=torch.arange(12))
        return measured.compute()

    longer = measure(40)
    shorter = measure(17)
    from_file = Results.from_arrays(longer.arrays())
    for results in (longer.until(17), from_file.until(17)):
        assert names.final(results) == pytest.approx(names.final(shorter), abs=1e-12)
        assert names.of_first_images(results) == names.of_first_images(shorter)
        assert torch.equal(results.confusion, shorter.confusion)
        assert torch.equal(results.spiking_accuracy, shorter.spiking_accuracy)
    assert names.final(longer) != names.final(shorter), "the test compares a simulation with itself"
    assert longer.n_images == 12
