"""`compare.py`: as its user runs it, and its errors."""

import csv
from pathlib import Path
from typing import Any

import pytest
from program import run, run_here

from ratespike.cli.compare import compare_runs
from ratespike.config.job import Job
from ratespike.config.schemas import CompareConfig, StoreConfig
from ratespike.parameters import ParameterError


@pytest.mark.program
def test_a_sweep_becomes_a_table_files_and_figures(checkout: Path, database_of_runs: Path) -> None:
    folder = checkout / "outputs" / "comparison"
    folder.mkdir(parents=True)
    for name in ("gap_against_lr.png", "mine.png"):
        (folder / name).touch()
    database = f"tracking.uri=sqlite:///{database_of_runs}"
    code, out, error = run(checkout, database, "sweeps=night", "steps=[3,15]", program="compare.py")
    assert code == 0, error
    assert not error
    assert "4 runs in 2 groups" in out
    cells = next(line for line in out.splitlines() if "★ tau_rc" in line).split()
    assert " ".join(cells[:15]) == "★ tau_rc=0.02 2 99.00 ± 0.00 9.75 ± 0.64 48.75 ± 3.18 97.50 ± 6.35"
    with (folder / "runs.csv").open() as file:
        assert [row["neuron.tau_rc"] for row in csv.DictReader(file)] == ["0.02", "0.02", "0.05", "0.05"]
    assert "★ tau_rc=0.02" in (folder / "groups.md").read_text()
    assert {path.stem for path in folder.glob("*.png")} == {
        *("accuracy_against_steps", "accuracy_against_operations", "gap_against_tau_rc", "mine")
    }


@pytest.mark.program
def test_parameters_choose_runs_with_or_without_a_plus(checkout: Path, database_of_runs: Path) -> None:
    database = f"tracking.uri=sqlite:///{database_of_runs}"
    asked = (database, "experiments=mnist", "where.tau_rc=5e-2", "folder=elsewhere")
    code, out, error = run_here(checkout, *asked, program="compare.py")
    assert code == 0, error
    assert "2 runs in 1 group " in out
    assert (checkout / "elsewhere" / "runs.csv").exists()
    asked = (database, "+where.neuron.tau_rc=0.050", "--cfg", "job", "--package", "where")
    code, out, error = run_here(checkout, *asked, program="compare.py")
    assert code == 0, error
    assert out.split() == ["#", "@package", "where", "neuron:", "tau_rc:", "0.05"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["experiments=mnits"], "error: experiments=mnits: no such experiment; did you mean mnist"),
        (["experiment=mnist"], "did you mean experiments"),
        (["sweep=night"], "did you mean sweeps"),
        (["rows=0"], "error: rows=0: must be a whole number at least 1"),
        (["tracking.uri=sqlite:////nowhere/mlflow.db"], "/nowhere/mlflow.db does not exist"),
    ],
)
def test_bad_input_ends_in_one_line(checkout: Path, database_of_runs: Path, arguments: list[str], message: str) -> None:
    database = f"tracking.uri=sqlite:///{database_of_runs}"
    code, out, error = run_here(checkout, database, *arguments, program="compare.py")
    assert code == 1
    assert message in error
    assert error.count("\n") == 1
    assert "Traceback" not in error + out


@pytest.mark.slow
def test_help_lists_the_options(checkout: Path) -> None:
    code, out, _ = run_here(checkout, "--help", program="compare.py")
    assert code == 0
    assert "experiments: null" in out
    assert "python compare.py sweeps=" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"experiments": "other"}, r"no finished run, tested on rates and spikes, in sqlite:\S+ experiments=\['other'\]$"),
        ({"experiments": ["mnist"], "sweeps": ["nihgt"]}, "sweeps=nihgt: no run has this id or name; did you mean night"),
        (
            {"tags": {"ratespike": {"debug": True}}},
            "ratespike.debug=True; 1 on slices of the data",
        ),
        ({"where": {"neuron": {"tau_rc": 1}}}, "where.neuron.tau_rc=1: no run has this value"),
        ({"steps": [0]}, r"steps=\[0\]: must be whole numbers at least 1"),
        ({"device": "loihi2"}, "device=loihi2: is none that runs spikes; did you mean loihi"),
        ({"heat_map": ["n_steps"]}, r"heat_map=\['n_steps'\]: must be the names of two parameters, or null"),
        ({"folder": "/proc/nowhere"}, "folder=/proc/nowhere: cannot be written to"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, database_of_runs: Path, options: dict[str, Any], message: str) -> None:
    config = CompareConfig(**options, tracking=StoreConfig(f"sqlite:///{database_of_runs}"))
    with pytest.raises(ParameterError, match=message):
        compare_runs(Job(config, {}, [], tmp_path))
    assert not list(tmp_path.iterdir())
