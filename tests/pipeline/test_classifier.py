"""The loss that a training minimises; `tests/system/test_ddp.py` trains with two processes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.nn import functional as F

from ratespike.config.schemas import SimulationConfig
from ratespike.data import Images, Splits
from ratespike.metrics import RateVsSpike
from ratespike.parameters import ParameterError
from ratespike.pipeline.classifier import Classifier
from ratespike.pipeline.datamodule import Batches
from ratespike.pipeline.forwards import Rates
from ratespike.pipeline.losses import CrossEntropy
from ratespike.pipeline.optimizers import Adam
from ratespike.pipeline.simulator import Simulator
from ratespike.synapses import NoFilter

LABELS = torch.tensor([0] * 7 + [1] * 3 + [3] * 1)  # of four classes; class 2 has no images
IMAGES = Images(torch.arange(44, dtype=torch.uint8).reshape(11, 1, 2, 2) * 5, LABELS)
SPLITS = Splits(IMAGES, IMAGES, IMAGES, ("a", "b", "c", "d"))


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    present = np.array([0, 1, 3])
    expected = compute_class_weight("balanced", classes=present, y=LABELS.numpy())
    assert SPLITS.balanced_weights[present].tolist() == pytest.approx(expected)
    assert SPLITS.balanced_weights[2] == 0
    assert SPLITS.balanced_weights[LABELS].mean() == pytest.approx(1)


def classifier(monkeypatch: pytest.MonkeyPatch, class_weights: torch.Tensor | None, processes: int) -> Classifier:
    """One that a trainer of so many processes is about to give batches of eight images."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 4))
    comparison = RateVsSpike(1, 0.001, 4, {})
    simulator = Simulator(SimulationConfig(), 0.001, NoFilter(), None)
    made = Classifier(
        *(network, Rates(), [], CrossEntropy(), Adam(), simulator, 1, comparison, 0, {"classes": 4}, class_weights)
    )
    trainer = SimpleNamespace(train_dataloader=Batches(IMAGES, 8, seed=0), world_size=processes)
    monkeypatch.setattr(Classifier, "trainer", trainer)
    monkeypatch.setattr(made, "log", lambda *arguments, **options: None)
    return made


def gradient(made: Classifier, loss: torch.Tensor) -> torch.Tensor:
    (weights, _) = made.network.parameters()
    return torch.autograd.grad(loss, weights)[0]


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_the_processes_gradients_average_to_that_of_the_whole_batch(
    monkeypatch: pytest.MonkeyPatch, processes: int, is_weighted: bool
) -> None:
    """Lightning averages them; each process has an uneven part of the images and of their weights."""
    made = classifier(monkeypatch, SPLITS.balanced_weights if is_weighted else None, processes)
    batch = torch.tensor([0, 1, 2, 7, 8, 9, 10, 3])
    parts = []
    for rank in range(processes):
        own = IMAGES[batch[rank::processes]]
        parts.append(gradient(made, made.training_step((own.as_inputs(), own.labels, batch[rank::processes]), 0)))
    whole = IMAGES[batch]
    losses = F.cross_entropy(made.network(whole.as_inputs()), whole.labels, reduction="none")
    if is_weighted:
        losses = losses * SPLITS.balanced_weights[whole.labels]
    torch.testing.assert_close(torch.stack(parts).mean(dim=0), gradient(made, losses.mean()))


def test_validation_counts_each_image_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = classifier(monkeypatch, SPLITS.balanced_weights, 1)
    made.validation_step((IMAGES.as_inputs(), LABELS, torch.arange(11)), 0)
    expected = F.cross_entropy(made.network(IMAGES.as_inputs()), LABELS)
    assert made.val_loss.compute().item() == pytest.approx(expected.item())


def test_weights_are_no_part_of_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    weighted = classifier(monkeypatch, SPLITS.balanced_weights, 1)
    assert weighted.state_dict().keys() == classifier(monkeypatch, None, 1).state_dict().keys()


@pytest.mark.parametrize("step", ["training_step", "validation_step"])
def test_weights_that_are_no_numbers_end_the_training(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    made = classifier(monkeypatch, None, 1)
    made.network[1].weight.data[0, 0] = float("nan")  # type: ignore[index]
    with pytest.raises(ParameterError, match="the loss is nan: layer 1: 1 of 16 values of its weight are NaN or infinite"):
        getattr(made, step)((IMAGES.as_inputs(), LABELS, torch.arange(11)), 0)
