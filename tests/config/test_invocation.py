import sys
from pathlib import Path

import pytest

from ratespike.config.invocation import command_line, started_by


def test_a_script_beside_the_program_names_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.py").touch()
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "evaluate.py"), "run=x"])
    assert started_by("train") == "python train.py"
    assert started_by("compare") == "ratespike compare"  # there is no such script


def test_the_console_command_names_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "bin/ratespike"), "n_steps=3"])
    assert started_by("train") == "ratespike train"


@pytest.mark.parametrize("given", [["--config-dir", "my options"], ["-cd", "my options"], ["--config-dir=my options"]])
def test_a_command_to_give_again_has_the_folder_of_options(monkeypatch: pytest.MonkeyPatch, given: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["ratespike", "neuron=mine", *given])
    words = "'--config-dir=my options'" if len(given) == 1 else f"{given[0]} 'my options'"
    assert command_line("train", ["neuron=mine", "resume=1"]) == f"ratespike train {words} neuron=mine resume=1"
