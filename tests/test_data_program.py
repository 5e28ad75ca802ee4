"""`python train.py data=idx data.dir=…`: somebody's own images or events, from training to evaluation."""

from pathlib import Path

import numpy as np
import pytest
from event_files import regular, save
from idx_files import idx
from program import SMALL, metrics, query, run_here, run_ids, status

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


def test_a_network_that_does_not_fit_the_images_is_refused(checkout: Path, squares: Path) -> None:
    before = run_ids(checkout)
    code, _, error = run_here(checkout, *SMALL, "data=idx", f"data.dir={squares}", "network.layers.dense.units=10")
    assert code == 1
    assert "the output has shape (10,), but the data have 3 classes" in error
    code, _, error = run_here(checkout, *SMALL, "data=idx", f"data.dir={squares}", "network.layers.conv2.kernel=17")
    assert code == 1
    assert "kernel=17: must be at most the image, here 16x18" in error
    assert run_ids(checkout) == before


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of recordings, 18 x 20 pixels: 150 Hz on the left, in the middle, on the right, else up to 20 Hz."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 300)
    rates = 20.0 * generator.integers(0, 2, (300, 2, 18, 20))
    for recording, label in zip(rates, labels, strict=True):
        recording[:, 6:12, 1 + 6 * label : 7 + 6 * label] = 150
    return save(tmp_path_factory.mktemp("recordings") / "some.npz", regular(rates, 0.1, labels))


def test_own_events_train_and_are_evaluated(checkout: Path, recordings: Path) -> None:
    given = ("data=events", f"data.dir={recordings}", "n_steps=60", "data.test_images=null", "optimizer.lr=0.01")
    code, out, error = run_here(checkout, *SMALL, *given)
    assert code == 0, error
    run_id = run_ids(checkout)[-1]
    assert status(checkout, run_id) == "FINISHED"
    measured = metrics(checkout, run_id)
    assert measured["test/rate_accuracy", 0] == 1, "three places were not told apart"  # type: ignore[comparison-overlap]
    assert float(measured["test/spiking_accuracy", 0]) > 0.9  # type: ignore[arg-type]
    named = query(checkout, "select name from datasets where name like 'Events%' order by name")
    assert named == [("Events_test",), ("Events_train",), ("Events_validation",)]

    code, out, error = run_here(checkout, f"run={run_id}", "synapse.tau=0.05", program="evaluate.py")
    assert code == 0, error
    assert "spiking accuracy, 60 steps" in out
    code, _, error = run_here(checkout, f"run={run_id}", "n_steps=30", "synapse.tau=0.02", program="evaluate.py")
    assert code == 1
    assert "n_steps=30 (trained with 60): would change the training" in error


def test_events_after_the_last_step_are_refused(checkout: Path, recordings: Path) -> None:
    before = run_ids(checkout)
    code, _, error = run_here(checkout, *SMALL, "data=events", f"data.dir={recordings}", "n_steps=2")
    assert code == 1
    assert "n_steps=2 dt=0.001: the first event comes after 0.00333333 s, when no step is left" in error
    assert run_ids(checkout) == before
