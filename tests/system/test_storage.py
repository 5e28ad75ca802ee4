"""Places for results that are moved, locked, full, read-only or deleted in the middle of a run, and many that write at once."""

import contextlib
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from program import PATIENCE, SMALL, Held, metrics, query, run, run_ids, start, status, wait_until
from test_killed_sweep import fresh

from ratespike.tracking import store
from ratespike.tracking.registry import register

pytestmark = pytest.mark.system

TRAINING = (*SMALL, "n_steps=3")
LOCKED = 60  # seconds: MLflow gives up after 20
LOGGERS = 16
MINUTE = 60  # seconds
LOGGER = """
import sys, time
from pathlib import Path
from ratespike.tracking import store
from ratespike.tracking.status import signs_of_life, track
uri, folder, number, seconds = sys.argv[1], Path(sys.argv[2]), sys.argv[3], float(sys.argv[4])
run = store.open_run(store.connect(uri), "many", number, signs_of_life(folder))
step = 0
with track(run, folder, system_metrics=False):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        step += 1
        run.metrics({"loss": step, "accuracy": -step}, step)
        run.tags({f"tag{step % 10}": str(step)})
print(run.id, step)
"""


@pytest.fixture(scope="module")
def expected(checkout: Path) -> dict[tuple[object, object], object]:
    """The metrics of a training that nobody disturbs."""
    folder = fresh(checkout, "expected")
    code, _, error = run(folder, *TRAINING)
    assert code == 0, error
    return metrics(folder, run_ids(folder)[0])


@contextmanager
def disk(folder: Path, size: str = "64m", *, options: str = "") -> Iterator[None]:
    """A small disk inside, mounted at a folder; the test is skipped where mounting is not permitted."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}{options}", "none", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting is not permitted")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """The folder's disk is full inside."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    yield
    filler.unlink()


