"""`ratespike <program>` in a folder without a clone; what it trains is tested by tests/system/test_package.py."""

from importlib import metadata
from pathlib import Path

import pytest
from program import run_here


def ratespike(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run the console command in a folder: exit code, standard output, standard error."""
    script = folder / "ratespike"  # what pip makes
    script.write_text("from ratespike.cli.console import main\nmain()\n")
    return run_here(folder, *arguments, program="ratespike")


def test_without_a_program_it_lists_them(tmp_path: Path) -> None:
    code, out, error = ratespike(tmp_path)
    assert (code, out) == (1, "")
    code, out, _ = ratespike(tmp_path, "--help")
    assert code == 0
    for usage in (error, out):
        assert usage.startswith("ratespike <program> <settings>")
        for program in ("train", "evaluate", "predict", "compare"):
            assert f"\n  {program} " in usage


@pytest.mark.parametrize("arguments", [("--version",), ("train", "--version"), ("compare", "--version")])
def test_the_version_is_that_of_the_package(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert ratespike(tmp_path, *arguments) == (0, f"ratespike {metadata.version('ratespike')}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("trian",), "error: ratespike trian: no such program; did you mean train? known: compare, "),
        (("neuron=lif",), "error: ratespike neuron=lif: no such program; known: compare, "),
        (("train", "neuron.tau_rc=-1"), "error: neuron.tau_rc=-1: must be a number above 0 (s)"),
        (("train", "neuron=typo"), "known: adaptive_lif, binary"),
        (("train",), "; MNIST comes with a clone of the repository, data=digits with scikit-learn"),
        (("train", "--config-dir", "nowhere", "neuron=lif"), "nowhere' not found"),
        (
            ("evaluate",),
            "or model=models:/<name>@<alias>; `ratespike train` trains a network",
        ),
        (("evaluate", "run=x"), "mlflow.db does not exist"),
        (("compare", "rows=0"), "error: rows=0: must be a whole number at least 1"),
    ],
)
def test_bad_input_ends_in_one_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    code, out, error = ratespike(tmp_path, *arguments)
    assert (code, out) == (1, "")
    assert message in error
    assert error.count("\n") == 1, error
    assert "Traceback" not in error
    assert not (tmp_path / "mlflow.db").exists()


def test_the_database_is_looked_for_in_the_current_folder(tmp_path: Path) -> None:
    _, _, error = ratespike(tmp_path, "evaluate", "run=x")
    assert f"{tmp_path}/mlflow.db does not exist" in error


def test_help_shows_how_it_was_started(tmp_path: Path) -> None:
    code, out, _ = ratespike(tmp_path, "train", "--help")
    assert code == 0
    assert "\n  ratespike train +experiment=mnist  " in out
    assert "python train.py" not in out


def test_a_folder_of_the_user_adds_options(tmp_path: Path) -> None:
    own = tmp_path / "options/neuron/mine.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("type: LIF\nmax_rate: 150\ntau_rc: 0.01\n")
    code, out, error = ratespike(tmp_path, "train", "--config-dir", "options", "neuron=mine", "--cfg", "job")
    assert (code, error) == (0, "")
    assert "neuron:\n  type: LIF\n  max_rate: 150\n  tau_rc: 0.01\n" in out
    _, _, error = ratespike(tmp_path, "train", "--config-dir", "options", "neuron=mien")
    assert "did you mean mine" in error
