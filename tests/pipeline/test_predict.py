"""What predict.py prints and writes of files and classes with unusual names."""

import csv
import os
from pathlib import Path

import pytest

from ratespike.pipeline.predict import Prediction, _files, _print, _write_csv


def test_brackets_in_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    _print([Prediction("a[/x].png", "[bold]cat", 0.5, "dog[/]", 0.5, 3), Prediction("[red]b.png", error="damaged")])
    out = capsys.readouterr().out
    for name in ("a[/x].png", "[bold]cat", "dog[/]", "[red]b.png"):
        assert name in out


def test_names_that_are_not_utf_8_are_escaped(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    path.touch()
    (name,) = files = _files(str(tmp_path))
    assert (name, files[name]) == (rf"{tmp_path}/caf\udce9.png", path)
    _write_csv(tmp_path / "predictions.csv", [Prediction(name)])
    with (tmp_path / "predictions.csv").open(encoding="utf-8") as file:
        assert [row["file"] for row in csv.DictReader(file)] == [name]