@contextmanager
def training_held(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A training that stands still in its second epoch inside."""
    held = Held(folder)
    held.hold.touch()
    process = start(folder, *TRAINING, *arguments, program="train_held.py")
    try:
        wait_until(held.processes, process)
        yield process
    finally:
        held.release()


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    """How a program has ended, and what it has said as errors, without progress bars."""
    _, error = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in error, error
    return process.returncode, [line for line in error.splitlines() if line.strip()]


def test_a_moved_clone_goes_on_where_it_is(checkout: Path) -> None:
    before, after = fresh(checkout, "before"), checkout.parent / "after the move"
    code, _, error = run(before, *TRAINING)
    assert code == 0, error
    (run_id,) = run_ids(before)
    register(store.find_run(store.connect(f"sqlite:///{before}/mlflow.db"), run_id), "network")
    before.rename(after)
    code, _, error = run(after, f"run={run_id}", "n_steps=2", program="evaluate.py")
    assert code == 0, error
    assert "this database was moved or copied: the artifacts of 1 runs are in" in error
    for command in (("evaluate.py", "model=models:/network@champion", "n_steps=2"), ("train.py", *TRAINING, "seed=1")):
        code, _, error = run(after, *command[1:], program=command[0])
        assert code == 0, error
        assert "moved" not in error
    (after / "load.py").write_text("import sys, ratespike\nprint(ratespike.load(sys.argv[1]))\n")
    code, _, error = run(after, run_id, program="load.py")
    assert code == 0, error
    assert not before.exists()
    client = MlflowClient(f"sqlite:///{after}/mlflow.db")
    for own in run_ids(after):
        assert client.get_run(own).info.artifact_uri.startswith((after / "mlruns").as_uri())
        assert [item.path for item in client.list_artifacts(own, "figures")], "what MLflow's pages show"


def test_a_database_that_is_locked_in_the_middle_of_a_run_is_waited_for(
    checkout: Path, expected: dict[tuple[object, object], object]
) -> None:
    folder = fresh(checkout, "locked")
    with training_held(folder) as process:
        other = sqlite3.connect(folder / "mlflow.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
    with closing(other):
        time.sleep(LOCKED)
    code, said = ended(process)
    assert code == 0, said
    assert metrics(folder, run_ids(folder)[0]) == expected


def test_a_full_tracking_folder_costs_nothing_that_was_measured(
    checkout: Path, expected: dict[tuple[object, object], object]
) -> None:
    folder = fresh(checkout, "full_tracking")
    uri = "tracking.uri=sqlite:///tracking/mlflow.db"
    with disk(folder / "tracking"):
        with training_held(folder, uri) as process:
            until_ended = contextlib.ExitStack()
            until_ended.enter_context(filled(folder / "tracking"))
        with until_ended:
            code, said = ended(process)
            assert code == 1
            assert "outputs/waiting/" in said[-1]
            assert "the next command with this tracking.uri brings them in" in said[-1]
            assert len(said) <= 2, said
        code, _, error = run(folder, uri, program="compare.py")
        assert "which waited in" in error
        shutil.copy(folder / "tracking/mlflow.db", folder)
        (run_id,) = run_ids(folder)
        assert status(folder, run_id) == "FINISHED"
        assert metrics(folder, run_id) == expected
        assert list(folder.glob(f"tracking/mlruns/mnist/{run_id}/artifacts/checkpoints/best.ckpt"))
        assert not list((folder / "outputs/waiting").iterdir())
        code, _, error = run(folder, f"run={run_id}", "n_steps=2", uri, program="evaluate.py")
        assert code == 0, error


@pytest.mark.parametrize("size", ["512k", "2m"])
def test_a_tracking_folder_without_room_for_a_database_is_named(checkout: Path, size: str) -> None:
    folder = fresh(checkout, f"tiny_{size}")
    with disk(folder / "tracking", size):
        code, said = ended(start(folder, *TRAINING, "tracking.uri=sqlite:///tracking/mlflow.db"))
    assert code == 1
    assert len(said) <= 2, said
    assert "tracking" in said[-1], said
    assert "full" in said[-1] or "No space left on device" in said[-1], said


def test_full_outputs_are_named_and_the_training_goes_on_after_room_was_made(
    checkout: Path, expected: dict[tuple[object, object], object]
) -> None:
    folder = fresh(checkout, "full_outputs")
    with disk(folder / "outputs"):
        with training_held(folder) as process:
            until_ended = contextlib.ExitStack()
            until_ended.enter_context(filled(folder / "outputs"))
        (run_id,) = run_ids(folder)
        with until_ended:
            code, said = ended(process)
            assert code == 1
            assert f"outputs/trainings/{run_id} is full (No space left on device); make room there" in said[-1], said
        assert status(folder, run_id) == "FAILED"
        code, _, error = run(folder, *TRAINING, f"resume={run_id}")
        assert code == 0, error
        assert metrics(folder, run_id) == expected


def test_full_artifacts_cost_nothing_while_the_database_has_room(
    checkout: Path, expected: dict[tuple[object, object], object]
) -> None:
    folder = fresh(checkout, "full_artifacts")
    with disk(folder / "mlruns"):
        with training_held(folder) as process:
            until_ended = contextlib.ExitStack()
            until_ended.enter_context(filled(folder / "mlruns"))
        with until_ended:
            code, said = ended(process)
            assert code == 1
            assert "No space left on device" in said[-1], said
            assert "outputs/waiting/" in said[-1]
            assert len(said) <= 2, said
        code, _, error = run(folder, program="compare.py")
        assert "which waited in" in error
        (run_id,) = run_ids(folder)
        assert status(folder, run_id) == "FINISHED"
        assert metrics(folder, run_id) == expected
        assert {path.name for path in folder.glob(f"mlruns/mnist/{run_id}/artifacts/checkpoints/*")} == {
            "best.ckpt",
            "last.ckpt",
        }


def test_outputs_that_are_read_only_are_named(checkout: Path) -> None:
    folder = fresh(checkout, "read_only_outputs")
    with disk(folder / "outputs", options=",ro"):
        code, said = ended(start(folder, *TRAINING))
    assert code == 1
    assert len(said) == 1, said
    assert "outputs" in said[0]
    assert "Read-only file system" in said[0]
    assert not (folder / "mlflow.db").exists() or not run_ids(folder), "a run was begun"


def test_a_read_only_folder_of_the_database_is_named(checkout: Path) -> None:
    folder = fresh(checkout, "read_only")
    with disk(folder / "tracking", options=",ro"):
        code, said = ended(start(folder, *TRAINING, "tracking.uri=sqlite:///tracking/mlflow.db"))
    assert code == 1
    assert len(said) == 1, said
    assert "tracking cannot be written to (Read-only file system)" in said[0]


def test_two_sweeps_that_start_in_the_same_moment_without_a_database(checkout: Path) -> None:
    folder = fresh(checkout, "two_sweeps")
    sweeps = [start(folder, "-m", *TRAINING, f"seed={seeds}") for seeds in ("1,2", "3,4")]
    for process in sweeps:
        code, said = ended(process)
        assert code == 0, said
    rows = query(folder, "select name, status from runs order by name")
    names = ["seed=1", "seed=2", "seed=3", "seed=4", "sweep seed=1,2", "sweep seed=3,4"]
    assert rows == [(name, "FINISHED") for name in names]
    assert not list(folder.glob("*unfinished*"))


def test_many_processes_log_to_one_database_and_nothing_is_lost(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    command = [sys.executable, "-c", LOGGER, uri, str(tmp_path)]
    processes = [
        subprocess.Popen([*command, str(number), str(MINUTE)], stdout=subprocess.PIPE, text=True) for number in range(LOGGERS)
    ]
    logged = dict(process.communicate(timeout=PATIENCE)[0].split() for process in processes)
    assert [process.returncode for process in processes] == [0] * LOGGERS
    assert len(logged) == LOGGERS
    for run_id, last in logged.items():
        for name, sign in (("loss", 1), ("accuracy", -1)):
            values = query(
                tmp_path, "select step, value from metrics where run_uuid = ? and key = ? order by step", run_id, name
            )
            assert values == [(step, sign * step) for step in range(1, int(last) + 1)]
    total = sum(2 * int(last) for last in logged.values())
    print(f"{LOGGERS} processes logged {total} values in {MINUTE} s, none is lost", flush=True)
    assert not (tmp_path / "outputs/waiting").exists()


def test_an_experiment_that_is_deleted_in_the_middle_of_a_run_keeps_its_results(
    checkout: Path, expected: dict[tuple[object, object], object]
) -> None:
    folder = fresh(checkout, "deleted")
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    with training_held(folder) as process:
        (run_id,) = run_ids(folder)
        experiment = client.get_run(run_id).info.experiment_id
        client.delete_experiment(experiment)
    code, said = ended(process)
    assert code == 1
    assert f"results of run {run_id} wait in" in said[-1]
    code, said = ended(start(folder, *TRAINING))
    assert (code, len(said)) == (1, 2), "where results still wait, and that the experiment is deleted"
    assert "still wait in" in said[0]
    assert "tracking.experiment=mnist: is deleted; restore it in MLflow" in said[1]
    client.restore_experiment(experiment)
    code, _, error = run(folder, *TRAINING, "seed=1")
    assert code == 0, error
    assert f"results of run {run_id}, which waited" in error
    assert status(folder, run_id) == "FINISHED"
    assert metrics(folder, run_id) == expected
