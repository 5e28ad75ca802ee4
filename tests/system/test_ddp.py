"""Two processes that share a training and a test are one run, with the results of one process."""

import time
from pathlib import Path

import pytest
from bad_configurations import BASE
from program import metrics, query, run, run_ids, start, status
from services import addresses_listened_to

pytestmark = pytest.mark.system

TRAINING = (
    *("+experiment=mnist", "stages=none", "data.train_images=2950", "data.validation_images=201"),
    *("trainer.max_epochs=2", "trainer.accelerator=cpu", "n_steps=5"),
)
SGD = ("optimizer=sgd", "data.test_images=20")  # whose steps, unlike AdamW's, are as long as the gradient
ONE = ("trainer.strategy=auto", "trainer.devices=1")
TWO = ("trainer.strategy=ddp_spawn", "trainer.devices=2")

Metrics = dict[tuple[object, object], object]


@pytest.fixture(scope="module")
def trained(checkout: Path) -> tuple[Path, str]:
    """A checkout with a run of two processes, and the run's id."""
    code, _, error = run(checkout, "-m", *TRAINING, *TWO)
    assert code == 0, error
    parent, run_id = run_ids(checkout)
    assert [status(checkout, parent), status(checkout, run_id)] == ["FINISHED", "FINISHED"]
    return checkout, run_id


def of_test(folder: Path, run_id: str) -> Metrics:
    """The metrics of a run on the test images."""
    return {key: value for key, value in metrics(folder, run_id).items() if str(key[0]).startswith("test/")}


def evaluated(folder: Path, run_id: str, *arguments: str) -> Metrics:
    """The metrics of a new evaluation of a run on the test images."""
    code, _, error = run(folder, f"run={run_id}", *arguments, program="evaluate.py")
    assert code == 0, error
    return of_test(folder, run_ids(folder)[-1])


def test_each_epoch_is_logged_once_and_the_speed_too(trained: tuple[Path, str]) -> None:
    folder, run_id = trained
    counts = dict(query(folder, "select key, count(*) from metrics where run_uuid = ? group by key", run_id))
    assert [counts[name] for name in ("val/rate_accuracy", "train/loss")] == [2, 2]
    assert [counts[name] for name in ("train/images_per_second", "test/spiking_images_per_second")] == [1, 1]


@pytest.mark.parametrize(("test_images", "n_images"), [("null", 10_000), ("9999", 9_999)])
def test_two_processes_test_what_one_tests(trained: tuple[Path, str], test_images: str, n_images: int) -> None:
    """Whether or not the images can be divided by two."""
    folder, run_id = trained
    by_one = evaluated(folder, run_id, f"data.test_images={test_images}", *ONE)
    by_two = evaluated(folder, run_id, f"data.test_images={test_images}", *TWO)
    assert by_one == by_two
    n_right = float(str(by_one["test/rate_accuracy", 0])) * n_images
    assert n_right == pytest.approx(round(n_right), abs=1e-6), "an image was counted twice or not at all"
    if n_images == 10_000:
        assert of_test(folder, run_id) == by_one, "the training itself measured something else"


def test_two_processes_fit_the_early_exit_that_one_fits(trained: tuple[Path, str]) -> None:
    """On validation images that cannot be divided by two."""
    folder, run_id = trained
    settings = ("simulation.exit_loss=0.02", "data.test_images=501")
    by_one = evaluated(folder, run_id, *settings, *ONE)
    by_two = evaluated(folder, run_id, *settings, *TWO)
    assert ("test/exit_threshold", 0) in by_one
    assert by_one == by_two


BUDGET = ("rate_control=operations", "rate_control.weight=0.01", "rate_control.target=1")


@pytest.mark.parametrize("settings", [(), BUDGET], ids=["loss alone", "budget"])
def test_a_training_of_two_is_that_of_one_but_for_rounding(trained: tuple[Path, str], settings: tuple[str, ...]) -> None:
    """With an uneven last batch too. Single runs, because those of a sweep would share one training."""
    folder, _ = trained
    of_run = []
    for processes in ((), TWO):
        code, _, error = run(folder, *TRAINING, *SGD, *settings, *processes)
        assert code == 0, error
        of_run.append(metrics(folder, run_ids(folder)[-1]))
    of_one, of_two = of_run
    tolerances = {"train/loss": 1e-4, "val/loss": 1e-4, "val/rate_accuracy": 0.01}
    if settings:
        tolerances |= {"train/spike_operations": 1e-4, "val/spike_operations": 1e-4}
    for epoch in (1, 2):
        for name, tolerance in tolerances.items():
            expected = float(str(of_one[name, epoch]))
            assert float(str(of_two[name, epoch])) == pytest.approx(expected, rel=tolerance), (name, epoch)


def test_two_processes_speak_over_loopback_alone(checkout: Path) -> None:
    """PyTorch's first process would wait for the others at a port of every network that this host is in."""
    process = start(checkout, *BASE, *TWO)
    addresses: set[str] = set()
    while process.poll() is None:
        addresses |= addresses_listened_to(process.pid)
        time.sleep(0.02)
    _, error = process.communicate()
    assert process.returncode == 0, error
    assert addresses and addresses <= {"127.0.0.1", "::1"}
