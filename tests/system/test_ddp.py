"""Two processes that share a training and a test are one run, with the results of one process."""

from pathlib import Path

import pytest
from program import metrics, query, run, run_ids, status

pytestmark = pytest.mark.system

TRAINING = (
    "+experiment=mnist",
    "data.train_images=2950",
    "data.validation_images=201",
    "trainer.max_epochs=2",
    "n_steps=5",
    "trainer.accelerator=cpu",
)
SGD = ("optimizer=sgd", "data.test_images=20")  # whose steps, unlike AdamW's, are as long as the gradient
TWO = ("trainer.strategy=ddp_spawn", "trainer.devices=2")


@pytest.fixture(scope="module")
def trained(checkout: Path) -> tuple[Path, str]:
    """A checkout with a run of two processes."""
    code, _, error = run(checkout, "-m", *TRAINING, *TWO)
    assert code == 0, error
    parent, run_id = run_ids(checkout)
    assert status(checkout, parent) == status(checkout, run_id) == "FINISHED"
    return checkout, run_id


def of_test(folder: Path, run_id: str) -> dict[tuple[object, object], object]:
    return {key: value for key, value in metrics(folder, run_id).items() if str(key[0]).startswith("test/")}


def evaluated(folder: Path, run_id: str, *arguments: str) -> dict[tuple[object, object], object]:
    code, _, error = run(folder, f"run={run_id}", *arguments, program="evaluate.py")
    assert code == 0, error
    return of_test(folder, run_ids(folder)[-1])


def test_each_epoch_is_logged_once_and_the_speed_too(trained: tuple[Path, str]) -> None:
    folder, run_id = trained
    rows = query(folder, "select key, count(*) from metrics where run_uuid = ? group by key", run_id)
    counts = dict(rows)
    assert counts["val/rate_accuracy"] == counts["train/loss"] == 2
    assert counts["train/images_per_second"] == counts["test/spiking_images_per_second"] == 1


@pytest.mark.parametrize("n_images", [10_000, 9_999])
def test_two_processes_test_what_one_tests(trained: tuple[Path, str], n_images: int) -> None:
    folder, run_id = trained
    images = "data.test_images=" + ("null" if n_images == 10_000 else str(n_images))
    one = evaluated(folder, run_id, images, "trainer.devices=1", "trainer.strategy=auto")
    two = evaluated(folder, run_id, images, *TWO)
    assert one == two
    assert float(str(one["test/rate_accuracy", 0])) * n_images == pytest.approx(
        round(float(str(one["test/rate_accuracy", 0])) * n_images), abs=1e-6
    )
    if n_images == 10_000:
        assert of_test(folder, run_id) == one


def test_a_training_of_two_is_that_of_one_but_for_rounding(trained: tuple[Path, str]) -> None:
    """Of an uneven last batch too. Single runs: those of sweeps would share one training."""
    folder, _ = trained
    curves = []
    for devices in ((), TWO):
        code, _, error = run(folder, *TRAINING, *SGD, *devices)
        assert code == 0, error
        curves.append(metrics(folder, run_ids(folder)[-1]))
    of_one, of_two = curves
    for epoch in (1, 2):
        for name, within in (("train/loss", 1e-4), ("val/loss", 1e-4), ("val/rate_accuracy", 0.01)):
            assert float(str(of_two[name, epoch])) == pytest.approx(float(str(of_one[name, epoch])), rel=within)
