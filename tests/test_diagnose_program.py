"""`diagnose.py` as its user sees it: a run, a checkpoint, a run that diagnoses itself, and bad input in one line."""

from pathlib import Path

import pytest
from program import metrics, query, run_here, run_ids

pytestmark = [pytest.mark.program, pytest.mark.filterwarnings("ignore")]

TINY = (
    *("+experiment=digits", "data.train_images=60", "data.validation_images=20", "data.test_images=20", "trainer.max_epochs=1"),
    *("n_steps=4", *(f"network.layers.conv{number}.filters=4" for number in (1, 2, 3))),
)
FILES = {"diagnosis.md", "diagnosis.png", "lost_images.csv"}


@pytest.fixture(scope="module")
def diagnosed(checkout: Path) -> tuple[Path, str]:
    """A checkout, and its run that has diagnosed itself."""
    code, out, error = run_here(checkout, *TINY, "diagnosis=true")
    assert code == 0, error
    assert "20 images" in out
    (run_id,) = run_ids(checkout)
    return checkout, run_id


def test_a_run_that_diagnoses_itself_keeps_files_metrics_and_advice(diagnosed: tuple[Path, str]) -> None:
    folder, run_id = diagnosed
    assert {path.name for path in (folder / f"mlruns/digits/{run_id}/artifacts/diagnosis").iterdir()} == FILES
    logged = {str(name) for name, _ in metrics(folder, run_id)}
    assert {
        "diagnosis/spiking_accuracy",
        "diagnosis/error/neuron1",
        "diagnosis/rest/output",
        "diagnosis/dead/neuron3",
    } <= logged
    assert query(folder, "select count(*) from tags where key = 'ratespike.advice'") == [(1,)]


def test_the_program_diagnoses_a_run_and_keeps_the_result_with_it(diagnosed: tuple[Path, str], tmp_path: Path) -> None:
    folder, run_id = diagnosed
    table = folder / f"mlruns/digits/{run_id}/artifacts/diagnosis/diagnosis.md"
    before = table.read_text()
    table.unlink()
    code, out, error = run_here(folder, f"run={run_id}", f"folder={tmp_path}/out", program="diagnose.py")
    assert code == 0, error
    assert f"and run {run_id}, diagnosis/" in out
    assert table.read_text() == before == (tmp_path / "out/diagnosis.md").read_text()
    assert run_ids(folder) == [run_id], "a diagnosis is no run"


def test_other_settings_and_a_checkpoint_are_kept_in_the_folder_alone(diagnosed: tuple[Path, str], tmp_path: Path) -> None:
    folder, run_id = diagnosed
    best = folder / f"mlruns/digits/{run_id}/artifacts/checkpoints/best.ckpt"
    kept = metrics(folder, run_id)
    for source in (f"run={run_id}", f"checkpoint={best}"):
        code, _, error = run_here(folder, source, "n_steps=2", f"folder={tmp_path}/out", program="diagnose.py")
        assert code == 0, error
        assert "after 2 steps" in (tmp_path / "out/diagnosis.md").read_text()
    assert metrics(folder, run_id) == kept
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run={run}", "images=5"), "images=5: must be a whole number at least 20"),
        (("run=unknown",), "run unknown: not found in"),
        (("run={run}", "neuron.tau_rc=0.03"), "would change the training"),
        ((), "give run=<id or name>"),
    ],
)
def test_what_cannot_be_diagnosed_is_refused(diagnosed: tuple[Path, str], arguments: tuple[str, ...], message: str) -> None:
    folder, run_id = diagnosed
    code, _, error = run_here(folder, *(argument.format(run=run_id) for argument in arguments), program="diagnose.py")
    assert code == 1
    assert message in error
    assert error.count("\n") == 1, error
