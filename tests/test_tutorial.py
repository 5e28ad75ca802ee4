"""The tutorial runs from top to bottom, and its output is that of its code."""

import re
from pathlib import Path

import pytest
from program import ROOT

SHORT = {"TRAIN_IMAGES": 100, "TEST_IMAGES": 10, "EPOCHS": 1}
PAGE = (ROOT / "docs/tutorial.md").read_text()


@pytest.fixture
def tutorial(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(ROOT / "docs")
    import tutorial

    return tutorial


@pytest.mark.slow
def test_a_short_run_prints_what_the_page_shows_but_for_its_numbers(  # type: ignore[no-untyped-def]
    tutorial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("data", "conf", "tests"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    pictures = tmp_path / "docs/images/tutorial"
    pictures.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    outputs = tutorial.run(PAGE, SHORT)
    *shown, diagnosis = tutorial.printed(PAGE)
    assert [_without_numbers(output) for output in outputs[:-1]] == [_without_numbers(output) for output in shown]
    assert "34734 of NengoDL's 34734 spikes are here" in outputs[-2]
    # of a network that has learned next to nothing other parts count, and nothing is advised
    assert _layers(outputs[-1]) == _layers(diagnosis) == ["layer", "---", "neuron1", "neuron2", "neuron3", "output"]
    assert "try simulation.start=steady_phase" in diagnosis
    named = set(re.findall(r"\(images/tutorial/(.+)\.png\)", PAGE))
    assert {picture.stem for picture in pictures.glob("*.png")} == named != set()
    assert {picture.stem for picture in (ROOT / "docs/images/tutorial").glob("*.png")} == named


def test_outputs_are_written_behind_their_blocks(tutorial) -> None:  # type: ignore[no-untyped-def]
    page = "a\n\n```python\nN = 2\nprint(N)\n```\n\n```text\nold\n```\n\nb\n\n```python\nM = N\n```\n"
    outputs = tutorial.run(page, {"N": 3})
    assert outputs == ["3\n", ""]
    again = tutorial.written(page, outputs)
    assert again == page.replace("old", "3")
    assert tutorial.printed(again) == outputs


def _without_numbers(text: str) -> str:
    return re.sub(r"[\d.]+", "0", re.sub(r" +", " ", text))


def _layers(table: str) -> list[str]:
    """The first column of a table in Markdown."""
    return [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("|")]
