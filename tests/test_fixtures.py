"""Runs and checkpoints of earlier versions stay readable, and give the digits that they gave then.

Each archive in `fixtures/` holds a database, its artifacts, and what the programs of its day said of them (see its README.md).
"""

import json
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
import torch
from pages import python_blocks
from program import ROOT, metrics, query, run_here, run_ids

import ratespike

RUN = "0b222abb49f145df862cd2a0887f4023"


@pytest.fixture(scope="module")
def runs_of_2026_11_25(checkout: Path) -> Path:
    """A checkout with the database and the artifacts of that day."""
    with tarfile.open(ROOT / "tests/fixtures/runs_of_2026_11_25.tar.xz") as archive:
        archive.extractall(checkout, filter="data")
    with closing(sqlite3.connect(checkout / "mlflow.db")) as database, database:
        for table, column in (("runs", "artifact_uri"), ("experiments", "artifact_location")):
            database.execute(f"update {table} set {column} = replace({column}, 'file:///tmp/fix', ?)", (checkout.as_uri(),))
    return checkout


def test_load_gives_the_network_of_that_day(runs_of_2026_11_25: Path) -> None:
    then = json.loads((runs_of_2026_11_25 / "loaded.json").read_text())
    network = ratespike.load(runs_of_2026_11_25 / "mlruns/mnist" / RUN / "artifacts/checkpoints/best.ckpt")
    images = torch.linspace(0, 1, 2 * 28 * 28).reshape(2, 1, 28, 28)
    with torch.no_grad():
        rates = network(images)
    torch.testing.assert_close(rates, torch.tensor(then["rates"]), rtol=1e-5, atol=1e-6)
    simulated = ratespike.simulate(network, images, n_steps=6)
    assert {name: float(counts.sum()) for name, counts in simulated.spike_counts.items()} == then["spikes"]
    torch.testing.assert_close(simulated.outputs[-1], torch.tensor(then["outputs"]), rtol=1e-5, atol=1e-6)


def test_compare_gives_the_files_of_that_day(runs_of_2026_11_25: Path) -> None:
    code, _, error = run_here(runs_of_2026_11_25, "steps=[2,5]", "folder=compared", program="compare.py")
    assert code == 0, error
    now, then = runs_of_2026_11_25 / "compared", runs_of_2026_11_25
    assert (now / "runs.csv").read_text() == (then / "runs.csv").read_text()
    lines = (now / "groups.md").read_text().splitlines()
    assert [line for line in (then / "groups.md").read_text().splitlines() if line not in lines] == []  # notes may be added


@pytest.mark.slow
def test_the_page_on_tracking_reads_the_runs_of_that_day(
    runs_of_2026_11_25: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    before = mlflow.get_tracking_uri()
    monkeypatch.chdir(runs_of_2026_11_25)
    names: dict[str, object] = {}
    exec(python_blocks(ROOT / "docs/tracking.md")[0], names)
    mlflow.set_tracking_uri(before)
    printed = capsys.readouterr().out
    found = query(runs_of_2026_11_25, "select run_uuid, value from latest_metrics where key = 'test/spiking_accuracy'")
    assert found and all(str(run) in printed for run, _ in found)
    assert names["curve"][-1][1] == dict(found)[names["run"].info.run_id]  # type: ignore[attr-defined, index]
    assert "neuron:" in Path(str(names["path"])).read_text()


@pytest.mark.program
@pytest.mark.filterwarnings("ignore")  # Lightning's advice
def test_evaluate_gives_the_metrics_of_that_day(runs_of_2026_11_25: Path) -> None:
    then = json.loads((runs_of_2026_11_25 / "evaluation.json").read_text())
    settings = ("n_steps=12", "synapse=alpha", "simulation=steady_phase")
    code, _, error = run_here(runs_of_2026_11_25, f"run={RUN}", *settings, program="evaluate.py")
    assert code == 0, error
    (parent,) = query(
        runs_of_2026_11_25,
        "select value from tags where run_uuid = ? and key = 'mlflow.parentRunId'",
        run_ids(runs_of_2026_11_25)[-1],
    )
    assert parent == (RUN,)
    now = {
        f"{name}@{step}": value for (name, step), value in metrics(runs_of_2026_11_25, run_ids(runs_of_2026_11_25)[-1]).items()
    }
    accuracies = [name for name in then if "accuracy" in name]
    assert accuracies, "nothing to compare"
    assert {name: now[name] for name in accuracies} == {name: then[name] for name in accuracies}
    # The last bits of PyTorch's float32 depend on the CPU, and on them a few spikes of a steady phase.
    assert {name: now[name] for name in then} == pytest.approx(then, rel=1e-4)
