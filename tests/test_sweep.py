"""Sweeps and evaluations as their user runs them: on a slice of the data, with a real database, jobs in processes of their own.

The program itself runs in the process of the tests, which spares the imports; `test_interrupted_sweep.py` starts it by itself.
"""

import re
from contextlib import suppress
from pathlib import Path

import pytest
from pages import contract
from program import SMALL, metrics, names, query, run_here, run_ids, status, tags

from ratespike.tracking import store
from ratespike.tracking.status import track

pytestmark = [
    pytest.mark.program,
    pytest.mark.filterwarnings("ignore"),  # Lightning's advice
]

CONTRACT = contract()
JOBS = ("-m", *SMALL, "neuron.tau_rc=0.01,0.02", "n_steps=3,6")


@pytest.fixture(scope="module")
def swept(checkout: Path) -> Path:
    """A checkout without a database in which a sweep of four jobs was done."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")  # which a run notes
        code, out, error = run_here(checkout, *JOBS)
    assert code == 0, error
    assert "holds the table and the figures" in out
    assert "/runs?viewStateShareKey=ratespike-sweep-" in out
    return checkout


def test_a_sweep_is_one_parent_with_its_jobs_below(swept: Path) -> None:
    ids = names(swept)
    parent = ids.pop("sweep tau_rc=0.01,0.02 n_steps=3,6")
    assert set(ids) == {f"tau_rc={tau_rc} n_steps={n_steps}" for tau_rc in (0.01, 0.02) for n_steps in (3, 6)}
    assert {status(swept, run_id) for run_id in (parent, *ids.values())} == {"FINISHED"}
    assert {tags(swept, run_id)["mlflow.parentRunId"] for run_id in ids.values()} == {parent}
    assert {tags(swept, run_id)["ratespike.sweep"] for run_id in ids.values()} == {tags(swept, parent)["ratespike.sweep"]}
    best = tags(swept, parent)["ratespike.best_run"]
    accuracies = {run_id: metrics(swept, run_id)["val/spiking_accuracy", 0] for run_id in ids.values()}
    assert accuracies[best] == max(accuracies.values())
    kept = {path.name for path in (swept / "mlruns" / "mnist" / parent / "artifacts").rglob("*.*")}
    assert {"report.html", "groups.md", "runs.csv", "accuracy_against_steps.png"} <= kept
    (journal,) = query(swept, "pragma journal_mode")
    assert journal == ("wal",)


def test_what_differs_in_the_number_of_steps_alone_is_trained_and_simulated_once(swept: Path) -> None:
    ids = names(swept)
    for tau_rc in (0.01, 0.02):
        shorter_run = ids[f"tau_rc={tau_rc} n_steps=3"]
        longer_run = ids[f"tau_rc={tau_rc} n_steps=6"]
        tags_of_both = [tags(swept, shorter_run), tags(swept, longer_run)]
        assert sum("ratespike.trained_in" in of_run for of_run in tags_of_both) == 1
        assert sum("ratespike.simulated_in" in of_run for of_run in tags_of_both) == 1
        shorter = metrics(swept, shorter_run)
        longer = metrics(swept, longer_run)
        assert shorter["test/rate_accuracy", 0] == longer["test/rate_accuracy", 0]
        assert shorter["val/loss", 1] == longer["val/loss", 1]
        assert shorter["test/spiking_accuracy", 0] == longer["test/spiking_accuracy_at", 3]
        assert ("test/spiking_accuracy_at", 4) not in shorter
    speeds = query(swept, "select count(distinct run_uuid) from metrics where key = 'train/seconds'")
    assert speeds == [(2,)]


def test_the_same_command_again_does_nothing_again(swept: Path) -> None:
    before = run_ids(swept)
    code, out, error = run_here(swept, *JOBS)
    assert code == 0, error
    assert out.count("finished before") == 4, out
    assert run_ids(swept) == before


def test_an_impossible_combination_is_told_before_any_job_starts(swept: Path) -> None:
    before = run_ids(swept)
    code, _, error = run_here(swept, "-m", *SMALL, "neuron.max_rate=100,450", "neuron.tau_ref=0.002,0.003")
    assert code == 1
    assert "1 of 4 jobs cannot run; the first, max_rate=450 tau_ref=0.003: neuron.max_rate=450: must be below" in error
    assert error.count("\n") == 1, error
    assert run_ids(swept) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("slurm", "hydra.launcher.tasks_per_node=2"), "trainer.devices=1: SLURM starts 2 processes on each node; give 2"),
        (
            ("slurm", "trainer.devices=2", "trainer.strategy=ddp_spawn"),
            "trainer.strategy=ddp_spawn: SLURM starts the processes",
        ),
        (("local", "hydra.launcher.tasks_per_node=2"), "only SLURM has such; take trainer.devices=2"),
    ],
)
def test_processes_that_nobody_makes_one_job_of_are_refused(swept: Path, arguments: tuple[str, ...], message: str) -> None:
    before = run_ids(swept)
    launcher, *others = arguments
    code, _, error = run_here(swept, "-m", *SMALL, "seed=0,1", f"hydra/launcher=submitit_{launcher}", *others)
    assert code == 1
    assert message in error
    assert error.count("\n") == 1, error
    assert run_ids(swept) == before


def test_a_sweep_that_slurm_has_started_twice_is_refused(swept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    code, _, error = run_here(swept, "-m", *SMALL, "seed=0,1")
    assert code == 1
    assert "SLURM has started 2 processes of this sweep; start one" in error
    assert error.count("\n") == 1, error


def of_test(folder: Path, run_id: str) -> dict[tuple[object, object], object]:
    """The metrics on the test images by name and step."""
    return {key: value for key, value in metrics(folder, run_id).items() if str(key[0]).startswith("test/")}


def test_an_evaluation_with_the_settings_of_the_training_gives_its_metrics(swept: Path) -> None:
    """Whatever the batch size."""
    trained = names(swept)["tau_rc=0.02 n_steps=6"]
    code, _, error = run_here(swept, f"run={trained}", "data.batch_size=7", program="evaluate.py")
    assert code == 0, error
    evaluated = run_ids(swept)[-1]
    assert tags(swept, evaluated)["mlflow.parentRunId"] == trained
    assert of_test(swept, evaluated) == of_test(swept, trained)


def test_an_evaluation_changes_the_simulation_and_nothing_else(swept: Path) -> None:
    trained = names(swept)["tau_rc=0.02 n_steps=6"]
    settings = ("run='tau_rc=0.02 n_steps=6'", "n_steps=4,9", "synapse=alpha", "neuron.min_voltage=-1")
    code, _, error = run_here(swept, "-m", *settings, program="evaluate.py")
    assert code == 0, error
    for n_steps, evaluated in zip((4, 9), run_ids(swept)[-2:], strict=True):
        assert status(swept, evaluated) == "FINISHED"
        assert tags(swept, evaluated)["mlflow.parentRunId"] == trained
        parameters = dict(query(swept, "select key, value from params where run_uuid = ?", evaluated))
        assert (parameters["synapse.type"], parameters["neuron.tau_rc"]) == ("Alpha", "0.02")
        assert ("test/spiking_accuracy_at", n_steps) in metrics(swept, evaluated)
    code, _, error = run_here(swept, f"run={evaluated}", program="evaluate.py")
    assert code == 1
    assert f"run={evaluated}: has no checkpoint" in error
    assert error.count("\n") == 1, error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run={trained}", "neuron.tau_rc=0.03"), "neuron.tau_rc=0.03 (trained with 0.02): would change the training"),
        (
            ("run={trained}", "augmentation.rotation=10"),
            "augmentation.rotation=10 (trained with 0): would change the training",
        ),
        (("run=unknown",), "run unknown: not found in"),
        (("run=tau_rc=0.02 n_steps=6",), """give it as "run='tau_rc=0.02 n_steps=6'\""""),
        ((), "give run=<id or name>, checkpoint=<file> or model=models:/<name>@<alias>"),
        (("checkpoint={root}/train.py",), "not a checkpoint of ratespike"),
        (("checkpoint={best}", "optimizer.lr=1"), "optimizer.lr=1 (trained with"),
        (
            ("-m", "run={trained}", "n_steps=3,0"),
            "1 of 2 jobs cannot run; the first, n_steps=0: n_steps=0: must be a whole number",
        ),
        (
            ("-m", "run={trained}", "neuron.tau_rc=0.02,0.03"),
            "1 of 2 jobs cannot run; the first, tau_rc=0.03: neuron.tau_rc=0.03 (trained with 0.02): would change",
        ),
        (("-m", "run={trained}", "n_steps=3,4", "hydra/sweeper=optuna"), "an evaluation has no objective to search for"),
        (
            ("-m", "run={trained}", "n_steps=3,4", "hydra/launcher=joblib", "hydra.launcher.n_jobs=0"),
            "give the same command again",
        ),
    ],
)
def test_an_evaluation_that_cannot_be_is_refused(swept: Path, arguments: tuple[str, ...], message: str) -> None:
    trained = names(swept)["tau_rc=0.02 n_steps=6"]
    best = swept / "mlruns" / "mnist" / trained / "artifacts" / "checkpoints" / "best.ckpt"
    given = [argument.format(trained=trained, root=swept, best=best) for argument in arguments]
    before = run_ids(swept)
    code, _, error = run_here(swept, *given, program="evaluate.py")
    assert code == 1, error
    assert message in error
    assert error.count("\n") == 1, error
    assert run_ids(swept) == before


