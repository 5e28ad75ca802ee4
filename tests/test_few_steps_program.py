"""The commands of docs/few_steps.md, one after the other, on little data."""

import re
from pathlib import Path

import pytest
from program import ROOT, SMALL, query, run_here, run_ids, status

pytestmark = [
    pytest.mark.program,
    pytest.mark.filterwarnings("ignore"),  # Lightning's advice
]


def test_each_training_starts_from_the_first(checkout: Path) -> None:
    commands = re.findall(r"^python train.py (.*)$", (ROOT / "docs/few_steps.md").read_text(), re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        first = run_ids(checkout)[0] if "<run>" in command else ""
        code, _, error = run_here(checkout, *command.replace("<run>", first).split(), *SMALL[1:])
        assert code == 0, error
    trained = run_ids(checkout)
    assert [status(checkout, run_id) for run_id in trained] == ["FINISHED"] * 4
    converted = ("n_steps=7", "conversion=calibrated", "conversion.images=20")
    code, out, error = run_here(checkout, f"run={trained[-1]}", *converted, program="evaluate.py")
    assert code == 0, error
    assert "spiking accuracy, 7 steps" in out
    started = query(checkout, "select run_uuid from params where key = 'start_from' and value = ?", trained[0])
    assert {run_id for (run_id,) in started} == set(trained[1:])
