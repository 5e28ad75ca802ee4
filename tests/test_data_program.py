"""`python train.py data=idx data.dir=…`: somebody's own images, from training to evaluation."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from idx_files import idx
from program import SMALL, metrics, query, run_here, run_ids, status

import ratespike

pytestmark = [
    pytest.mark.program,
    pytest.mark.filterwarnings("ignore"),  # Lightning's advice
]


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of images, 18 x 20 pixels: a bright square on the left, in the middle, on the right."""
    folder = tmp_path_factory.mktemp("squares")
    generator = np.random.default_rng(0)
    for split, count in (("train", 240), ("test", 60)):
        labels = generator.integers(0, 3, count).astype(np.uint8)
        images = generator.integers(0, 60, (count, 18, 20)).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[6:12, 1 + 6 * label : 7 + 6 * label] = 220
        (folder / f"{split}-images").write_bytes(idx(images))
        (folder / f"{split}-labels").write_bytes(idx(labels))
    return folder


def test_own_images_train_and_are_evaluated(checkout: Path, squares: Path) -> None:
    given = ("data=idx", f"data.dir={squares}", "n_steps=20", "data.test_images=null", "optimizer.lr=0.01")
    code, out, error = run_here(checkout, *SMALL, *given)
    assert code == 0, error
    (run_id,) = run_ids(checkout)
    assert status(checkout, run_id) == "FINISHED"
    measured = metrics(checkout, run_id)
    assert measured["test/rate_accuracy", 0] == 1, "three squares were not told apart"  # type: ignore[comparison-overlap]
    assert float(measured["test/spiking_accuracy", 0]) > 0.9  # type: ignore[arg-type]
    named = query(checkout, "select name from datasets where name like 'IDX%' order by name")
    assert named == [("IDX_test",), ("IDX_train",), ("IDX_validation",)]

    code, out, error = run_here(checkout, f"run={run_id}", "n_steps=25", program="evaluate.py")
    assert code == 0, error
    assert "spiking accuracy, 25 steps" in out


def test_classes_of_different_sizes(checkout: Path, squares: Path) -> None:
    """They count the same in the training; what the network does on each of them is kept by the class's name."""
    given = ("data=idx", f"data.dir={squares}", "data.test_images=null", "data.class_weights=balanced", "n_steps=20")
    code, _, error = run_here(checkout, *SMALL, *given)
    assert code == 0, error
    run_id = run_ids(checkout)[-1]
    (kept,) = checkout.glob(f"mlruns/*/{run_id}/artifacts")
    with (kept / "results/per_class.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class_name"] for row in rows] == ["0", "1", "2"]
    sizes = [int(row["test_images"]) for row in rows]
    assert sum(sizes) == 60
    measured = metrics(checkout, run_id)
    for mode in ("rate", "spiking"):
        accuracies = [float(row[f"{mode}_accuracy"]) for row in rows]
        assert measured[f"test/{mode}_balanced_accuracy", 0] == pytest.approx(np.mean(accuracies))
        assert measured[f"test/{mode}_accuracy", 0] == pytest.approx(np.average(accuracies, weights=sizes))
    checkpoint = torch.load(kept / "checkpoints/best.ckpt", weights_only=True)
    assert checkpoint["ratespike"]["class_names"] == ["0", "1", "2"]
    assert ratespike.load(kept / "checkpoints/best.ckpt")


def test_a_network_that_does_not_fit_the_images_is_refused(checkout: Path, squares: Path) -> None:
    before = run_ids(checkout)
    code, _, error = run_here(checkout, *SMALL, "data=idx", f"data.dir={squares}", "network.layers.dense.units=10")
    assert code == 1
    assert "the output has shape (10,), but the data have 3 classes" in error
    code, _, error = run_here(checkout, *SMALL, "data=idx", f"data.dir={squares}", "network.layers.conv2.kernel=17")
    assert code == 1
    assert "kernel=17: must be at most the image, here 16x18" in error
    assert run_ids(checkout) == before