@pytest.fixture(scope="module")
def failed_too(swept: Path) -> Path:
    """The same with a run that has failed."""
    client = store.connect(f"sqlite:///{swept}/mlflow.db")
    failing = store.open_run(client, "mnist", "failing", tags={})
    with suppress(ZeroDivisionError), track(failing, swept, system_metrics=False):
        raise ZeroDivisionError
    return swept


@pytest.mark.parametrize("name", CONTRACT["Metrics"])
def test_a_run_logs_the_metric(name: str, failed_too: Path) -> None:
    assert _is_among(name, query(failed_too, "select distinct key from metrics"))


@pytest.mark.parametrize("name", CONTRACT["Tags"])
def test_a_run_has_the_tag(name: str, failed_too: Path) -> None:
    assert _is_among(name, query(failed_too, "select key from tags union select key from experiment_tags"))


@pytest.mark.parametrize("name", CONTRACT["Artifacts"])
def test_a_run_keeps_the_artifact(name: str, failed_too: Path) -> None:
    folders = list(failed_too.glob("mlruns/mnist/*/artifacts"))
    kept = [(str(path.relative_to(folder)),) for folder in folders for path in folder.rglob("*.*")]
    assert _is_among(name, kept)


def _is_among(name: str, rows: list[tuple[object, ...]]) -> bool:
    """Whether a name, in which `<layer>` and the like stand for a word, is one of those in the first column."""
    pattern = re.sub(r"<\w+>", r"\\w+", re.escape(name).replace(r"\<", "<").replace(r"\>", ">"))
    return any(re.fullmatch(pattern, str(row[0])) for row in rows)
