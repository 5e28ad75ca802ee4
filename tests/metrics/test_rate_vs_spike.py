import pickle
from dataclasses import replace

import numpy as np
import pytest
import sklearn.metrics
import torch
from torch import nn

from ratespike import simulate
from ratespike.metrics import RateVsSpike, Results, names
from ratespike.neurons import LIF
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
        assert results.rate_confusion.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 1]]

    def test_final_metrics(self, measured: RateVsSpike) -> None:
        steps = (1 + 2 + 1) / 3  # of an image; in the second batch there is one image, which stops after one step
        n_spikes = 16 / 3 / 4  # of a neuron for an image
        assert names.final(measured.compute()) == pytest.approx(
            {
                "rate_accuracy": 2 / 3,
                "spiking_accuracy": 2 / 3,
                "accuracy_gap": 0,
                "rate_balanced_accuracy": 2 / 3,
                "spiking_balanced_accuracy": 2 / 3,
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
        assert torch.equal(results.rate_confusion, shorter.rate_confusion)
        assert torch.equal(results.spiking_accuracy, shorter.spiking_accuracy)
    assert names.final(longer) != names.final(shorter), "the test compares a simulation with itself"
    assert longer.n_images == 12


@pytest.fixture
def many_classes() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Labels of classes of different sizes, one of them empty, and outputs on rates and on spikes for these images."""
    torch.manual_seed(0)
    labels = torch.cat([torch.randint(0, 3, (200,)), torch.randint(3, 36, (200,))])  # class 36 has no images
    towards_label = 2 * torch.eye(37)[labels]
    return labels, torch.randn(400, 37) + towards_label, torch.randn(9, 400, 37) + 0.5 * towards_label


def measured_of(labels: torch.Tensor, rates: torch.Tensor, outputs: torch.Tensor) -> Results:
    counts = torch.ones(outputs.shape[:2])
    spikes = Simulation(outputs, {"a": counts}, counts, {"a": 1}, {}, dt=0.001)
    measured = RateVsSpike(len(outputs), 0.001, outputs.shape[2], {"a": 1})
    measured.update(rates, spikes, labels, torch.arange(len(labels)))
    return measured.compute()


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_metrics_of_many_unequal_classes_are_those_of_scikit_learn(
    many_classes: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    labels, rates, outputs = many_classes
    results = measured_of(labels, rates, outputs)
    classes = np.arange(37)
    for steps in (9, 4):
        final = names.final(results.until(steps))
        for mode, answers in (("rate", rates), ("spiking", outputs[steps - 1])):
            predictions = answers.argmax(dim=1)
            balanced = sklearn.metrics.balanced_accuracy_score(labels, predictions)
            assert final[f"{mode}_balanced_accuracy"] == pytest.approx(balanced)
            top5 = sklearn.metrics.top_k_accuracy_score(labels, answers, k=5, labels=classes)
            assert final[f"{mode}_top5_accuracy"] == pytest.approx(top5)
            assert final[f"{mode}_accuracy"] < final[f"{mode}_top5_accuracy"]
    of_rates = sklearn.metrics.confusion_matrix(labels, rates.argmax(dim=1), labels=classes)
    assert np.array_equal(results.rate_confusion, of_rates)
    recall = sklearn.metrics.recall_score(labels, outputs[-1].argmax(dim=1), labels=classes[:36], average=None)
    assert results.spiking_class_accuracy[:36].tolist() == pytest.approx(recall)
    assert results.spiking_class_accuracy[36].isnan()
    assert np.array_equal(results.class_images, np.bincount(labels, minlength=37))


def test_top_5_is_measured_of_more_than_ten_classes_alone() -> None:
    for classes, is_measured in ((10, False), (11, True)):
        outputs = torch.eye(classes)
        results = measured_of(torch.arange(classes), outputs, outputs[None])
        assert ("rate_top5_accuracy" in names.final(results)) == is_measured
        assert ("rate_top5_accuracy" in results.image_means) == is_measured
    assert "spiking_top5_accuracy" not in names.final(replace(results, image_means={})), "kept before it was measured"


@pytest.mark.parametrize("exit_by", ["margin", "softmax", "stability"])
def test_an_exit_curve_is_what_simulations_with_an_exit_give(exit_by: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 20), LIF(intercept=-0.2), nn.Linear(20, 4))
    images, index = torch.rand(12, 6), torch.arange(12)
    rates = network(images).detach()
    labels = rates.argmax(dim=1)

    def measure(n_steps: int, **options: object) -> Results:
        spikes = simulate(network, images, n_steps, exit_by=exit_by, engine="torch", **options)  # type: ignore[arg-type]
        measured = RateVsSpike(n_steps, 0.001, 4, spikes.neurons)
        measured.update(rates, spikes, labels, index)
        return measured.compute()

    whole = measure(20)
    for results in (whole, Results.from_arrays(whole.arrays()).until(12)):
        curve = results.exits[exit_by]
        rows = list(zip(curve.thresholds, curve.accuracy[-1], curve.mean_steps[-1], curve.synaptic_operations[-1], strict=True))
        assert len(rows) > 5
        for threshold, *row in [*rows[:: len(rows) // 4], rows[-1]]:
            early = measure(results.n_steps, early_exit=None if threshold.isinf() else float(threshold))
            assert early.exits.keys() == (whole.exits.keys() if threshold.isinf() else set())
            operations = float(early.synaptic_operations.sum())
            expected = [float(early.spiking_accuracy[-1]), early.mean_steps, operations]
            assert [float(value) for value in row] == pytest.approx(expected)


@pytest.mark.parametrize("loss", [0, 0.02, 0.1, 1])
def test_the_fitted_threshold_has_the_fewest_steps(loss: float) -> None:
    """Every score is tried as a threshold, image by image."""
    labels = torch.randint(0, 3, (20,), generator=torch.Generator().manual_seed(int(100 * loss)))
    growing = torch.arange(9)[:, None, None] * torch.eye(3)[labels] / 4
    outputs = torch.randn(9, 20, 3, generator=torch.Generator().manual_seed(1)) + growing
    margins = outputs.topk(2).values.diff(dim=-1).abs().squeeze(-1)  # (9, 20)
    right = outputs.argmax(dim=-1) == labels
    expected = 9.0  # mean steps with the least threshold behind the last that loses too much
    for threshold in sorted([*margins.flatten().tolist(), float("inf")], reverse=True):
        exits = [next((step for step in range(9) if margins[step, image] >= threshold), 8) for image in range(20)]
        accuracy = sum(bool(right[step, image]) for image, step in enumerate(exits)) / 20
        if accuracy < float(right[8].double().mean()) - loss - 1e-9:
            break
        expected = sum(exits) / 20 + 1
    curve = measured_of(labels, outputs[-1], outputs).exits["margin"]
    fitted = curve.fitted(loss)
    (place,) = (curve.thresholds == (float("inf") if fitted is None else fitted)).nonzero()
    assert float(curve.mean_steps[-1, place]) == pytest.approx(expected)


def test_no_threshold_is_fitted_if_each_exit_costs_accuracy() -> None:
    outputs = torch.eye(2)[torch.tensor([[0, 0], [0, 1]])] * torch.tensor([3.0, 1.0])[:, None, None]  # (time, images, classes)
    curve = measured_of(torch.tensor([0, 1]), outputs[-1], outputs).exits["margin"]
    assert curve.fitted(0.4) is None
    assert curve.fitted(0.5) == 3
